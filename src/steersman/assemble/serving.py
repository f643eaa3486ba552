"""`steersman studio`: the server over a store. Where there is no project yet it has Harbour's answers to judge, and
where there is no run, small rounds on Harbour to look at."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from steersman.harbour.registry import answers
from steersman.printing import tell
from steersman.records import Answers, Completion
from steersman.store.content import Content
from steersman.store.database import Database, open_store
from steersman.store.items import NewItem, add_items
from steersman.store.projects import create_project, list_projects
from steersman.studio.observatory.folders import look_below
from steersman.studio.serve import Ready, Serving, serve
from steersman.studio.settings import StudioSettings

STOPPED = 128 + signal.SIGTERM
EXAMPLE, RECIPE = "harbour", "studio-harbour"
LOW, GRACE = 10, 20.0
"""The priority of the training beside the studio (nice), and the seconds that it has to stop in."""
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
    """Serve a store until it is stopped. Without `empty`, a store without projects gets the example, and if there is no
    run to look at, a small one is trained meanwhile."""
    if empty:
        serve(store, settings, serving, ready)
        return
    with open_store(store, create=True) as database:
        is_new = add_example(database) > 0
    out = settings.runs[0] / EXAMPLE
    others = [
        one for one in look_below(settings.runs).runs.values() if out.absolute() not in one.path.absolute().parents
    ]
    wanted = not others and (is_new or (out / "training.log").exists())
    with _training(out if wanted else None):
        serve(store, settings, serving, ready)


@contextmanager
def _training(out: Path | None) -> Iterator[None]:
    """Two small rounds on Harbour in a process of its own, of low priority, as long as the studio is served. The next
    start goes on with them; when they are done, it ends at once."""
    if out is None:
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "steersman", "rounds", "run", RECIPE, f"out={out}"]
    with (out / "training.log").open("ab") as log:
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    tell(
        f"steersman: two small rounds on Harbour are trained meanwhile, in {out}, to look at under Runs (--empty: not)"
    )
    # The server raises the signal that stopped it again: by its default the process would end before its child.
    before = signal.signal(signal.SIGTERM, _end)
    try:
        os.setpriority(os.PRIO_PROCESS, child.pid, LOW)
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        child.terminate()
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _end(number: int, frame: object) -> None:
    raise SystemExit(STOPPED)


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
