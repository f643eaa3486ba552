"""The hand-out of tasks: never more people on a task than wanted, and nothing lost when somebody leaves."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from steersman.errors import UsageError
from steersman.records import Prompt
from steersman.store.claims import claim_tasks, release_claims, renew_claims, tasks_left
from steersman.store.content import parts_of
from steersman.store.database import open_store
from steersman.store.events import read_events, verify_events
from steersman.store.items import NewItem, add_items, list_items
from steersman.store.labelling import Submission, submit_label
from steersman.store.projects import find_project, set_state
from steersman.store.schema import claim


def test_two_people_get_different_tasks_and_keep_them(project, tasks):
    first, second = tasks(2)
    assert [one.id for one in claim_tasks(project, "ann")] == [first.id]
    assert [one.id for one in claim_tasks(project, "ben")] == [second.id]
    assert [one.id for one in claim_tasks(project, "ann")] == [first.id]
    assert claim_tasks(project, "cid") == []


def test_a_task_is_given_to_as_many_people_as_labels_are_wanted(project, tasks):
    tasks(1, overlap=2)
    assert len(claim_tasks(project, "ann")) == 1
    assert len(claim_tasks(project, "ben")) == 1
    assert claim_tasks(project, "cid") == []


def test_several_tasks_are_claimed_in_advance_without_repeats(project, tasks):
    found = tasks(3, overlap=2)
    assert [one.id for one in claim_tasks(project, "ann", count=5)] == [one.id for one in found]
    assert tasks_left(project, "ann") == 3


def test_an_abandoned_task_returns_and_a_renewed_one_does_not(project, tasks):
    tasks(2)
    claim_tasks(project, "ann", lease=1e-6)
    claim_tasks(project, "ben", lease=60.0)
    assert renew_claims(project, "ben") == 1
    assert renew_claims(project, "ann") == 0
    assert len(claim_tasks(project, "cid", count=9)) == 1


def test_who_signs_out_gives_back(project, tasks):
    tasks(2)
    claim_tasks(project, "ann", count=2)
    assert claim_tasks(project, "ben") == []
    assert release_claims(project, "ann") == 2
    assert len(claim_tasks(project, "ben", count=2)) == 2


def test_tasks_come_in_their_turn(project):
    for number, turn in enumerate([2.0, 1.0, 3.0]):
        prompt = Prompt(text=f"Write about {number}.")
        content = parts_of(prompt)[0]
        add_items(project, [NewItem(type(content)("demonstration", prompt), overlap=1, turn=turn)])
    assert [one.turn for one in claim_tasks(project, "ann", count=3)] == [1.0, 2.0, 3.0]
    assert claim_tasks(project, "ann", kinds=["pair"]) == []


def test_a_paused_project_hands_out_nothing(project, tasks):
    tasks(1)
    set_state(project, "paused")
    assert claim_tasks(project, "ann") == []
    set_state(project, "open")
    assert len(claim_tasks(project, "ann")) == 1


def test_what_nobody_judges_is_no_task(project):
    with pytest.raises(UsageError, match="a prompt is not judged"):
        add_items(project, [NewItem(parts_of(Prompt(text="x"))[0], overlap=1)])


def work(address: str, name: str) -> int:
    """Claim and label until nothing is left, as one labeller's client. Returns how many labels it sent."""
    sent = 0
    with open_store(address) as database:
        project = find_project(database, "helpful")
        while claimed := claim_tasks(project, name, count=2):
            for task in claimed:
                submit_label(project, Submission(name, task.id, f"{name}-{task.id}", {"preference": 1.0}))
                sent += 1
    return sent


def test_eight_people_at_once_label_everything_and_nothing_twice(address, project, tasks):
    found = tasks(24, overlap=3)
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda number: work(address, f"person{number}"), range(8)))
    events = list(read_events(project))
    assert sum(sent) == len(events) == 72
    assert {event.kind for event in events} == {"label"}
    by_item = [event.item_id for event in events]
    assert {item.id: by_item.count(item.id) for item in found} == {item.id: 3 for item in found}
    assert len({(event.item_id, event.annotator_id) for event in events}) == 72
    assert verify_events(project) == 72
    assert {item.free for item in list_items(project)} == {0}
    with project.database.read() as connection:
        assert {row.state for row in connection.execute(claim.select())} == {"done"}
