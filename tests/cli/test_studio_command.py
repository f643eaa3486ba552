"""`steersman studio` as users call it, on fresh data."""

import json
import re

import pytest
from commandline import call

from steersman.judging.ledger import Ledger
from steersman.records import Answers, Comparison, Completion, Message, Prompt, to_dict

QUESTION = Prompt((Message("user", "Why?"),))


def answers(count: int = 3) -> Answers:
    return Answers(QUESTION, tuple(Completion(f"Because {n}.", model="runs/sft") for n in range(count)))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEERSMAN_STORE", str(tmp_path / "studio.db"))
    (tmp_path / "answers.jsonl").write_text(json.dumps(to_dict(answers())) + "\n")
    return tmp_path


def said(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def test_a_project_is_made_filled_listed_exported_and_frozen(place, capsys):
    assert call(["studio", "create", "helpful", "--licence", "CC-BY-4.0"]) == 0
    assert "next: steersman studio import helpful answers.jsonl --task pair" in capsys.readouterr().out
    assert call(["studio", "import", "helpful", "answers.jsonl", "--task", "pair", "--overlap", "2"]) == 0
    assert "4 items are new, 3 of them tasks" in capsys.readouterr().out
    assert call(["studio", "import", "helpful", "harbour:comparisons?count=5", "--json"]) == 0
    assert said(capsys)["labels"] == 5
    assert call(["studio", "list", "--json"]) == 0
    (shown,) = said(capsys)["projects"]
    assert (shown["name"], shown["labels"], shown["items"]) == ("helpful", 5, 9)
    assert call(["studio", "export", "helpful", "all.jsonl", "--json"]) == 0
    assert said(capsys)["rows"] == 9
    assert "Licence: CC-BY-4.0" in (place / "all.jsonl.card.md").read_text()
    assert call(["studio", "snapshot", "helpful", "--json"]) == 0
    assert said(capsys)["source"] == "studio:helpful?snapshot=1"
    assert call(["data", "inspect", "studio:helpful?snapshot=1", "--json"]) == 0
    assert said(capsys)["sources"][0]["kinds"] == {"answers": 4, "comparison": 5}
    assert call(["studio", "export", "helpful", "trl.jsonl", "--to", "trl-preference", "--json"]) == 0
    assert (said(capsys))["rows"] == 5


def test_a_known_answer_of_a_task_that_is_there_makes_it_gold(place, capsys):
    assert call(["studio", "create", "helpful"]) == 0
    assert call(["studio", "import", "helpful", "answers.jsonl", "--task", "pair"]) == 0
    first, second = answers().completions[:2]
    (place / "gold.jsonl").write_text(json.dumps(to_dict(Comparison(QUESTION, first, second, 1.0))) + "\n")
    capsys.readouterr()
    assert call(["studio", "import", "helpful", "gold.jsonl", "--purpose", "gold"]) == 0
    assert "1 items that were there already are gold items now" in capsys.readouterr().out


def test_what_is_not_there_is_named(place, capsys):
    assert call(["studio", "list"]) == 2
    assert "there is no store at" in capsys.readouterr().err
    assert call(["studio", "create", "helpful"]) == 0
    assert call(["studio", "create", "helpful"]) == 2
    assert call(["studio", "create", "a/b"]) == 2
    assert call(["studio", "export", "helpfull", "x.jsonl"]) == 2
    assert "there is no project 'helpfull'" in (err := capsys.readouterr().err)
    assert "did you mean 'helpful'?" in err
    assert call(["studio", "import", "helpful", "answers.jsonl", "--task", "duel"]) == 2
    assert call(["data", "inspect", "studio:helpful?snapshot=4"]) == 2
    assert "helpful has no snapshot 4; `steersman studio snapshot helpful` makes the first" in capsys.readouterr().err
    assert call(["data", "inspect", "studio:helpful?limit=4"]) == 2
    assert "has no option 'limit'" in capsys.readouterr().err


def test_a_backup_is_a_store_and_is_restored_into_an_empty_one(place, capsys):
    call(["studio", "create", "helpful"])
    call(["studio", "import", "helpful", "harbour:comparisons?count=5"])
    assert call(["studio", "backup", "saved.db"]) == 0
    assert call(["studio", "backup", "saved.db"]) == 2
    assert call(["studio", "restore", "saved.db", "--store", "new.db"]) == 0
    assert call(["studio", "restore", "saved.db", "--store", "new.db"]) == 2
    assert "has 1 projects" in capsys.readouterr().err
    assert call(["studio", "migrate", "--store", "new.db"]) == 0
    assert re.search(r"version \d{4}, as before", capsys.readouterr().out)
    for name, store in {"one": "saved.db", "two": "new.db"}.items():
        assert call(["studio", "export", "helpful", f"{name}.jsonl", "--store", store]) == 0
    assert (place / "one.jsonl").read_bytes() == (place / "two.jsonl").read_bytes()


def test_a_label_file_is_imported_with_its_history_and_goes_on_later(place, capsys):
    def judged(number: int, preference: float) -> Comparison:
        first, second = answers(9).completions[number : number + 2]
        return Comparison(QUESTION, first, second, preference, annotator="ann", shown="first", id=f"i{number}-aa")

    def act(ledger: Ledger, number: int, preference: float) -> None:
        ledger.judge(f"i{number}", judged(number, preference))

    with Ledger(place / "labels.jsonl", mode="compare", annotator="ann", now=lambda: "2026-01-01") as ledger:
        act(ledger, 0, 1.0)
        act(ledger, 1, 0.5)
        ledger.undo()
        ledger.skip("i2", "too long")
        act(ledger, 3, 0.0)
    call(["studio", "create", "helpful"])
    capsys.readouterr()
    assert call(["studio", "import", "helpful", "labels.jsonl", "--json"]) == 0
    assert (found := said(capsys))["labels"] == 3
    assert found["repeated"] == 0
    with Ledger(place / "labels.jsonl", mode="compare", annotator="ann", now=lambda: "2026-01-01") as ledger:
        act(ledger, 1, 1.0)
    assert call(["studio", "import", "helpful", "labels.jsonl", "--json"]) == 0
    assert said(capsys)["labels"] == 1
    assert call(["studio", "export", "helpful", "native.jsonl", "--to", "native"]) == 0
    exported = sorted((place / "native.jsonl").read_text().splitlines())
    assert exported == sorted((place / "labels.jsonl").read_text().splitlines())
    assert call(["studio", "list", "helpful", "--json"]) == 0
    capsys.readouterr()
    from steersman.store.database import open_store
    from steersman.store.events import read_events, verify_events
    from steersman.store.projects import find_project

    with open_store() as database:
        project = find_project(database, "helpful")
        kinds = [event.kind for event in read_events(project)]
        assert kinds == ["label", "label", "undo", "skip", "label", "label"]
        assert verify_events(project) == 6


def test_a_damaged_label_file_is_refused(place, capsys):
    with Ledger(place / "labels.jsonl", mode="compare", annotator="ann", now=lambda: "2026-01-01") as ledger:
        first, second, _ = answers().completions
        ledger.judge("i", Comparison(QUESTION, first, second, 1.0, annotator="ann", id="i-aa"))
    (place / "labels.jsonl").write_text("")
    call(["studio", "create", "helpful"])
    assert call(["studio", "import", "helpful", "labels.jsonl"]) == 3
    assert "differs from the history" in capsys.readouterr().err
