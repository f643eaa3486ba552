"""A large project of judgements: how long it takes to fill, list, show, freeze and export, and how much memory.

Run: python bench/store.py [--labels 100000] [--completions 1000000] [--store postgresql://…]. One JSON line a step.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from steersman.records import Answers, Comparison, Completion, Message, Prompt
from steersman.store.claims import claim_tasks
from steersman.store.database import Database, open_store
from steersman.store.export import export_project
from steersman.store.imports import ImportReport, Wishes, from_records, import_arriving
from steersman.store.items import NewItem, add_items, list_items
from steersman.store.labelling import Submission, submit_label
from steersman.store.projects import create_project, list_projects
from steersman.store.snapshots import freeze

EACH = 10
"""Answers to a prompt."""


def asked(number: int) -> Prompt:
    return Prompt((Message("user", f"Question number {number}? " * 5),))


def answer(number: int, place: int) -> Completion:
    return Completion(f"Answer {place} to {number}. " * 20, model=f"model-{place % 3}", seed=place)


def answers(count: int) -> Iterator[Answers]:
    for number in range(count // EACH):
        yield Answers(asked(number), tuple(answer(number, place) for place in range(EACH)))


def labels(count: int) -> Iterator[Comparison]:
    for number in range(count):
        first, second = answer(number, 0), answer(number, 1)
        who, said = f"person-{number % 20}", {"seconds": 3.0}
        yield Comparison(
            asked(-number - 1), first, second, float(number % 2), annotator=who, id=f"i{number}", metadata=said
        )


def measure(what: str, act: Callable[[], Any]) -> Any:
    wall, processor = time.perf_counter(), time.process_time()
    result = act()
    print(
        json.dumps(
            {
                "what": what,
                "seconds": round(time.perf_counter() - wall, 3),
                "processor_seconds": round(time.process_time() - processor, 3),
                "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
            }
        ),
        flush=True,
    )
    return result


PAGES = (
    *("/", "/projects/{}", "/projects/{}/label", "/projects/{}/tasks", "/projects/{}/gold", "/projects/{}/guidelines"),
    *("/projects/{}/people", "/projects/{}/export", "/projects/{}/settings", "/projects/{}/audit"),
    *("/projects/{}/quality", "/projects/{}/quality/doubtful", "/projects/{}/quality/items/{item}", "/people"),
    *("/account", "/audit", "/runs", "/api/projects/{}", "/api/projects/{}/tasks/next", "/api/projects/{}/progress"),
    "/api/projects/{}/pace",
)
TIMES = 9


def measure_pages(database: Database, url: str, project: str, item: int) -> None:
    """Every page as an admin gets it: the first time, and the median of nine more."""
    from fastapi.testclient import TestClient

    from steersman.store.entry import make_invite
    from steersman.studio.app import create_app
    from steersman.studio.settings import StudioSettings

    app = create_app(url, StudioSettings(requests=(10_000, 1000.0)))
    with TestClient(app, base_url="http://localhost:8400") as client:
        with database.write() as connection:
            secret = make_invite(connection, "admin")
        form = client.get(f"/join/{secret}").text
        csrf = form.split('name="csrf" content="')[1].split('"')[0]
        client.post(f"/join/{secret}", data={"name": "Ada", "password": ""}, headers={"X-CSRF": csrf})
        for path in PAGES:
            taken: list[tuple[float, float]] = []
            for _ in range(TIMES + 1):
                wall, processor = time.perf_counter(), time.process_time()
                reply = client.get(path.replace("{}", project).replace("{item}", str(item)))
                assert reply.status_code == 200, (path, reply.status_code)
                taken.append((time.perf_counter() - wall, time.process_time() - processor))
            median = [round(statistics.median(one[i] for one in taken[1:]), 4) for i in (0, 1)]
            told = {"what": path, "first": round(taken[0][0], 3), "seconds": median[0], "processor_seconds": median[1]}
            print(json.dumps({**told, "bytes": len(reply.content)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--completions", type=int, default=1_000_000)
    parser.add_argument("--store")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        url = given.store or str(folder / "studio.db")
        with open_store(url, create=True) as database:
            project = create_project(database, f"bench{int(time.time())}")

            def fill(records: Iterator[Any]) -> None:
                import_arriving(project, from_records(records, Wishes()), ImportReport())

            measure("import answers", lambda: fill(answers(given.completions)))
            measure("import labels", lambda: fill(labels(given.labels)))
            tasks = [NewItem(new.item.content, "tasks", 1) for new in from_records(labels(100), Wishes())]
            add_items(project, tasks)
            measure("list projects", lambda: list_projects(database))
            measure(
                "100 items in the middle", lambda: list_items(project, after=given.completions // EACH // 2, limit=100)
            )
            (task,) = measure("claim a task", lambda: claim_tasks(project, "ann"))
            measure("save a label", lambda: submit_label(project, Submission("ann", task.id, "1", {"preference": 1.0})))
            measure_pages(database, url, project.name, given.completions // EACH + 7)
            measure("freeze a snapshot", lambda: freeze(project))
            measure("export in full, JSONL", lambda: export_project(project, folder / "out.jsonl"))
            measure("export in full, Parquet", lambda: export_project(project, folder / "out.parquet"))


if __name__ == "__main__":
    main()
