"""The API for labelling: what is handed out, what is kept, and that each submission counts exactly once."""

import json
from typing import Any

import pytest

from steersman.records import Comparison, Completion, Demonstration, Label, Message, Prompt, Ranking
from steersman.store.content import Content
from steersman.store.items import NewItem, add_items, items_of
from steersman.store.reading import read_labels
from steersman.store.reading_cursor import cursor_of
from steersman.studio.tasks import shown_order

PROMPT = Prompt((Message("user", "What is 2 + 2?"),))


def labels_in(site) -> list[Any]:
    return [one.record for one in read_labels(site.project, cursor_of(site.project))]


def task_of_kind(site, kind, count):
    answers = tuple(Completion(f"answer {number}", model=f"model-{number}") for number in range(count))
    add_items(site.project, [NewItem(Content(kind, PROMPT, answers), overlap=1, reason="the models disagree")])


def pseudonym_of(site, visit):
    people = site.project.database
    with people.read() as connection:
        from steersman.store.people import members_of

        me = visit.get("/api/me").json()["person"]
        return next(one.pseudonym for one in members_of(connection, site.project.id) if one.person_id == me)


def test_a_task_is_blind_and_held(site, tasks):
    tasks(3)
    ann = site.person("Ann")
    reply = ann.get("/api/projects/helpful/tasks/next", params={"ahead": 2}).json()
    assert [one["kind"] for one in reply["tasks"]] == ["pair", "pair"]
    assert "runs/" not in json.dumps(reply)
    assert reply["progress"] == {"done": 0, "mine_left": 3, "skipped": 0}
    assert [answer["slot"] for answer in reply["tasks"][0]["answers"]] == [0, 1]
    ben = site.person("Ben")
    assert [one["id"] for one in ben.next(ahead=2)] == [3], "what Ann holds is not Ben's"


def test_the_next_tasks_follow_the_last_one_that_a_client_has(site, tasks):
    tasks(5)
    ann = site.person("Ann")
    first, second = ann.next(ahead=2)
    assert [one["id"] for one in ann.next(after=second["id"], ahead=1)] == [3]
    assert [one["id"] for one in ann.next(ahead=3)] == [first["id"], second["id"], 3], "after a reload, all is there"


def test_nobody_hoards_tasks(site, tasks):
    tasks(40)
    ann = site.person("Ann")
    last = None
    for _ in range(10):
        got = ann.next(ahead=12) if last is None else ann.next(after=last, ahead=12)
        last = got[-1]["id"] if got else last
    assert len(site.person("Ben").next(ahead=12)) == 12
    from steersman.store.claims import tasks_left

    assert tasks_left(site.project, pseudonym_of(site, ann)) == 40 - 12


@pytest.mark.parametrize("choice", ["first", "second"])
def test_a_choice_means_the_answer_on_the_screen(site, tasks, choice):
    tasks(8)
    ann = site.person("Ann")
    for _ in range(8):
        (task,) = ann.next()
        assert ann.event("label", task["id"], choice=choice, strength=3, seconds=2.5).json()["counts"]
        record = labels_in(site)[-1]
        shown = task["answers"][0 if choice == "first" else 1]["text"]
        assert isinstance(record, Comparison)
        assert record.chosen.text == shown
        assert (record.margin, record.metadata["seconds"]) == (3.0, 2.5)
        assert (record.first if record.shown == "first" else record.second).text == task["answers"][0]["text"]
    assert {record.shown for record in labels_in(site)} == {"first", "second"}, "the order is random over tasks"


def test_a_screen_that_turned_the_answers_around_says_so(site, tasks):
    tasks(1)
    ann = site.person("Ann")
    (task,) = ann.next()
    ann.event("label", task["id"], choice="first", shown=[1, 0], rationale="clearer")
    record = labels_in(site)[0]
    assert record.chosen.text == task["answers"][1]["text"]
    assert (record.first if record.shown == "first" else record.second) == record.chosen
    assert record.rationale == "clearer"


def test_tie_both_bad_and_cannot_judge_are_told_apart(site, tasks):
    tasks(3)
    ann = site.person("Ann")
    for choice in ("tie", "both_bad", "cannot_judge"):
        (task,) = ann.next()
        reply = ann.event("label", task["id"], choice=choice).json()
        assert reply["counts"] == (choice != "cannot_judge")
    assert [(one.preference, one.both_bad) for one in labels_in(site)] == [(0.5, False), (0.5, True)]
    assert ann.next() == []
    assert [one["id"] for one in site.person("Ben").next(ahead=3)] == [3], "somebody else may be able to judge it"


def test_a_ranking_keeps_ties_and_what_was_left_out(site):
    task_of_kind(site, "ranking", 4)
    ann = site.person("Ann")
    (task,) = ann.next()
    assert "why" not in task  # a reason could sway the judgement
    ann.event("label", task["id"], ranks=[2, 1, 2, None], seconds=9)
    (record,) = labels_in(site)
    assert isinstance(record, Ranking)
    by_text = {one.text: rank for one, rank in zip(record.completions, record.ranks, strict=True)}
    assert [by_text[answer["text"]] for answer in task["answers"]] == [2, 1, 2, 3]
    stored = items_of(site.project, [task["id"]])[task["id"]]
    assert record.shown == shown_order(stored, record.annotator)
    assert [record.completions[place].text for place in record.metadata["unordered"]] == [task["answers"][3]["text"]]


def test_ratings_are_by_the_attributes_of_the_project(site):
    from steersman.store.projects import change_settings

    attributes = [{"name": "helpful", "title": "Helpful", "least": 0, "most": 4}]
    change_settings(site.project, {"attributes": attributes})
    task_of_kind(site, "rating", 1)
    ann = site.person("Ann")
    (task,) = ann.next()
    assert task["attributes"] == attributes
    refused = ann.event("label", task["id"], ratings={"helpful": 5})
    assert (refused.status_code, refused.json()["error"]["message"]) == (422, "helpful is rated from 0 to 4; seen 5")
    assert "no attribute 'kind'" in ann.event("label", task["id"], ratings={"kind": 1}).json()["error"]["message"]
    ann.event("label", task["id"], ratings={"helpful": 4}, rationale="short")
    (record,) = labels_in(site)
    assert isinstance(record, Label)
    assert (record.ratings, record.metadata["rationale"]) == ({"helpful": 4.0}, "short")


def test_a_thumb_and_a_demonstration(site):
    task_of_kind(site, "thumb", 1)
    task_of_kind(site, "demonstration", 2)
    ann = site.person("Ann")
    thumb, writing = ann.next(ahead=2)
    ann.event("label", thumb["id"], thumb="down")
    assert ann.event("label", writing["id"], text=" ").status_code == 422
    ann.event("label", writing["id"], text="It is 4.", edited_from=1)
    down, written = labels_in(site)
    assert isinstance(down, Label)
    assert down.desirable is False
    assert isinstance(written, Demonstration)
    assert written.completion.text == "It is 4."
    assert written.completion.sampling["edited_from"]["text"] == writing["answers"][1]["text"]


def test_the_same_key_twice_is_one_label_and_one_reply(site, tasks):
    tasks(2, overlap=2)
    ann = site.person("Ann")
    (task,) = ann.next()
    replies = [ann.event("label", task["id"], key="k-1", choice="tie").json() for _ in range(3)]
    assert replies == [{"event": 1, "counts": True}] * 3
    again = ann.post(
        "/api/projects/helpful/events/batch", [{"key": "k-1", "kind": "label", "task": 1, "choice": "tie"}]
    )
    assert again.json() == replies[:1]
    assert len(labels_in(site)) == 1
    assert ann.event("undo", None, key="k-1").status_code == 400, "a key is of one submission"
    stolen = site.person("Ben").event("label", task["id"], key="k-1", choice="tie")
    assert stolen.status_code == 400
    assert "was used for another submission" in stolen.json()["error"]["message"]


def test_undo_gives_the_task_back_with_what_was_said(site, tasks):
    tasks(3)
    ann = site.person("Ann")
    for task in ann.next(ahead=2):
        ann.event("label", task["id"], choice="first")
    undone = ann.event("undo", None, key="u-1").json()
    assert (undone["counts"], undone["task"]["id"], undone["undone"]["kind"]) == (False, 2, "label")
    assert ann.event("undo", None, key="u-1").json()["event"] == undone["event"]
    assert ann.event("undo", 1).json()["task"]["id"] == 1, "an undo may name its task"
    assert labels_in(site) == []
    assert ann.event("undo", None).status_code == 409
    assert [one["id"] for one in ann.next(ahead=3)] == [1, 2, 3]


def test_a_label_after_its_slot_was_given_away_is_kept_and_does_not_count(site, tasks, monkeypatch):
    tasks(1)
    ann, ben = site.person("Ann"), site.person("Ben")
    (task,) = ann.next()
    import steersman.store.claims as claims

    later = claims.time.time() + 3600
    monkeypatch.setattr(claims.time, "time", lambda: later)
    assert [one["id"] for one in ben.next()] == [task["id"]]
    assert ann.event("label", task["id"], choice="tie").json() == {"event": 1, "counts": False}
    assert ben.event("label", task["id"], choice="first").json() == {"event": 2, "counts": True}


def test_skips_flags_and_comments_are_kept(site, tasks):
    tasks(2)
    ann = site.person("Ann")
    (task,) = ann.next()
    for kind in ("flag", "comment", "skip"):
        assert ann.event(kind, task["id"], rationale=f"a {kind}").json()["counts"] is False
    assert ann.event("comment", task["id"]).status_code == 422
    assert [one["id"] for one in ann.next(ahead=2)] == [2]
    from steersman.store.events import read_events

    assert [(row.kind, json.loads(row.body)) for row in read_events(site.project)] == [
        ("flag", {"reason": "a flag"}),
        ("comment", {"text": "a comment"}),
        ("skip", {"reason": "a skip"}),
    ]


def test_a_batch_goes_on_past_what_is_refused(site, tasks):
    tasks(2)
    ann = site.person("Ann")
    events = [
        {"key": "1", "kind": "label", "task": 1, "choice": "first"},
        {"key": "2", "kind": "label", "task": 77, "choice": "first"},
        {"key": "3", "kind": "label", "task": 2},
        {"key": "4", "kind": "label", "task": 2, "choice": "tie"},
    ]
    replies = ann.post("/api/projects/helpful/events/batch", events).json()
    assert replies[0] == {"event": 1, "counts": True}
    assert [one["status"] for one in replies[1:3]] == [404, 422]
    assert replies[3] == {"event": 2, "counts": True}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "key"),
        ({"key": "a b", "kind": "label", "task": 1}, "key"),
        ({"key": "a", "kind": "labels", "task": 1}, "kind"),
        ({"key": "a", "kind": "label"}, "a task is missing"),
        ({"key": "a", "kind": "label", "task": 2**70, "choice": "tie"}, "task"),
        ({"key": "a", "kind": "label", "task": 1, "choice": "left"}, "choice"),
        ({"key": "a", "kind": "label", "task": 1, "choice": "first", "strength": 5}, "strength"),
        ({"key": "a", "kind": "label", "task": 1, "choice": "tie", "strength": 1}, "`strength`"),
        ({"key": "a", "kind": "label", "task": 1, "choice": "tie", "shown": [0, 0]}, "`shown`"),
        ({"key": "a", "kind": "label", "task": 1, "choice": "tie", "model": "x"}, "model"),
        ({"key": "a", "kind": "label", "task": 1}, "a pair needs a `choice`"),
    ],
)
def test_what_is_no_submission_is_refused_in_words(site, tasks, body, said):
    tasks(1)
    ann = site.person("Ann")
    ann.next()
    refused = ann.post("/api/projects/helpful/events", body)
    assert refused.status_code == 422
    assert said in refused.json()["error"]["message"]
    assert labels_in(site) == []


def test_claims_are_renewed(site, tasks):
    tasks(3)
    ann = site.person("Ann")
    ann.next(ahead=2)
    assert ann.post("/api/projects/helpful/renew").json() == {"held": 2}


def test_a_paused_project_hands_nothing_out_and_keeps_what_comes(site, tasks):
    from steersman.store.projects import set_state

    tasks(2)
    ann = site.person("Ann")
    (task,) = ann.next()
    set_state(site.project, "paused")
    assert ann.next() == []
    assert ann.event("label", task["id"], choice="tie").json()["counts"]
