"""Many labellers at once over HTTP, and a server that is killed under them: no label is lost, doubled, or too many."""

import asyncio
import os
import random
import threading
import time
from collections import Counter

import pytest
from store_pairs import pairs_in
from studio_server import Load, Server, label_for, labellers_in

from steersman.store.database import open_store
from steersman.store.events import read_events, verify_events
from steersman.store.projects import create_project
from steersman.store.reading import read_labels
from steersman.store.reading_cursor import cursor_of
from steersman.store.standing import rebuild

LABELLERS, OVERLAP = 50, 2


def run_load(server: Server, tokens: list[str], seconds: float, *, kills: int = 0, seed: int = 0) -> Load:
    load, rng = Load(), random.Random(seed)
    working = threading.Thread(
        target=lambda: asyncio.run(label_for(server.url, "helpful", tokens, seconds, load)), daemon=True
    )
    working.start()
    for _ in range(kills):
        time.sleep(seconds / (kills + 1) * rng.uniform(0.3, 0.9))
        server.kill()
        server.start()
    working.join(300)
    assert not working.is_alive(), "labellers are still waiting"
    return load


def check(project, load: Load) -> None:
    """Every acknowledged label is there, none twice; no task has more labels than were wanted."""
    assert load.faults == []
    events = {row.key: row for row in read_events(project) if row.kind in ("label", "edit", "late")}
    assert {key: events[key].number for key in load.acknowledged} == {
        key: number for key, (number, _) in load.acknowledged.items()
    }
    assert len({number for number, _ in load.acknowledged.values()}) == len(load.acknowledged)
    labels = list(read_labels(project, cursor_of(project)))
    per_task = Counter(label.item.id for label in labels)
    assert max(per_task.values()) <= OVERLAP
    assert max(Counter((label.item.id, label.annotator) for label in labels).values()) == 1
    counted = {key for key, (_, counts) in load.acknowledged.items() if counts}
    assert counted <= {label.key for label in labels}
    # A label whose acknowledgement was lost with the server may be there too, under a key that was sent again.
    assert len(labels) == len(counted)
    assert verify_events(project) >= len(labels)
    before = len(labels)
    assert rebuild(project) == before


@pytest.fixture
def prepared(address, tmp_path):
    """A server over a store with tasks and labellers. Gives it, the project, and the labellers' tokens."""
    with open_store(address, create=True) as database:
        project = create_project(database, "helpful")
        pairs_in(project, 4000, overlap=OVERLAP)
        tokens = labellers_in(database, project, LABELLERS)
        server = Server(address, tmp_path)
        server.start()
        yield server, project, tokens
        if server.process is not None and server.process.poll() is None:
            server.stop()


def test_fifty_labellers_while_the_server_is_killed(prepared):
    server, project, tokens = prepared
    load = run_load(server, tokens, 12, kills=5)
    assert len(load.acknowledged) > 50
    check(project, load)


@pytest.mark.soak
def test_fifty_labellers_for_two_minutes(prepared):
    server, project, tokens = prepared
    load = run_load(server, tokens, float(os.environ.get("STEERSMAN_LOAD_SECONDS", "120")))
    check(project, load)
    print(f"\n{len(load.acknowledged)} labels, median {1000 * load.median:.0f} ms, p99 {1000 * load.p99:.0f} ms")


@pytest.mark.soak
def test_a_hundred_kills(prepared):
    server, project, tokens = prepared
    load = run_load(server, tokens, 300, kills=100)
    check(project, load)
