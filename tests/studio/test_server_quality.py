"""Quality over HTTP: figures, doubtful items, decisions, gold items and practice, by those who may."""

import time
import uuid

import pytest
from store_pairs import pair

from steersman.records import Comparison
from steersman.store.imports import ImportReport, Wishes, from_records, import_arriving
from steersman.store.items import list_items
from steersman.store.reading import read_records
from steersman.store.reading_cursor import cursor_of

API = "/api/projects/helpful"
PAGE = "/projects/helpful/quality"


def quality_of(visit):
    """The figures with all events: on a busy machine a page shows earlier ones at first."""
    while (found := visit.get(f"{API}/quality").json())["behind"]:
        time.sleep(0.05)
    return found


@pytest.fixture
def judged(site, tasks):
    """Six pairs, each judged by two people, who disagree about the first."""
    found = tasks(6, overlap=2)
    people = [site.person("Ann"), site.person("Ben")]
    for person in people:
        for place, task in enumerate(person.next(ahead=6)):
            better = next(one["slot"] for one in task["answers"] if one["text"].startswith("Good"))
            good = place > 0 or person is people[0]
            choice = ("first", "second")[better if good else 1 - better]
            assert person.event("label", task["id"], choice=choice, strength=2, seconds=4.5).status_code == 200
    return found


def test_figures_are_given_to_those_who_may_see_them(site, judged):
    viewer = site.person("Vera", "viewer")
    said = quality_of(viewer)
    assert (said["labels"], said["items"], said["behind"]) == (12, 6, 0)
    assert said["agreement"][0]["percent"]["estimate"] == pytest.approx(5 / 6, abs=1e-3)
    assert said["doubtful"]["count"] == 1
    assert {one["labels"] for one in said["annotators"]} == {6}
    assert said["times"]["median"] == 4.5
    listed = viewer.get(f"{API}/quality/doubtful").json()
    assert listed["items"][0]["reasons"] == ["labels disagree: 1 first, 1 second"]
    assert "Two labels alike" in viewer.get(PAGE).text
    for path in (f"{API}/quality", PAGE, f"{PAGE}/doubtful"):
        assert site.person(uuid.uuid4().hex[:8]).get(path).status_code == 403


def test_figures_follow_new_labels(site, judged):
    ada = site.admin()
    assert quality_of(ada)["labels"] == 12
    ada.post(f"{API}/quality/items/{judged[0].id}/more", {"key": "m"})
    task = site.person("Cid").next()[0]
    assert task["id"] == judged[0].id
    ada.event("flag", judged[1].id, rationale="cut off")
    assert quality_of(ada)["doubtful"]["count"] == 2


def test_a_reviewer_decides_on_the_page_and_a_viewer_only_looks(site, judged):
    item = judged[0].id
    viewer, rob = site.person("Vera", "viewer"), site.person("Rob", "reviewer")
    shown = viewer.get(f"{PAGE}/items/{item}").text
    assert "What people said" in shown
    assert "Decide" not in shown
    assert viewer.post(f"{API}/quality/items/{item}/more", {"key": "x"}).status_code == 403
    page = rob.get(f"{PAGE}/items/{item}")
    assert "labels disagree: 1 first, 1 second" in page.text
    form = {"csrf": rob.csrf, "key": "decision", "do": "decide", "choice": "tie", "rationale": "Equal."}
    done = rob.client.post(f"{PAGE}/items/{item}", data=form, headers={"Origin": "http://localhost:8400"})
    assert done.status_code == 200, done.text
    assert "Equal." in done.text
    assert quality_of(rob)["doubtful"]["count"] == 0
    records = [one for one in read_records(site.project, cursor_of(site.project)) if isinstance(one, Comparison)]
    assert [one.preference for one in records].count(0.5) == 1
    assert len(records) == 11
    without = rob.client.post(f"{PAGE}/items/{item}", data={**form, "csrf": "wrong"})
    assert without.status_code == 403


def test_a_form_that_says_nothing_is_refused_with_what_is_missing(site, judged):
    rob = site.person("Rob", "reviewer")
    rob.get(f"{PAGE}/items/{judged[0].id}")
    for form, words in (
        ({"do": "decide", "key": "k"}, "a pair needs a"),
        ({"do": "decide", "key": "", "choice": "tie"}, "key"),
        ({"do": "fly", "key": "k"}, "choose what to do"),
        ({"do": "decide", "key": "k", "choice": "first", "strength": "much"}, "is no number"),
        ({"do": "more", "key": "k"}, None),
        ({"do": "more", "key": "k2"}, "waits for 1 more already"),
    ):
        reply = rob.send("POST", f"{PAGE}/items/{judged[0].id}", data={"csrf": rob.csrf, **form})
        assert (reply.status_code == 200) == (words is None), reply.text[:300]
        assert words is None or words in reply.text
    assert rob.get(f"{PAGE}/items/999").status_code == 404


def test_an_item_is_made_gold_and_looks_like_any_other(site, judged):
    rob, ada = site.person("Rob", "reviewer"), site.person("Ada", "admin")
    item = judged[2].id
    answers = rob.get(f"{API}/quality/items/{item}").json()["answers"]
    better = ("first", "second")[next(i for i, one in enumerate(answers) if one["text"].startswith("Good"))]
    known = {"key": "g", "task": item, "choice": better}
    assert rob.send("PUT", f"{API}/quality/items/{item}/gold", json=known).status_code == 200
    (stored,) = [one for one in list_items(site.project) if one.id == item]
    assert stored.gold == {"preference": 1.0, "both_bad": False}
    assert quality_of(ada)["annotators"][0]["gold"]["choices"] == 1
    ada.send("PATCH", API, json={"gold_share": 0.5})
    ada.post(f"{API}/quality/items/{judged[0].id}/more", {"key": "m"})
    cid = site.person("Cid")
    seen = cid.next(ahead=5)
    assert all("gold" not in one and one.get("why") is None for one in seen)
    assert rob.send("PUT", f"{API}/quality/items/{item}/gold", json={**known, "task": 1, "key": "h"}).status_code == 400
    ordinary = {"key": "i", "task": item, "purpose": ""}
    assert rob.send("PUT", f"{API}/quality/items/{item}/gold", json=ordinary).status_code == 200


def test_an_admin_sets_the_checks_on_the_page(site, judged):
    ada, rob = site.person("Ada", "admin"), site.person("Rob", "reviewer")
    for who, status in ((rob, 403), (ada, 200)):
        who.get(PAGE)
        form = {"csrf": who.csrf, "gold": 5, "repeat": 10, "most": 3}
        assert who.send("POST", f"{PAGE}/settings", data=form).status_code == status
    assert 'value="10"' in ada.get(PAGE).text
    assert (
        ada.send("POST", f"{PAGE}/settings", data={"csrf": ada.csrf, "gold": 99, "repeat": 1, "most": 1}).status_code
        == 422
    )
    assert ada.get(f"{API}/audit").json()[0]["action"] == "change_project"


@pytest.fixture
def practice(site):
    known = [pair(300 + number, rationale=f"Because {number}.") for number in range(3)]
    import_arriving(site.project, from_records(known, Wishes(purpose="practice")), ImportReport())


def answer(visit, task, good=True):
    better = next(one["slot"] for one in task["answers"] if one["text"].startswith("Good"))
    body = {"key": uuid.uuid4().hex, "task": task["id"], "choice": ("first", "second")[better if good else 1 - better]}
    return visit.post(f"{API}/practice", body)


def test_a_labeller_practises_before_the_first_task(site, tasks, practice):
    tasks(2)
    ann = site.person("Ann")
    refused = ann.get(f"{API}/tasks/next")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "practice")
    assert ann.event("label", 1, choice="tie").status_code == 403
    start = ann.get(f"{API}/practice").json()
    assert (start["state"], start["items"], len(start["tasks"])) == ("open", 3, 3)
    assert all("gold" not in one for one in start["tasks"])
    marks = [answer(ann, task, good=place != 1).json() for place, task in enumerate(start["tasks"])]
    assert [one["right"] for one in marks] == [True, False, True]
    assert marks[1]["explanation"].startswith("Because")
    assert marks[1]["expected"] in ("A is better", "B is better")
    assert (marks[2]["state"], marks[2]["attempts_left"]) == ("open", 1)  # two of three, 70 % needed
    again = ann.get(f"{API}/practice").json()
    assert len(again["tasks"]) == 3
    for task in again["tasks"]:
        last = answer(ann, task).json()
    assert last["state"] == "passed"
    assert len(ann.next()) == 1


def test_an_admin_lets_somebody_in_who_did_not_pass(site, tasks, practice):
    tasks(1)
    ada, ann = site.person("Ada", "admin"), site.person("Ann")
    ada.send("PATCH", API, json={"practice": {"pass": 1.0, "attempts": 1}})
    for task in ann.get(f"{API}/practice").json()["tasks"]:
        answer(ann, task, good=False)
    assert ann.get(f"{API}/practice").json()["state"] == "failed"
    (one,) = ada.get(f"{API}/practice-progress").json()
    assert one["state"] == "failed"
    page = ada.get(PAGE).text
    assert "did not pass" in page
    form = {"csrf": ada.csrf, "annotator": one["annotator"], "key": "in"}
    assert ada.send("POST", f"{PAGE}/people", data=form).status_code == 200
    assert len(ann.next()) == 1
    assert ada.post(f"{API}/members/{one['person']}/qualified", {"key": "again"}).status_code == 200
    assert ada.post(f"{API}/members/999/qualified", {"key": "x"}).status_code == 404


def test_practice_is_for_labellers_and_its_items_are_no_tasks(site, tasks, practice):
    found = tasks(4)
    rob = site.person("Rob", "reviewer")
    assert len(rob.next()) == 1
    items = [one.id for one in found if one.purpose == "practice"]
    assert rob.event("label", items[0], choice="tie").status_code == 400
    assert answer(rob, {"id": 999, "answers": [{"slot": 0, "text": "Good"}]}).status_code == 404


def test_skipped_tasks_come_again(site, tasks):
    tasks(2)
    ann = site.person("Ann")
    (first,) = ann.next()
    ann.event("skip", first["id"])
    (second,) = ann.next()
    ann.event("skip", second["id"])
    assert ann.next() == []
    assert ann.get(f"{API}/tasks/next").json()["progress"]["skipped"] == 2
    assert ann.post(f"{API}/revisit", {"key": "r"}).json()["tasks"] == 2
    assert ann.post(f"{API}/revisit", {"key": "r"}).json()["tasks"] == 2
    assert [one["id"] for one in ann.next()] == [first["id"]]
