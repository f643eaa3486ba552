"""Red-teaming over the API: goals become tasks, a real endpoint answers what somebody writes, the choice is a label."""

import json

import pytest
from openai_server import openai_server

from steersman.records import Comparison
from steersman.store.erasure import data_of_person, erase_person
from steersman.store.events import verify_events
from steersman.store.export import export_project
from steersman.store.imports import Wishes, import_source
from steersman.store.people import person_named
from steersman.store.projects import create_project
from steersman.store.reading import read_records
from steersman.store.reading_cursor import cursor_of
from steersman.studio.settings import StudioSettings

GOAL = "Get it to state something false."


@pytest.fixture
def settings(tmp_path):
    return StudioSettings(runs=(tmp_path / "runs",), allowed=("127.0.0.1",))


@pytest.fixture
def model():
    """An endpoint that numbers its answers."""
    with openai_server(lambda number: f"text Answer {number}") as server:
        yield server


@pytest.fixture
def ready(site, model):
    """An admin, and a labeller with a red-teaming task."""
    ada, ann = site.admin(), site.person("Ann")
    terms = {"model": f"{model.url}#policy-7", "system": "Be brief.", "temperature": 0.7, "max_tokens": 64}
    assert ada.send("PATCH", "/api/projects/helpful", json={"responder": terms}).status_code == 200
    added = ada.post("/api/projects/helpful/red-team", {"goals": [GOAL, GOAL, "Another goal."], "tasks": 2})
    assert (added.status_code, added.json()) == (201, {"tasks": 4, "repeated": 0})
    again = ada.post("/api/projects/helpful/red-team", {"goals": [GOAL], "tasks": 3})
    assert again.json() == {"tasks": 1, "repeated": 2}
    return ada, ann, ann.next()[0]


def write(visit, task, text, *, key="k1", **more):
    return visit.post(f"/api/projects/helpful/tasks/{task}/answers", {"key": key, "text": text, **more})


def comparisons(project):
    return [one for one in read_records(project, cursor_of(project)) if isinstance(one, Comparison)]


def test_a_prompt_is_written_answered_twice_and_judged(site, ready, model, tmp_path):
    _, ann, task = ready
    assert (task["kind"], task["prompt"][0]["content"], task["answers"]) == ("red_team", GOAL, [])
    reply = write(ann, task["id"], "Who won in 1990?")
    assert reply.status_code == 200, reply.text
    exchange = reply.json()
    assert [one["role"] for one in exchange["conversation"]] == ["user"]
    assert {one["text"] for one in exchange["answers"]} == {"Answer 0", "Answer 1"}
    assert write(ann, task["id"], "Who won in 1990?").json() == exchange
    assert len(model.requests) == 2
    sent = [one["body"] for one in model.requests]
    assert sent[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who won in 1990?"},
    ]
    assert (sent[0]["temperature"], sent[0]["max_tokens"], sent[0]["model"]) == (0.7, 64, "policy-7")
    assert sent[0]["seed"] != sent[1]["seed"]
    assert model.requests[0]["path"] == "/v1/chat/completions"

    done = ann.event(
        "label",
        task["id"],
        choice="first",
        strength=3,
        exchange=exchange["exchange"],
        rationale="It lies.",
        seconds=9.5,
    )
    assert done.json()["counts"] is True
    (record,) = comparisons(site.project)
    chosen = record.first if record.preference == 1.0 else record.second
    assert chosen.text == exchange["answers"][0]["text"]
    assert [one.content for one in record.prompt.messages] == ["Be brief.", "Who won in 1990?"]
    assert (record.margin, record.rationale, record.metadata["seconds"]) == (3.0, "It lies.", 9.5)
    for one in (record.first, record.second):
        assert (one.model, one.sampling["temperature"], one.sampling["finish"]) == ("policy-7", 0.7, "stop")
    assert {record.first.seed, record.second.seed} == {one["seed"] for one in sent}
    # Nothing is lost on the way out and in again.
    export_project(site.project, tmp_path / "one.jsonl")
    other = create_project(site.database, "other")
    import_source(other, str(tmp_path / "one.jsonl"), Wishes())
    export_project(other, tmp_path / "two.jsonl")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    assert comparisons(other) == [record]
    # A goal is no prompt to train on.
    assert list(read_records(site.project, cursor_of(site.project))) == [record]


def test_a_conversation_goes_on_from_an_answer_and_an_undo_gives_the_task_back(site, ready, model):
    _, ann, task = ready
    first = write(ann, task["id"], "One?").json()
    more = write(ann, task["id"], "Two?", key="k2", after=first["exchange"], slot=1).json()
    said = [(one["role"], one["content"]) for one in more["conversation"]]
    assert said == [("user", "One?"), ("assistant", first["answers"][1]["text"]), ("user", "Two?")]
    assert [one["content"] for one in model.requests[2]["body"]["messages"]][1:] == [text for _, text in said]
    ann.event("label", task["id"], choice="tie", exchange=more["exchange"])
    undone = ann.event("undo", None).json()
    assert undone["task"]["id"] == task["id"]
    assert comparisons(site.project) == []
    ann.event("label", task["id"], choice="both_bad", exchange=first["exchange"])
    (record,) = comparisons(site.project)
    assert (record.both_bad, len(record.prompt.messages)) == (True, 2)
    assert verify_events(site.project) == 5


def test_what_cannot_be_asked_is_refused_and_keeps_nothing(site, ready, model):
    ada, ann, task = ready
    ben = site.person("Ben")
    assert write(ben, task["id"], "Hello").json()["error"]["code"] == "not_held"
    assert write(ann, 999, "Hello").status_code == 404
    assert write(ann, task["id"], "  ").status_code == 422
    assert write(ann, task["id"], "Hello", after=1).status_code == 422
    assert write(ann, task["id"], "Hello", after=1, slot=0).status_code == 400
    mine = write(ann, task["id"], "Hello").json()["exchange"]
    (theirs,) = ben.next()
    assert "no exchange" in ben.event("label", theirs["id"], choice="tie", exchange=mine).json()["error"]["message"]
    missing = ann.event("label", task["id"], choice="tie")
    assert "needs its `exchange`" in missing.json()["error"]["message"]
    model.moods = lambda _: "status 500"
    failed = write(ann, task["id"], "Once more", key="k9")
    assert (failed.status_code, failed.json()["error"]["code"]) == (503, "try_again")
    assert "tell an admin of the project" in failed.json()["error"]["message"]
    model.moods = lambda _: "says <html>"
    assert "cannot be read" in write(ann, task["id"], "Once more", key="k9").json()["error"]["message"]
    model.moods = lambda _: "refuses max_tokens"
    assert write(ann, task["id"], "Once more", key="k9").status_code == 503
    model.moods = lambda _: "text Well."
    assert write(ann, task["id"], "Once more", key="k9").status_code == 200
    ada.send("PATCH", "/api/projects/helpful", json={"responder": {}})
    assert write(ann, task["id"], "Hello", key="k10").json()["error"]["code"] == "no_model"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("http://169.254.169.254/v1#policy", "not on the public internet"),
        ("http://10.0.0.7:8000/v1#policy", "not on the public internet"),
        ("http://127.0.0.1:8000/v1", "names no model"),
        ("http://127.0.0.1:8000/${HOME}#policy", "no '$'"),
        ("ftp://example.org/v1#policy", "http://host/path"),
        ("http://user:secret@127.0.0.1/v1#policy", "no name or password"),
    ],
)
def test_an_address_that_may_not_be_reached_is_refused(site, place, words):
    ada = site.admin()
    reply = ada.send("PATCH", "/api/projects/helpful", json={"responder": {"model": place}})
    assert reply.status_code == 400
    assert words in reply.json()["error"]["message"]


def test_what_somebody_wrote_goes_with_them(site, ready):
    _, ann, task = ready
    exchange = write(ann, task["id"], "My secret question").json()["exchange"]
    write(ann, task["id"], "Another secret", key="k2")
    ann.event("label", task["id"], choice="first", exchange=exchange)
    with site.database.read() as connection:
        person = person_named(connection, "Ann")
    assert "My secret question" in json.dumps(data_of_person(site.database, person.id))
    erase_person(site.database, person.id, labels=False)
    with site.database.read() as connection:
        from sqlalchemy import select

        from steersman.store.schema import event

        bodies = list(connection.execute(select(event.c.body)).scalars())
    assert not any("secret" in one for one in bodies)
    assert verify_events(site.project) > 3
    assert comparisons(site.project) == []


def test_the_key_of_the_studios_model_goes_to_no_other_address(address, tmp_path, model):
    from studio_visits import Site

    from steersman.studio.app import create_app

    settings = StudioSettings(allowed=("127.0.0.1",), responder=f"{model.url}#house", responder_token="the-key")
    app = create_app(address, settings)
    create_project(app.state.studio.database, "helpful")
    site = Site(app)
    ada, ann = site.admin(), site.person("Ann")
    ada.post("/api/projects/helpful/red-team", {"goals": [GOAL]})
    (task,) = ann.next()
    assert write(ann, task["id"], "Hello").status_code == 200
    assert model.requests[0]["headers"]["Authorization"] == "Bearer the-key"
    ada.send("PATCH", "/api/projects/helpful", json={"responder": {"model": f"{model.url}#other"}})
    assert write(ann, task["id"], "Hello", key="k2").status_code == 200
    assert "Authorization" not in model.requests[-1]["headers"]
    site.close()


def test_an_answer_with_characters_that_no_database_keeps_is_kept_without_them(site):
    ada, ann = site.admin(), site.person("Ann")
    with openai_server(lambda number: "text a\0b\ud83dc") as server:
        ada.send("PATCH", "/api/projects/helpful", json={"responder": {"model": f"{server.url}#policy"}})
        ada.post("/api/projects/helpful/red-team", {"goals": [GOAL], "tasks": 1})
        reply = write(ann, ann.next()[0]["id"], "Say it.")
    assert reply.status_code == 200, reply.text
    assert {one["text"] for one in reply.json()["answers"]} == {"a\ufffdb\ufffdc"}
