"""Column mapping on the command line: each method learns from a table whose columns have names of their own."""

import json

import pytest
from forked import run_command
from typer.testing import CliRunner

from steersman.cli.data import app
from steersman.errors import DataError, UsageError
from steersman.runs.folder import RunFolder

TINY = ["--model", "tiny:llama", "--device", "cpu", "--out", "run"]
PAIR = ["data.columns.prompt=question", "data.columns.chosen=good one", "data.columns.rejected=bad"]
THUMB = ["data.columns.prompt=question", "data.columns.completion=good one", "data.columns.label=thumb"]
STEP = "train.steps=1"
METHODS = {
    "sft": ["sft", *TINY, "--data", "rows.csv", STEP, "data.columns.prompt=question", "data.columns.completion=bad"],
    "reward": ["reward", *TINY, "--data", "rows.csv", STEP, *PAIR],
    "dpo": ["dpo", *TINY, "--data", "rows.csv", STEP, *PAIR],
    "kto": ["dpo", *TINY, "--data", "rows.csv", STEP, "loss=kto", *THUMB],
    "ppo": [
        *("ppo", *TINY, "--prompts", "rows.csv", "--scorer", "f.py:f", "iterations=1", "prompts_per_iteration=4"),
        *("sampling.max_new_tokens=4", "prompts.columns.prompt=question"),
    ],
}


@pytest.fixture
def folder(tmp_path):
    lines = ["question,good one,bad,thumb", *(f"What is {n}?,It is {n}.,No {n}!,{n % 2}" for n in range(24))]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "f.py").write_text("def f(answer):\n    return 1.0\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_method_learns_from_a_table_by_its_columns(method, folder):
    ended = run_command(METHODS[method], cwd=folder)
    assert ended.returncode == 0, ended.stderr
    recipe = RunFolder(folder / "run").recipe_path.read_text()
    assert "columns" in recipe
    # the recipe of the run is complete: it reads the same table again
    assert run_command([method.replace("kto", "dpo"), "run/recipe.toml"], cwd=folder).returncode == 0


@pytest.mark.slow
def test_a_wrong_column_stops_a_method_with_the_nearest_one(folder):
    words = [*METHODS["sft"][:-2], "data.columns.prompt=qestion", "data.columns.completion=bad"]
    ended = run_command(words, cwd=folder)
    assert ended.returncode == 3
    assert "the columns are question, good one, bad, thumb; did you mean 'question'?" in " ".join(ended.stderr.split())


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_inspect_and_convert_read_columns(folder):
    columns = ["--columns", "prompt=question,chosen=good one", "--columns", "rejected=bad"]
    said = run("inspect", folder / "rows.csv", *columns).output
    assert "24 rows, 24 records (24 comparison)" in said
    assert "columns prompt=question, chosen=good one, rejected=bad" in said
    target = folder / "pairs.jsonl"
    run("convert", folder / "rows.csv", target, "--to", "trl", *columns)
    first = json.loads(target.read_text().splitlines()[0])
    assert first == {"prompt": "What is 0?", "chosen": "It is 0.", "rejected": "No 0!"}
    run("split", folder / "rows.csv", folder / "parts", "--columns", "prompt=question,answers=good one,answers=bad")
    rows = [json.loads(line) for line in (folder / "parts" / "train.jsonl").read_text().splitlines()]
    assert {answer["model"] for row in rows for answer in row["completions"]} == {"good one", "bad"}


def test_wrong_columns_are_told(folder):
    with pytest.raises(UsageError, match="expected field=column"):
        run("inspect", folder / "rows.csv", "--columns", "question")
    with pytest.raises(UsageError, match="did you mean 'chosen'"):
        run("inspect", folder / "rows.csv", "--columns", "choosen=bad")
    with pytest.raises(DataError, match="no column 'qestion'"):
        run("inspect", folder / "rows.csv", "--columns", "prompt=qestion")
    with pytest.raises(UsageError, match="give one of them"):
        run("inspect", folder / "rows.csv", "--columns", "prompt=question", "--format", "native")
    with pytest.raises(DataError, match="say which column holds what"):
        run("inspect", folder / "rows.csv")
