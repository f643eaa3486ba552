"""A large project of judgements: how long it takes to fill, list, freeze and export, and how much memory.

Run: python bench/store.py [--labels 100000] [--completions 1000000] [--store postgresql://…]. One JSON line a step.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from steersman.records import Answers, Comparison, Completion, Message, Prompt
from steersman.store.claims import claim_tasks
from steersman.store.database import open_store
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--completions", type=int, default=1_000_000)
    parser.add_argument("--store")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with open_store(given.store or str(folder / "studio.db"), create=True) as database:
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
            measure("freeze a snapshot", lambda: freeze(project))
            measure("export in full, JSONL", lambda: export_project(project, folder / "out.jsonl"))
            measure("export in full, Parquet", lambda: export_project(project, folder / "out.parquet"))


if __name__ == "__main__":
    main()
