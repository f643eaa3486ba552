"""Kills in the middle of labelling, and backups while others write: what was acknowledged is there, and once."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from forked import Child
from store_pairs import pairs_in

from steersman.errors import UsageError
from steersman.store.backup import back_up, restore
from steersman.store.database import open_store
from steersman.store.events import read_events, verify_events
from steersman.store.export import export_project
from steersman.store.labelling import Submission, submit_label
from steersman.store.projects import find_project
from steersman.store.reading import read_labels
from steersman.store.reading_cursor import cursor_of
from steersman.store.standing import rebuild

# Labels everything again and again; what was acknowledged is in a file, line by line.
LABELLER = """
import itertools, os
from steersman.store.database import open_store
from steersman.store.items import list_items
from steersman.store.labelling import Submission, submit_label
from steersman.store.projects import find_project

with open_store({address!r}) as database:
    project = find_project(database, "helpful")
    items = list_items(project)
    heard = os.open({heard!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in itertools.count():
        key = f"{name}-{{number}}"
        said = Submission({name!r}, items[number % len(items)].id, key, {{"preference": number % 2 / 1}})
        os.write(heard, f"{{submit_label(project, said).number}} {{key}}\\n".encode())
"""


def killed(address: str, folder: Path, name: str) -> dict[str, int]:
    """Label in a process, kill it after some labels; the acknowledged ones, by key."""
    heard = folder / f"{name}.heard"
    text = LABELLER.format(address=address, heard=str(heard), name=name)
    child = Child("import os\n" + text)
    deadline = time.monotonic() + 120
    while (not heard.exists() or heard.read_bytes().count(b"\n") < 8) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    while child.code() is None:
        time.sleep(0.005)
    assert child.code() == -signal.SIGKILL
    lines = heard.read_text().split("\n")[:-1]
    return {key: int(number) for number, key in (line.split(" ") for line in lines)}


def check_kills(address: str, project, folder: Path, kills: int) -> None:
    pairs_in(project, 4, overlap=0)
    heard: dict[str, int] = {}
    for number in range(kills):
        heard |= killed(address, folder, f"person{number}")
        events = {event.key: event.number for event in read_events(project)}
        assert heard.items() <= events.items()
        assert len(events) == verify_events(project)
        # At most the one that was under way is there without having been heard of.
        assert len(events) - len(heard) <= number + 1
    with open_store(address) as again:
        project = find_project(again, "helpful")
        labels = [(label.item.id, label.annotator, label.number) for label in read_labels(project, cursor_of(project))]
        assert len(labels) == len({label[:2] for label in labels}) == 4 * kills
        assert rebuild(project) == len(labels)


def test_what_was_acknowledged_survives_kills_and_is_there_once(address, project, tmp_path):
    check_kills(address, project, tmp_path, 3)


@pytest.mark.soak
def test_what_was_acknowledged_survives_a_hundred_kills(address, project, tmp_path):
    check_kills(address, project, tmp_path, 100)


def test_a_backup_during_writing_restores_to_what_it_saw(address, project, tmp_path):
    items = pairs_in(project, 6, overlap=4)

    def label(name: str) -> None:
        with open_store(address) as database:
            mine = find_project(database, "helpful")
            for item in items:
                submit_label(mine, Submission(name, item.id, f"{name}-{item.id}", {"preference": 1.0}))

    with ThreadPoolExecutor(3) as pool:
        writing = [pool.submit(label, f"person{number}") for number in range(3)]
        counts = back_up(project.database, tmp_path / "saved.db")
        for one in writing:
            one.result()
    whole = tmp_path / "whole.db"
    back_up(project.database, whole)
    with open_store(str(tmp_path / "saved.db")) as saved:
        early = find_project(saved, "helpful")
        assert verify_events(early) == counts["event"]
        assert rebuild(early) == len(list(read_labels(early, cursor_of(early))))
    with open_store(str(whole)) as saved:
        export_project(find_project(saved, "helpful"), tmp_path / "backup.jsonl")
    export_project(project, tmp_path / "live.jsonl")
    assert (tmp_path / "backup.jsonl").read_bytes() == (tmp_path / "live.jsonl").read_bytes()


def test_a_backup_moves_into_the_other_database_and_goes_on_there(address, project, postgres_server, tmp_path):
    from postgres import new_database

    items = pairs_in(project, 3, overlap=2)
    submit_label(project, Submission("ann", items[0].id, "1", {"preference": 1.0}))
    back_up(project.database, tmp_path / "saved.db")
    other = new_database(postgres_server, f"other_{os.urandom(4).hex()}") if address.endswith(".db") else "moved.db"
    other = other if "://" in other else str(tmp_path / other)
    restore(tmp_path / "saved.db", other)
    with open_store(other) as database:
        moved = find_project(database, "helpful")
        assert submit_label(moved, Submission("ben", items[0].id, "2", {"preference": 0.0})).number == 2
        assert [one.content.prompt for one in pairs_in(moved, 4)] == [i.content.prompt for i in items] + [
            pairs_in(moved, 4)[3].content.prompt
        ]
        assert verify_events(moved) == 2
    with pytest.raises(UsageError, match="has 1 projects; a backup is restored into an empty store only"):
        restore(tmp_path / "saved.db", other)


def test_a_backup_does_not_take_the_place_of_another_file(project, tmp_path):
    (tmp_path / "there.db").write_text("mine")
    with pytest.raises(UsageError, match="--force to overwrite it"):
        back_up(project.database, tmp_path / "there.db")
    back_up(project.database, tmp_path / "there.db", force=True)
    with pytest.raises(UsageError, match="there is no backup"):
        restore(tmp_path / "none.db", str(tmp_path / "x.db"))
    if (path := project.database.place.path) is not None:
        with pytest.raises(UsageError, match="is the store itself"):
            back_up(project.database, path, force=True)
