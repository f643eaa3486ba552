"""Through the command line: a run that learned nothing gives its folder back, and a finished one can be made longer."""

import json
from pathlib import Path

import pytest
from commandline import call
from safetensors.torch import load_file

from steersman.execution.same_run import discard, learned_nothing
from steersman.runs.folder import RunFolder
from steersman.runs.journal import read_rows

pytestmark = pytest.mark.slow


@pytest.fixture
def sft(tiny, tmp_path, monkeypatch):
    """Call `steersman sft` on rows.jsonl; returns its exit code."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path)

    def run(out: str, *settings: str) -> int:
        words = ["sft", "--model", str(tiny("llama")), "--data", "rows.jsonl", "--out", out, "--device", "cpu"]
        return call([*words, "train.batch_size=4", "run.threads=1", "train.kernels=default", *settings])

    return run


def write_rows(place: Path, *, answer: str = "It is {}.") -> None:
    rows = [json.dumps({"prompt": f"Say {i}.", "completion": answer.format(i)}) for i in range(20)]
    (place / "rows.jsonl").write_text("\n".join(rows) + "\n")


def notices(out: str) -> list[str]:
    return [row["notice"] for row in read_rows(Path(out) / "journal.jsonl")[0] if "notice" in row]


def test_a_run_that_failed_before_its_first_step_gives_its_folder_back(sft, tmp_path, capfd):
    write_rows(tmp_path, answer="")  # malformed rows are set aside, so that the folder stays
    assert sft("run", "train.steps=2") == 3
    assert (tmp_path / "run" / "stamp.json").exists()
    write_rows(tmp_path)
    assert sft("run", "train.steps=3", "optimiser.learning_rate=1e-3") == 0, capfd.readouterr().err
    assert (
        notices("run")[0] == "the run that was begun in this folder had learned nothing, and this one takes its place"
    )
    assert not [words for words in notices("run") if "starting over" in words]
    assert json.loads((tmp_path / "run" / "ending.json").read_text())["step"] == 3


def test_a_run_that_learned_something_keeps_its_folder(sft, tmp_path, capfd):
    assert sft("run", "train.steps=2") == 0
    assert sft("run", "train.steps=2", "optimiser.learning_rate=1e-3") == 2
    assert "holds a run with other settings: optimiser.learning_rate" in capfd.readouterr().err


def test_a_finished_run_is_made_longer_if_asked_and_is_then_the_longer_run(sft, tmp_path, capfd):
    steady = ("optimiser.schedule=constant", "optimiser.warmup=0", "train.keep=last", "optimiser.learning_rate=1e-3")
    assert sft("run", *steady, "train.steps=3") == 0
    assert sft("run", *steady, "train.steps=6") == 2
    assert "train.steps (was 3, now 6). To go on with it to a greater length, give --extend" in capfd.readouterr().err
    assert sft("run", *steady, "train.steps=2", "--extend") == 2
    assert "--extend makes a run longer, and here it would be shorter" in capfd.readouterr().err
    assert sft("run", *steady, "train.steps=6", "--extend") == 0
    said = capfd.readouterr().err
    assert "the run is extended: train.steps was 3 and is now 6" in said
    assert "resumed at step 3" in said
    assert sft("run", *steady, "train.steps=6") == 0
    assert "had finished before at step 6" in capfd.readouterr().out
    assert sft("whole", *steady, "train.steps=6") == 0
    found, wanted = (load_file(tmp_path / out / "model" / "model.safetensors") for out in ("run", "whole"))
    assert all(bool((found[name] == tensor).all()) for name, tensor in wanted.items())


def test_ppo_iterations_can_be_made_more(tiny, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reward.py").write_text("def length(answer):\n    return float(len(answer))\n")
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"Say {i}."}) + "\n" for i in range(20)))
    words = ["ppo", "--model", str(tiny("llama")), "--scorer", "reward.py:length", "--prompts", "prompts.jsonl"]
    words += ["--out", "run", "--device", "cpu", "prompts_per_iteration=4", "sampling.max_new_tokens=4"]
    assert call([*words, "iterations=1"]) == 0
    assert call([*words, "iterations=2"]) == 2
    assert call([*words, "iterations=2", "--extend"]) == 0
    assert "resumed at iteration 1" in capfd.readouterr().err
    assert [row["step"] for row in read_rows(tmp_path / "run" / "journal.jsonl")[0] if "score" in row] == [1, 2]


def test_what_was_paid_for_or_is_not_a_runs_stays(tmp_path):
    folder = RunFolder.create_or_open(tmp_path / "run")
    folder.recipe_path.write_text("")
    folder.stamp_path.write_text("{}")
    (tmp_path / "run" / "scorer").mkdir()
    for name in ("replies-0.jsonl", "scales.json"):
        (tmp_path / "run" / "scorer" / name).write_text("{}")
    (tmp_path / "run" / "tokens").mkdir()
    assert learned_nothing(folder)
    discard(folder)
    assert sorted(path.name for path in (tmp_path / "run" / "scorer").iterdir()) == ["replies-0.jsonl"]
    assert not (tmp_path / "run" / "tokens").exists()
    assert not folder.stamp_path.exists()
    (tmp_path / "run" / "answers.jsonl").write_text("{}")
    assert not learned_nothing(folder)
