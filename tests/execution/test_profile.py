"""`run.profile`: what a run leaves of where its time went."""

import gzip
import json

import pytest

from steersman.assemble.ppo.run import run_ppo
from steersman.assemble.sft import run_sft
from steersman.errors import UsageError
from steersman.settings.base import check
from steersman.settings.ppo import PpoSettings
from steersman.settings.sft import SftSettings


def phases_of(folder) -> tuple[str, dict[str, float]]:
    """The first line of the table, and calls a step by phase."""
    lines = (folder / "profile" / "phases.txt").read_text().splitlines()
    rows = [line.split() for line in lines[3:9] if len(line.split()) == 4]
    return lines[0], {row[0]: float(row[1]) for row in rows}


def names_in_trace(folder) -> set[str]:
    with gzip.open(folder / "profile" / "trace.json.gz") as file:
        return {event.get("name", "") for event in json.load(file)["traceEvents"]}


def sft(folder, **run):
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"a cat sat on mat {i}"}) + "\n" for i in range(8)))
    values = {
        "model": {"path": "tiny:llama"},
        "data": {"source": str(rows), "held_out": 0.0},
        "train": {"batch_size": 2, "epochs": 1},
        "run": {"out": str(folder / "run"), "threads": 1, **run},
    }
    return run_sft(check(SftSettings, values), quiet=True)


@pytest.mark.slow
def test_a_run_that_is_looked_at_leaves_a_trace_and_a_table(tmp_path):
    sft(tmp_path, profile=2)
    head, phases = phases_of(tmp_path / "run")
    assert head.startswith("2 steps"), "the first of the four steps warms up and is left out"
    assert phases == {"forward": 1.0, "backward": 1.0, "optimiser": 1.0}
    assert {"phase: forward", "aten::mm"} <= names_in_trace(tmp_path / "run")


@pytest.mark.slow
def test_a_run_of_fewer_steps_leaves_what_was_seen(tmp_path):
    sft(tmp_path, profile=50)
    assert phases_of(tmp_path / "run")[0].startswith("3 steps")


def test_a_run_that_is_not_looked_at_leaves_none_and_learns_the_same(tmp_path):
    (tmp_path / "seen").mkdir()
    (tmp_path / "unseen").mkdir()
    sft(tmp_path / "seen", profile=2)
    sft(tmp_path / "unseen")
    assert not (tmp_path / "unseen" / "run" / "profile").exists()
    models = [(tmp_path / name / "run" / "model" / "model.safetensors").read_bytes() for name in ("seen", "unseen")]
    assert models[0] == models[1]


@pytest.mark.slow
def test_the_stages_of_ppo_are_phases(tmp_path):
    values = {
        "model": {"path": "tiny:llama"},
        "prompts": {"source": str(tmp_path / "prompts.jsonl"), "held_out": 0.0},
        "scorer": {"path": f"{tmp_path / 'score.py'}:score"},
        "sampling": {"max_new_tokens": 4},
        "iterations": 2,
        "prompts_per_iteration": 4,
        "update": {"epochs": 1, "minibatches": 2},
        "run": {"out": str(tmp_path / "run"), "threads": 1, "profile": 1},
    }
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"a cat {i}"}) + "\n" for i in range(4)))
    (tmp_path / "score.py").write_text("def score(answer):\n    return float(len(answer))\n")
    run_ppo(check(PpoSettings, values), quiet=True)
    _, phases = phases_of(tmp_path / "run")
    assert {name: phases[name] for name in ("collect", "score", "update", "forward", "backward")} == {
        "collect": 1.0,
        "score": 1.0,
        "update": 1.0,
        "forward": 2.0,
        "backward": 2.0,
    }


def test_no_step_is_nothing_to_look_at(tmp_path):
    with pytest.raises(UsageError, match=r"run\.profile"):
        sft(tmp_path, profile=0)
