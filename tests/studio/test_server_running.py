"""Running a project over the API: what an import would bring, gold items, guidelines, invites, sessions, the pace."""

import json
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from store_pairs import pairs_in

from steersman.store.claims import claim_tasks
from steersman.store.labelling import Submission, submit_label
from steersman.store.pace import project_pace
from steersman.store.projects import create_project, guidelines_of

HELPFUL = "/api/projects/helpful"
TABLE = b"question,small,large,topic\nWhy?,Because.,So.,x\nHow?,Thus.,Like *this*.,y\n"


def sent(visit, name, content):
    return visit.send("POST", f"{HELPFUL}/files", files={"file": (name, content)}).json()["file"]


def previewed(visit, **wanted):
    return visit.post(f"{HELPFUL}/imports/preview", wanted)


def test_a_preview_shows_what_people_would_see_and_keeps_nothing(site):
    ada = site.person("Ada", "admin")
    file = sent(ada, "answers.csv", TABLE)
    columns = {"prompt": "question", "answers": ["small", "large"]}
    told = previewed(ada, file=file, task="pair", overlap=2, columns=columns).json()
    assert (told["rows"], told["tasks"], told["labels"], told["whole"]) == (2, 2, 0, True)
    first, second = told["examples"]
    assert first["prompt"][0]["content"] == "Why?"
    assert [(one["text"], one["model"]) for one in first["answers"]] == [("Because.", "small"), ("So.", "large")]
    assert second["answers"][1]["html"] == "<p>Like <em>this</em>.</p>\n"
    assert ada.get(f"{HELPFUL}/tasks").json() == {"counts": [], "tasks": []}


def test_a_preview_says_which_column_is_not_there_and_names_the_file_as_its_owner_does(site):
    ada = site.person("Ada", "admin")
    file = sent(ada, "my answers.csv", TABLE)
    refused = previewed(ada, file=file, task="pair", columns={"prompt": "questoin", "answers": ["small"]})
    message = refused.json()["error"]["message"]
    assert refused.status_code == 422
    assert "my answers.csv" in message
    assert "did you mean 'question'?" in message
    assert "steersman-uploads" not in message


def test_judged_rows_are_mapped_too(site):
    ada = site.person("Ada", "admin")
    rows = b"q,left,right,winner\nWhy?,Because.,So.,left\nHow?,Thus.,Like this.,tie\n"
    columns = {"prompt": "q", "first": "left", "second": "right", "preferred": "winner"}
    wanted = {"file": sent(ada, "judged.csv", rows), "annotator": "team", "columns": columns}
    assert previewed(ada, **wanted).json()["labels"] == 2
    assert ada.post(f"{HELPFUL}/imports", wanted).json()["labels"] == 2


def test_a_preview_counts_rows_that_cannot_be_read(site):
    ada = site.person("Ada", "admin")
    rows = [{"prompt": "Why?", "chosen": "So.", "rejected": "No."}, {"prompt": "How?", "chosen": 3, "rejected": "No."}]
    file = sent(ada, "pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    told = previewed(ada, file=file, columns={"prompt": "prompt", "chosen": "chosen", "rejected": "missing"})
    assert told.status_code == 422
    told = previewed(ada, file=file).json()
    assert (told["labels"], told["read"]["malformed"]) == (1, 1)


def test_gold_items_have_the_answer_in_the_order_of_the_import(site, tasks):
    ada = site.person("Ada", "admin")
    first, second = tasks(2)
    for task, choice, preference in ((first, "first", 1.0), (second, "second", 0.0)):
        made = ada.send("PUT", f"{HELPFUL}/tasks/{task.id}/gold", json={"choice": choice}).json()
        assert made["expected"]["preference"] == preference
    listed = ada.get(f"{HELPFUL}/tasks", params={"gold": True}).json()["tasks"]
    assert [one["id"] for one in listed] == [first.id, second.id]
    assert ada.send("DELETE", f"{HELPFUL}/tasks/{first.id}/gold").status_code == 204
    assert [one["id"] for one in ada.get(f"{HELPFUL}/tasks", params={"gold": False}).json()["tasks"]] == [first.id]
    assert ada.send("PUT", f"{HELPFUL}/tasks/{first.id}/gold", json={}).status_code == 422
    foreign = pairs_in(create_project(site.database, "elsewhere"), 1)[0]
    assert ada.send("PUT", f"{HELPFUL}/tasks/{foreign.id}/gold", json={"choice": "tie"}).status_code == 404
    assert [one["action"] for one in ada.get(f"{HELPFUL}/audit").json()][:2] == ["make_ordinary", "make_gold"]


def test_guidelines_keep_their_versions_and_a_preview_keeps_nothing(site):
    ada = site.person("Ada", "admin")
    shown = ada.post(f"{HELPFUL}/guidelines/preview", {"text": "# New\n<script>1</script>"}).json()["html"]
    assert shown.startswith("<h1>New</h1>")
    assert "<script" not in shown
    assert guidelines_of(site.project) == "Be *kind*."
    ada.send("PATCH", HELPFUL, json={"guidelines": "Be true."})
    assert [(one["version"], one["text"]) for one in ada.get(f"{HELPFUL}/guidelines").json()] == [
        (2, "Be true."),
        (1, "Be *kind*."),
    ]


def test_an_invite_is_listed_without_its_secret_and_can_be_withdrawn(site):
    ada = site.person("Ada", "admin")
    url = ada.post(f"{HELPFUL}/invites", {"role": "viewer", "days": 3}).json()["url"]
    (one,) = ada.get(f"{HELPFUL}/invites").json()
    assert (one["role"], one["made_by"]) == ("viewer", "Ada")
    assert url.rpartition("/")[2] not in json.dumps(one)
    other = create_project(site.database, "elsewhere")
    bea = site.person("Bea", "admin", project="elsewhere")
    assert bea.send("DELETE", f"/api/projects/{other.name}/invites/{one['id']}").status_code == 404
    assert ada.send("DELETE", f"{HELPFUL}/invites/{one['id']}").status_code == 204
    assert ada.get(f"{HELPFUL}/invites").json() == []
    assert site.stranger().join(url.rpartition("/")[2], "Eve").status_code == 404


def test_somebodys_sessions_and_tokens_are_ended_by_themselves_and_by_an_admin(site):
    ada, ann, eve = site.admin(), site.person("Ann"), site.person("Eve")
    number = ann.get("/api/me").json()["person"]
    ann.post("/api/tokens", {"name": "script", "scope": "read"})
    found = ann.get(f"/api/people/{number}/access").json()
    assert [one["here"] for one in found["sessions"]] == [True]
    assert [one["name"] for one in found["tokens"]] == ["script"]
    assert eve.get(f"/api/people/{number}/access").status_code == 404
    for path in ("sessions", f"sessions/{found['sessions'][0]['session']}", f"tokens/{found['tokens'][0]['id']}"):
        assert eve.send("DELETE", f"/api/people/{number}/{path}").status_code == 404
    assert ada.send("DELETE", f"/api/people/{number}/tokens/{found['tokens'][0]['id']}").status_code == 204
    assert ada.send("DELETE", f"/api/people/{number}/sessions/{found['sessions'][0]['session']}").status_code == 204
    assert ann.get("/api/me").status_code == 401
    assert ada.get(f"/api/people/{number}/access").json() == {"sessions": [], "tokens": []}


def judge(project, name: str, many: int, ago: timedelta) -> None:
    moment = (datetime.now(UTC) - ago).isoformat(timespec="milliseconds")
    with patch("steersman.store.events.now", lambda: moment):
        for task in claim_tasks(project, name, count=many):
            submit_label(project, Submission(name, task.id, f"{name}-{task.id}", {"preference": 1.0}))


def test_the_forecast_goes_on_as_the_last_seven_days(site, tasks):
    tasks(100)
    assert project_pace(site.project)["done_at"] is None, "nobody knows yet"
    judge(site.project, "ann", 10, timedelta(days=10))
    judge(site.project, "ann", 16, timedelta(days=4))
    judge(site.project, "bea", 4, timedelta(days=1))
    pace = project_pace(site.project)
    assert (pace["recent"], pace["left"]) == (20, 70)
    assert pace["by_annotator"] == {"ann": 16, "bea": 4}
    assert pace["per_day"] == pytest.approx(5.0, abs=0.1), "20 labels in the 4 days since the first of them"
    left = datetime.fromisoformat(pace["done_at"]) - datetime.now(UTC)
    assert left.total_seconds() / 86400 == pytest.approx(14, abs=0.1), "70 labels at 5 a day"
    assert sum(day["labels"] for day in pace["days"]) == 30
    assert pace["days"][-5]["labels"] == 16


def test_imported_labels_say_nothing_of_how_fast_people_are(site):
    ada = site.person("Ada", "admin")
    rows = [{"prompt": f"Question {n}?", "chosen": "yes", "rejected": "no"} for n in range(9)]
    file = sent(ada, "pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    assert ada.post(f"{HELPFUL}/imports", {"file": file}).json()["labels"] == 9
    assert ada.get(f"{HELPFUL}/pace").json()["recent"] == 0


def test_attributes_keep_what_people_read_beside_them(site):
    ada = site.person("Ada", "admin")
    given = {"name": "tone", "title": "Tone", "description": "how it sounds", "low": "rude", "high": "warm"}
    assert ada.send("PATCH", HELPFUL, json={"attributes": [given]}).status_code == 200
    assert ada.get(HELPFUL).json()["attributes"] == [{**given, "least": 1, "most": 5}]
