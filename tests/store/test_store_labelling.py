"""Labels as events: acknowledged once, never overwritten, and undone by further events."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_pairs import pairs_in

from steersman.errors import DataError, UsageError
from steersman.store.claims import claim_tasks
from steersman.store.events import read_events, verify_events
from steersman.store.labelling import (
    Submission,
    adjudicate,
    comment_item,
    flag_item,
    revisit_skipped,
    skip_task,
    submit_label,
    undo_last,
)
from steersman.store.projects import create_project, set_role
from steersman.store.standing import judged_at, rebuild, standing_at, standing_now

_numbers = itertools.count()
LEFT, RIGHT = {"preference": 1.0}, {"preference": 0.0}


def kinds(project) -> list[str]:
    return [row.kind for row in read_events(project)]


def counted(project) -> list[tuple[int, str]]:
    with project.database.read() as connection:
        return [(row.item_id, row.body) for row in connection.execute(standing_now(project.id))]


def test_a_label_is_there_once_however_often_it_is_sent(project, tasks):
    (task,) = tasks(1)
    said = Submission("ann", task.id, "key-1", LEFT)
    first, again = submit_label(project, said), submit_label(project, said)
    assert (first.number, first.repeated) == (1, False)
    assert (again.number, again.repeated) == (1, True)
    assert kinds(project) == ["label"]


def test_a_key_of_somebody_elses_submission_is_refused(project, tasks):
    one, two = tasks(2)
    submit_label(project, Submission("ann", one.id, "key-1", LEFT))
    with pytest.raises(UsageError, match="used for another submission"):
        submit_label(project, Submission("ann", two.id, "key-1", LEFT))
    with pytest.raises(UsageError, match="used for another submission"):
        submit_label(project, Submission("ben", one.id, "key-1", LEFT))


def test_an_edit_replaces_a_label_and_an_undo_brings_it_back(project, tasks):
    (task,) = tasks(1)
    submit_label(project, Submission("ann", task.id, "1", LEFT))
    assert submit_label(project, Submission("ann", task.id, "2", RIGHT)).kind == "edit"
    assert counted(project) == [(task.id, '{"preference": 0.0}')]
    undone = undo_last(project, "ann", "3")
    assert (undone.kind, undone.item_id, undone.body) == ("edit", task.id, RIGHT)
    assert counted(project) == [(task.id, '{"preference": 1.0}')]
    assert undo_last(project, "ann", "4").kind == "label"
    assert counted(project) == []
    assert undo_last(project, "ann", "5") is None
    assert kinds(project) == ["label", "edit", "undo", "undo"]


def test_an_undo_that_is_sent_twice_takes_back_one_label(project, tasks):
    for number, task in enumerate(tasks(2)):
        submit_label(project, Submission("ann", task.id, str(number), LEFT))
    assert undo_last(project, "ann", "undo").item_id == undo_last(project, "ann", "undo").item_id
    assert len(counted(project)) == 1


def test_a_skipped_task_goes_to_others_and_can_be_revisited(project, tasks):
    (task,) = tasks(1)
    assert [one.id for one in claim_tasks(project, "ann")] == [task.id]
    assert claim_tasks(project, "ben") == []
    skip_task(project, Submission("ann", task.id, "1"), "not my language")
    assert claim_tasks(project, "ann") == []
    assert [one.id for one in claim_tasks(project, "ben")] == [task.id]
    assert revisit_skipped(project, "ann", "2") == [task.id]
    assert revisit_skipped(project, "ann", "2") == [task.id]
    assert kinds(project) == ["skip", "revisit"]


def test_an_undone_label_gives_its_task_back_to_the_same_person(project, tasks):
    first, second = tasks(2)
    claim_tasks(project, "ann")
    submit_label(project, Submission("ann", first.id, "1", LEFT))
    assert [one.id for one in claim_tasks(project, "ann")] == [second.id]
    undo_last(project, "ann", "2")
    assert {one.id for one in claim_tasks(project, "ann", count=2)} == {first.id, second.id}
    assert claim_tasks(project, "ben") == []


def test_a_label_that_comes_too_late_is_kept_and_does_not_count(project, tasks):
    (task,) = tasks(1)
    claim_tasks(project, "ann", lease=1e-6)
    assert claim_tasks(project, "ben")[0].id == task.id
    submit_label(project, Submission("ben", task.id, "1", LEFT))
    assert submit_label(project, Submission("ann", task.id, "2", RIGHT)).kind == "late"
    assert counted(project) == [(task.id, '{"preference": 1.0}')]
    assert undo_last(project, "ann", "3").kind == "late"


def test_flags_and_comments_leave_the_task_as_it_is(project, tasks):
    (task,) = tasks(1)
    flag_item(project, Submission("ann", task.id, "1"), "nobody can answer this")
    comment_item(project, Submission("ben", task.id, "2"), "I can")
    assert counted(project) == []
    assert claim_tasks(project, "ann")[0].id == task.id
    assert kinds(project) == ["flag", "comment"]


def test_a_reviewer_adjudicates_and_a_labeller_may_not(project, tasks):
    (task,) = tasks(1)
    set_role(project, "rita", "reviewer")
    with pytest.raises(UsageError, match="'ann' is a labeller"):
        adjudicate(project, Submission("ann", task.id, "1", LEFT))
    submit_label(project, Submission("rita", task.id, "2", LEFT))
    adjudicate(project, Submission("rita", task.id, "3", RIGHT))
    assert [body for _, body in counted(project)] == ['{"preference": 1.0}', '{"preference": 0.0}']


@pytest.mark.parametrize(
    ("verdict", "message"),
    [
        ({"preference": 2.0}, "probability between 0 and 1"),
        ({}, "'preference' is missing"),
        ({"preference": 1.0, "first": {"text": "x"}}, "does not hold 'first'"),
        ({"preference": 1.0, "winner": "A"}, "unknown field 'winner'"),
        ({"preference": 1.0, "rationale": "half \ud800"}, "half a surrogate pair"),
    ],
)
def test_a_verdict_that_is_none_is_refused_and_nothing_is_kept(project, tasks, verdict, message):
    (task,) = tasks(1)
    with pytest.raises(DataError, match=message):
        submit_label(project, Submission("ann", task.id, "1", verdict))
    assert kinds(project) == []


def test_an_item_of_another_project_is_refused(project, tasks):
    (task,) = tasks(1)
    other = create_project(project.database, "other")
    with pytest.raises(UsageError, match="other has no item"):
        submit_label(other, Submission("ann", task.id, "1", LEFT))


def test_the_events_are_verified(project, tasks):
    for number, task in enumerate(tasks(3)):
        submit_label(project, Submission("ann", task.id, str(number), LEFT))
    assert verify_events(project) == 3
    with project.database.write() as connection:
        connection.exec_driver_sql("UPDATE event SET body = '{\"preference\": 0.0}' WHERE number = 2")
    with pytest.raises(DataError, match="event 2 of helpful is altered"):
        verify_events(project)


ACTS = st.lists(
    st.tuples(st.sampled_from(["label", "label", "undo", "skip"]), st.sampled_from(["ann", "ben"]), st.integers(0, 2)),
    max_size=14,
)


def acted(project, tasks, acts) -> list[list[int]]:
    """Do all this; the labels that counted after each step, as events' numbers."""
    after: list[list[int]] = []
    for number, (act, who, which) in enumerate(acts):
        said = Submission(who, tasks[which].id, f"{number}", LEFT if number % 2 else RIGHT)
        if act == "undo":
            undo_last(project, who, f"{number}")
        else:
            (submit_label if act == "label" else skip_task)(project, said)
        with project.database.read() as connection:
            after.append([row.number for row in connection.execute(standing_now(project.id))])
    return after


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS)
def test_what_counts_follows_from_the_events_at_every_cursor(database, acts):
    project = create_project(database, f"p{next(_numbers)}")
    acted_at = acted(project, pairs_in(project, 3, overlap=1), acts)
    heads = [row.number for row in read_events(project)]
    with database.read() as connection:
        seen = {head: [row.number for row in connection.execute(standing_at(project.id, head))] for head in heads}
        before = [row.number for row in connection.execute(standing_now(project.id))]
    assert set(map(tuple, seen.values())) <= {tuple(one) for one in acted_at}
    assert before == (seen[heads[-1]] if heads else [])
    assert rebuild(project) == len(before)
    with database.read() as connection:
        assert [row.number for row in connection.execute(standing_now(project.id))] == before


def test_reading_a_cursor_looks_up_each_labels_undos_by_an_index(project):
    """Otherwise it takes the square of the number of events: 25 s for 5,000 labels, measured."""
    if project.database.place.path is None:
        pytest.skip("PostgreSQL plans by what the tables hold")
    with project.database.read() as connection:
        for query in (standing_at(project.id, 9).limit(5), judged_at(project.id, 9, [1, 2])):
            words = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {words}")]
            undos = [line for line in plan if "event_" in line.split(" ")[1]]
            assert undos
            assert all("ix_event_project_id_refers (project_id=? AND refers=?)" in line for line in undos)
