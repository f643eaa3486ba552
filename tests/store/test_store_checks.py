"""Gold items and repeats among an annotator's tasks; second opinions; practice."""

import pytest
from store_pairs import pair, pairs_in

from steersman.errors import UsageError
from steersman.records import Comparison, Prompt, Ranking
from steersman.store.checks import REPEAT_GAP
from steersman.store.claims import claim_tasks, release_claims
from steersman.store.content import Content, parts_of
from steersman.store.events import verify_events
from steersman.store.export import export_project
from steersman.store.gold import set_gold
from steersman.store.imports import ImportReport, Wishes, from_records, import_arriving, import_source
from steersman.store.items import NewItem, add_items, list_items
from steersman.store.judged import judged_rows
from steersman.store.labelling import Submission, adjudicate, submit_label, undo_last
from steersman.store.matching import likeness
from steersman.store.practice import answer_practice, let_in, practice_items, practice_of
from steersman.store.progress import project_progress
from steersman.store.projects import change_settings, create_project, set_role
from steersman.store.reading import read_records
from steersman.store.reading_cursor import cursor_of
from steersman.store.second_opinions import ask_one_more, disagree
from steersman.store.snapshots import find_snapshot, freeze, read_snapshot, verify_snapshot

FIRST, SECOND, TIE = ({"preference": value} for value in (1.0, 0.0, 0.5))


def label(project, who, item, verdict=FIRST, key=""):
    return submit_label(project, Submission(who, item, key or f"{who}-{item}-{verdict}", verdict))


def work(project, who, count, verdict=FIRST):
    """So many tasks, one after the other; they are returned."""
    done = []
    for _ in range(count):
        found = claim_tasks(project, who)
        if not found:
            break
        label(project, who, found[0].id, verdict)
        done.append(found[0])
    return done


@pytest.fixture
def gold(project):
    """Three gold items that come as judgements in a file."""
    arriving = from_records([pair(100 + number) for number in range(3)], Wishes(purpose="gold"))
    import_arriving(project, arriving, ImportReport())
    return [one for one in list_items(project) if one.purpose == "gold"]


def test_gold_items_come_among_the_others_to_everybody(project, gold, tasks):
    tasks(3)
    pairs_in(project, 40, overlap=2)
    change_settings(project, {"gold_share": 0.3})
    places = {}
    for who in ("ann", "ben"):
        done = work(project, who, 25)
        places[who] = [place for place, one in enumerate(done) if one.purpose == "gold"]
        assert len(places[who]) == 3
    assert places["ann"] != places["ben"]
    assert project_progress(project)["tasks"] == 40


def test_gold_items_alone_are_no_work(project, gold):
    change_settings(project, {"gold_share": 0.5})
    assert claim_tasks(project, "ann") == []


def test_labels_of_gold_items_are_not_trained_on_and_a_snapshot_from_before_stays(project, tasks):
    first, second = tasks(2)
    for one in (first, second):
        label(project, "ann", one.id)
    before = freeze(project)
    set_role(project, "rob", "reviewer")
    set_gold(project, "rob", first.id, "g1", SECOND)
    read = [one for one in read_records(project, cursor_of(project)) if isinstance(one, Comparison)]
    assert [one.prompt.shown for one in read] == ["Question 1?"]
    assert len(list(read_snapshot(project, find_snapshot(project, before.number)))) == 2
    assert [row.gold for row in judged_rows(project, cursor_of(project))] == [SECOND, None]
    (there,) = [one for one in list_items(project) if one.id == first.id]
    assert (there.purpose, there.overlap, there.free) == ("gold", 1000, 999)
    after = freeze(project)
    set_gold(project, "rob", first.id, "g2", None)
    assert len(list(read_records(project, cursor_of(project)))) == 2
    assert verify_snapshot(project, after)
    assert set_gold(project, "rob", first.id, "g2", None).repeated
    assert verify_events(project) == 4


def test_an_item_is_made_gold_with_a_verdict_that_fits(project, tasks):
    (one,) = tasks(1)
    with pytest.raises(Exception, match="preference"):
        set_gold(project, "rob", one.id, "g", {"ranks": [1, 2]})
    with pytest.raises(UsageError, match="gold or practice"):
        set_gold(project, "rob", one.id, "g", FIRST, purpose="fun")
    with pytest.raises(UsageError, match="has no item 999"):
        set_gold(project, "rob", 999, "g", FIRST)
    label(project, "ann", one.id)
    with pytest.raises(UsageError, match="1 people have judged item"):
        set_gold(project, "rob", one.id, "g", FIRST, purpose="practice")


def test_an_import_makes_tasks_that_are_there_gold_and_says_so(project, tasks):
    first, second = tasks(2)
    label(project, "ann", first.id)

    def import_as(purpose: str, *preferences: float) -> ImportReport:
        report = ImportReport()
        known = [pair(number, preference=value) for number, value in enumerate(preferences)]
        import_arriving(project, from_records(known, Wishes(purpose=purpose)), report)
        return report

    report = import_as("practice", 1.0, 1.0)
    assert (report.items, report.tasks, report.known_answers, report.refused) == (0, 0, 1, 1)
    report = import_as("gold", 1.0, 0.0)
    assert (report.items, report.known_answers, report.refused) == (0, 2, 0)
    found = {one.id: one for one in list_items(project)}
    assert [(found[one.id].purpose, found[one.id].gold["preference"]) for one in (first, second)] == [
        ("gold", 1.0),
        ("gold", 0.0),
    ]
    assert not any(isinstance(one, Comparison) for one in read_records(project, cursor_of(project)))
    assert import_as("gold", 1.0, 0.0).known_answers == 0
    # What a person decided since is not changed by the same import again.
    set_gold(project, "rob", first.id, "g", None)
    assert import_as("gold", 1.0, 0.0).known_answers == 0
    assert verify_events(project) == 5


def test_repeats_come_later_in_another_item_and_are_the_annotators_own(project):
    pairs_in(project, 60)
    change_settings(project, {"repeat_share": 0.4})
    done = work(project, "ann", 40)
    repeats = [(place, one) for place, one in enumerate(done) if one.repeats is not None]
    assert len(repeats) > 5
    for place, one in repeats:
        assert place - [each.id for each in done].index(one.repeats) > REPEAT_GAP
        assert one.reason == ""
        with pytest.raises(UsageError, match="has no item"):
            label(project, "ben", one.id)
    assert len({one.repeats for _, one in repeats}) == len(repeats)
    assert not [one for one in work(project, "ben", 5) if one.repeats is not None]


def test_a_repeat_that_was_given_back_comes_again_and_is_trained_on_once(project):
    pairs_in(project, 60)
    work(project, "ann", 12)
    change_settings(project, {"repeat_share": 1.0})
    (one,) = claim_tasks(project, "ann")
    assert one.repeats is not None
    release_claims(project, "ann")
    assert [each.id for each in claim_tasks(project, "ann")] == [one.id]
    assert project_progress(project)["held"] == 0
    label(project, "ann", one.id, SECOND)
    rows = list(judged_rows(project, cursor_of(project)))
    assert [(row.item, row.repeat) for row in rows][-1] == (one.repeats, True)
    judged = [each for each in read_records(project, cursor_of(project)) if isinstance(each, Comparison)]
    assert len(judged) == 12
    assert undo_last(project, "ann", "u").item_id == one.id


def test_an_export_with_gold_practice_repeats_and_choices_is_imported_as_it_was(project, gold, database, tmp_path):
    add_items(
        project,
        [
            NewItem(parts_of(pair(200))[0], gold={"preference": 1.0, "rationale": "True."}, purpose="practice"),
            NewItem(parts_of(pair(201))[0], overlap=1, reason="2 models disagree", choice="disagreement"),
        ],
    )
    pairs_in(project, 30)
    change_settings(project, {"gold_share": 0.2, "repeat_share": 0.3})
    done = work(project, "ann", 25)
    assert any(one.repeats for one in done)
    export_project(project, tmp_path / "one.jsonl")
    other = create_project(database, "other")
    import_source(other, str(tmp_path / "one.jsonl"), Wishes())
    export_project(other, tmp_path / "two.jsonl")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    said = lambda one: [(row.annotator, row.repeat, row.gold) for row in judged_rows(one, cursor_of(one))]  # noqa: E731
    assert said(project) == said(other)


def test_one_more_person_gets_what_labels_disagree_about(project, tasks):
    (one,) = tasks(1, overlap=2)
    change_settings(project, {"second_opinions": 4})
    work(project, "ann", 1)
    work(project, "ben", 1, SECOND)
    assert len(work(project, "cid", 1)) == 1  # 2 : 1, still open
    assert len(work(project, "dee", 1)) == 1  # 3 : 1
    assert work(project, "eve", 1) == []
    assert [each.overlap for each in list_items(project) if each.id == one.id] == [4]


def test_labels_that_agree_end_an_item(project, tasks):
    tasks(1, overlap=2)
    change_settings(project, {"second_opinions": 5})
    work(project, "ann", 1)
    work(project, "ben", 1)
    assert work(project, "cid", 1) == []


@pytest.mark.parametrize(
    ("kind", "verdicts", "expected"),
    [
        ("pair", [FIRST], False),
        ("pair", [FIRST, FIRST], False),
        ("pair", [FIRST, TIE], True),
        ("pair", [FIRST, FIRST, SECOND], True),
        ("pair", [FIRST, FIRST, FIRST, SECOND], False),
        ("thumb", [{"desirable": True}, {"desirable": False}], True),
        ("rating", [{"ratings": {"a": 1.0}}, {"ratings": {"a": 2.0}}], False),
        ("rating", [{"ratings": {"a": 1.0}}, {"ratings": {"a": 5.0}}], True),
        ("ranking", [{"ranks": [1, 2, 3]}, {"ranks": [3, 2, 1]}], True),
        ("demonstration", [{}, {}], False),
    ],
)
def test_when_labels_disagree(kind, verdicts, expected):
    assert disagree(kind, verdicts) is expected


def test_likeness_of_rankings_is_the_share_of_equal_orders():
    # of three pairs (1-2, 1-3, 2-3) the second ranking turns one round
    assert likeness("ranking", {"ranks": [1, 2, 3]}, {"ranks": [2, 1, 3]}) == pytest.approx(2 / 3)
    assert likeness("ranking", {"ranks": [1, 2]}, {"ranks": [1, 2, 3]}) is None
    assert likeness("pair", FIRST, {}) is None


def test_a_reviewer_asks_for_one_more(project, tasks):
    (one,) = tasks(1)
    with pytest.raises(UsageError, match="waits for 1 more already"):
        ask_one_more(project, "rob", one.id, "m0")
    work(project, "ann", 1)
    assert not ask_one_more(project, "rob", one.id, "m1", "hard to say").repeated
    assert ask_one_more(project, "rob", one.id, "m1").repeated
    assert len(work(project, "ben", 1)) == 1
    with pytest.raises(UsageError, match="has no task"):
        ask_one_more(project, "rob", 999, "m2")


@pytest.fixture
def practice(project):
    """Four practice pairs, of which the first answer is the better."""
    known = [pair(300 + number, rationale=f"Because {number}.") for number in range(4)]
    import_arriving(project, from_records(known, Wishes(purpose="practice")), ImportReport())
    return [one.id for one in list_items(project) if one.purpose == "practice"]


def answer(project, who, item, verdict, key=""):
    return answer_practice(project, Submission(who, item, key or f"p-{who}-{item}-{verdict}", verdict))


def test_practice_is_marked_explained_and_passed(project, practice):
    assert practice_of(project, "ann").state == "open"
    assert claim_tasks(project, "ann") == []
    marked = answer(project, "ann", practice[0], {**SECOND, "rationale": "mine"}, "k")
    assert (marked.right, marked.explanation, marked.practice.left) == (False, "Because 0.", tuple(practice[1:]))
    assert answer(project, "ann", practice[0], FIRST, "k").right is False  # the same submission again
    with pytest.raises(UsageError, match="is answered already"):
        answer(project, "ann", practice[0], FIRST, "k2")
    for item in practice[1:]:
        last = answer(project, "ann", item, FIRST)
    assert last.practice.state == "passed"  # three of four, 70 % needed
    assert list(judged_rows(project, cursor_of(project))) == []


def test_who_fails_may_try_again_and_then_needs_an_admin(project, practice):
    change_settings(project, {"practice": {"pass": 1.0, "attempts": 2}})
    for attempt in range(2):
        assert practice_of(project, "ann").attempts_left == 1 - attempt
        assert [one.id for one in practice_items(project, practice_of(project, "ann"))] == practice
        for item in practice:
            answer(project, "ann", item, SECOND, f"{attempt}-{item}")
    failed = practice_of(project, "ann")
    assert (failed.state, failed.left, failed.may_begin) == ("failed", (), False)
    let_in(project, "rob", "ann", "in")
    assert let_in(project, "rob", "ann", "in") == let_in(project, "rob", "ann", "in")
    assert practice_of(project, "ann").may_begin


def test_practice_is_no_task(project, practice, tasks):
    with pytest.raises(UsageError, match="is for practice"):
        label(project, "ann", practice[0])
    (one,) = [each for each in pairs_in(project, 5) if each.purpose == ""][:1]
    with pytest.raises(UsageError, match="has no practice item"):
        answer(project, "ann", one.id, FIRST)
    with pytest.raises(UsageError, match="has no one right answer"):
        import_source_of(project)


def import_source_of(project):
    from steersman.records import Completion, Demonstration

    wishes = Wishes(purpose="gold")
    list(from_records([Demonstration(Prompt(text="x"), Completion("y"))], wishes))


def test_soft_labels_stand_in_place_of_all_labels(project):
    pairs_in(project, 12, overlap=3)
    good = {"ann": FIRST, "ben": FIRST, "cid": SECOND}
    for who, verdict in good.items():
        work(project, who, 11, verdict)
    set_role(project, "rob", "reviewer")
    first = list_items(project)[0]
    adjudicate(project, Submission("rob", first.id, "d", SECOND))
    cursor = cursor_of(project, labels="soft")
    judged = [one for one in read_records(project, cursor) if isinstance(one, Comparison)]
    assert len(judged) == 11
    assert sorted(one.preference for one in judged)[0] == 0.0  # the decision
    soft = [one.preference for one in judged if one.annotator == ""]
    assert all(0.7 < one < 1.0 for one in soft)
    assert {one.metadata["labels"] for one in judged if not one.annotator} == {3}
    snapshot = freeze(project, labels="soft")
    assert (snapshot.rows, freeze(project).rows) == (12, 32)
    assert verify_snapshot(project, snapshot) == snapshot.content
    with pytest.raises(UsageError, match="read as soft"):
        cursor_of(project, labels="hard")
    with pytest.raises(UsageError, match="are chosen by"):
        cursor_of(project, choice="luck")


def test_what_was_chosen_by_lot_is_read_alone(project):
    add_items(
        project,
        [NewItem(parts_of(pair(number))[0], overlap=1, choice="random" if number < 2 else "") for number in range(5)],
    )
    work(project, "ann", 5)
    assert len(list(read_records(project, cursor_of(project, choice="random")))) == 2
    assert freeze(project, choice="random").rows == 2


def test_rankings_are_read_as_they_are_beside_soft_labels(project):
    ranking = Content("ranking", parts_of(pair(1))[0].prompt, parts_of(pair(1))[0].completions)
    add_items(project, [NewItem(ranking, overlap=1)])
    work(project, "ann", 1, {"ranks": [1, 2]})
    (one,) = read_records(project, cursor_of(project, labels="soft"))
    assert isinstance(one, Ranking)
