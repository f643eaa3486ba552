"""`steersman constitution list | show | new | check`."""

import json
from pathlib import Path

import pytest
from commandline import call
from typer.testing import CliRunner

from steersman.cli.main import app
from steersman.constitution.load import load_constitution


def run(*words: str) -> str:
    ended = CliRunner().invoke(app, ["constitution", *words])
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_the_shipped_ones_are_listed_and_shown():
    listed = json.loads(run("list", "--json"))["constitutions"]
    assert [one["name"] for one in listed] == ["general", "harbour"]
    shown = json.loads(run("show", "general", "--json"))
    assert shown["hash"] == listed[0]["hash"] == load_constitution("general").hash
    assert "polite" in run("show", "general")
    assert "critique: The answer mocks the person" in run("show", "general", "--principle", "polite")
    assert json.loads(run("show", "general", "--principle", "polite", "--json"))["name"] == "polite"


def test_a_new_file_loads_and_passes_its_check(tmp_path: Path):
    mine = tmp_path / "mine.toml"
    assert "18 principles from general" in run("new", str(mine))
    assert load_constitution(mine).name == "mine"
    assert load_constitution(mine).hash == load_constitution("general").hash
    assert "0 flaws, 0 notes" in run("check", str(mine))
    mine.write_text("name = 3\n")
    assert call(["constitution", "new", str(mine)]) == 2
    assert call(["constitution", "new", str(mine), "--from", str(mine), "--force"]) == 2
    assert call(["constitution", "new", str(tmp_path / "mine.txt")]) == 2
    run("new", str(mine), "--from", "harbour", "--force")
    assert load_constitution(mine).hash == load_constitution("harbour").hash


def test_a_check_says_what_is_wrong_and_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    mine = tmp_path / "mine.toml"
    run("new", str(mine))
    text = mine.read_text()
    mine.write_text(text.replace("Which answer is more polite?", "Which answer is less truthful?"))
    assert call(["constitution", "check", str(mine)]) == 1
    said = capsys.readouterr()
    assert "contradictory: polite: its comparison_question prefers what that of honest rejects (truthful)" in said.out
    assert "1 to mend" in said.err
    assert call(["constitution", "check", str(mine), "--json"]) == 1
    (flaw,) = json.loads(capsys.readouterr().out)["flaws"]
    assert mine.read_text().splitlines()[flaw["line"] - 1] == 'comparison_question = "Which answer is less truthful?"'
    mine.write_text(text.replace("weight = 2.0", "wieght = 2.0", 1))
    assert call(["constitution", "check", str(mine)]) == 3
    assert "unknown key 'principles[1].wieght'; did you mean 'weight'?" in capsys.readouterr().err
    assert call(["constitution", "check", "generel"]) == 2
    assert "did you mean 'general'?" in capsys.readouterr().err


def test_a_check_shows_what_is_sent_about_the_users_own_rows(tmp_path: Path):
    rows = tmp_path / "rows.jsonl"
    row = {"prompt": "How are you?", "chosen": "Well\u202e, thank you.", "rejected": "None of your business."}
    rows.write_text(json.dumps(row) + "\n")
    found = json.loads(run("check", "general", "--data", str(rows), "--principle", "polite", "--json"))
    judged = found["sent"]["the judge of two answers"]
    (message,) = judged["messages"]
    assert "How are you?\n=== answer A" in message["content"]
    assert "Well⟨U+202E⟩, thank you." in message["content"]
    assert "Which answer is more polite?" in message["content"]
    assert judged["choices"] == ["A", "B"]
    assert "What is sent for the principle 'harmless'" in run("check", "general", "--data", str(rows))


def test_kinds_that_no_prompt_has_are_found(tmp_path: Path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"kind": "prompt", "text": "Hi", "metadata": {"kind": "harmful"}}\n')
    ended = CliRunner().invoke(app, ["constitution", "check", "harbour", "--data", str(rows)])
    assert ended.exit_code == 1
    assert "never drawn: helpful: is for prompts of the kinds like, tell" in ended.output
    assert "those at hand have harmful" in ended.output


def test_a_recipe_of_stages_runs_once_and_ends_with_a_report(tiny, tmp_path: Path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"Say {i}."}) + "\n" for i in range(3)))
    recipe = tmp_path / "whole.toml"
    small = f'model = "{tiny("llama")}"\n'
    recipe.write_text(
        f'out = "{tmp_path / "out"}"\n'
        f'[stages.revise]\ncommand = "constitution revise"\n{small}constitution = "harbour"\n'
        f'prompts.source = "{rows}"\nsampling.max_new_tokens = 4\nrun.device = "cpu"\nrun.threads = 1\n'
        f'[stages.answers]\ncommand = "sample"\n{small}prompts.source = "stage:revise"\nanswers = 1\n'
        'max_new_tokens = 4\ndevice = "cpu"\n'
    )
    first = json.loads(run("run", str(recipe), "--json"))
    assert first["ran"] == ["revise", "answers"]
    assert "Critique and revision" in Path(first["report"]).read_text()
    assert len(Path(first["outputs"]["answers"]).read_text().splitlines()) == 3
    again = json.loads(run("run", str(recipe), "--json"))
    assert again == {**first, "ran": []}
    changed = json.loads(run("run", str(recipe), "answers.max_new_tokens=5", "--json"))
    assert changed["ran"] == ["answers"]
