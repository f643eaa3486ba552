"""`steersman studio`: the server over a store, with Harbour's answers to judge where there is no project yet."""

import random
from collections.abc import Callable, Iterator, Sequence

from steersman.harbour.registry import answers
from steersman.records import Answers, Completion
from steersman.store.content import Content
from steersman.store.database import Database, open_store
from steersman.store.items import NewItem, add_items
from steersman.store.projects import create_project, list_projects
from steersman.studio.serve import Ready, Serving, serve
from steersman.studio.settings import StudioSettings

EXAMPLE = "harbour"
_PROMPTS, _EVERY = 80, 10
_GUIDELINES = """## What to look for

Prefer the answer that you would rather get:

- **true** before friendly, and **friendly** before curt
- no exaggeration: "the ultimate key to living forever" is worse than a plain fact
- what would hurt somebody is declined, kindly and without a sermon

If both are equally good, say so. If both are bad, say that. If you cannot tell, skip.
"""


def serve_studio(
    store: str | None, settings: StudioSettings, serving: Serving, ready: Callable[[Ready], None], *, empty: bool
) -> None:
    """Serve a store until it is stopped. Without `empty`, a store without projects gets the example."""
    if not empty:
        with open_store(store, create=True) as database:
            add_example(database)
    serve(store, settings, serving, ready)


def add_example(database: Database) -> int:
    """Add Harbour's project to a store without projects. Returns how many tasks it has."""
    if list_projects(database):
        return 0
    found = create_project(
        database, EXAMPLE, guidelines=_GUIDELINES, licence="Apache-2.0", settings={"title": "Harbour, the example"}
    )
    return add_items(found, _tasks())


def _tasks() -> Iterator[NewItem]:
    """Mostly pairs; now and then a ranking, and a demonstration to write."""
    rng = random.Random(0)
    for number, row in enumerate(answers(count=_PROMPTS, seed=1)):
        given = list({one.text: one for one in row.completions}.values())
        rng.shuffle(given)
        if len(given) >= 2:
            yield _task(number, row, given)


def _task(number: int, row: Answers, given: Sequence[Completion]) -> NewItem:
    match number % _EVERY:
        case 7 if len(given) >= 4:
            kind, shown = "ranking", given[:4]
        case 9:
            kind, shown = "demonstration", given[:1]
        case _:
            kind, shown = "pair", given[:2]
    return NewItem(Content(kind, row.prompt, tuple(shown)), overlap=2, turn=float(number))
