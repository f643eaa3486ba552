"""The table of stages against what the commands do: every command is there, and what it says of each is true."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from plainly import write_rows

import steersman
from steersman.assemble.stages import STAGES, Stage, stage_of
from steersman.cli.main import app
from steersman.errors import UsageError
from steersman.records import (
    Answers,
    ClassifiedText,
    Comparison,
    Completion,
    Critique,
    Demonstration,
    Document,
    Label,
    Prompt,
    Ranking,
    Steps,
    to_dict,
)
from steersman.runs.journal import read_rows
from steersman.runs.kinds import RUN_KINDS, WITH_LANGUAGE_MODEL, command_of, title_of
from steersman.runs.model_folder import finished_model_folder
from steersman.settings.advantage import AdvantageEstimator
from steersman.settings.base import all_keys, load_settings
from steersman.settings.ppo import PpoSettings

NO_STAGE = {
    "chat": "talks and keeps nothing",
    "compare": "shows answers side by side; its page is an option",
    "doctor": "looks at the machine",
    "label": "people judge at the keyboard",
    "serve": "a server runs until it is stopped",
    "export": "its options are few, and its result is compared with its source at once",
    "plan": "forecasts",
    "quickstart": "runs stages one after another",
    "report": "makes a page of runs",
    "schema": "prints a JSON schema",
    "worth": "measures a finished reward model for its report",
}


def test_every_command_is_a_stage_or_says_why_not():
    commands = {str(command.name) for command in app.registered_commands}
    commands |= {name for name in STAGES if name.startswith("constitution ")}
    assert commands == set(STAGES) | set(NO_STAGE)
    assert not set(STAGES) & set(NO_STAGE)


def test_the_table_opens_without_torch():
    code = "import sys, steersman.assemble.stages; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_each_runner_takes_the_settings_of_its_stage_and_the_source_is_one_of_them(stage: Stage):
    assert issubclass(stage.schema, get_type_hints(stage.load_runner())["settings"])
    assert stage.source in all_keys(stage.schema)
    assert stage.leaves == ("run" if "run.out" in all_keys(stage.schema) else "file")


def test_each_kind_of_run_is_made_by_the_command_that_is_said_to_make_it():
    assert {kind for stage in STAGES.values() for kind in stage.kinds} == set(RUN_KINDS)
    for kind in RUN_KINDS.values():
        assert kind.name in STAGES[kind.command].kinds
        assert (command_of(kind.name), title_of(kind.name)) == (kind.command, kind.title)
    for stage in STAGES.values():
        assert len({RUN_KINDS[kind].model for kind in stage.kinds}) <= 1, "a stage leaves one kind of model"
    assert title_of("unheard of") == "unheard of"


def test_each_estimator_is_a_kind_of_run_of_ppo():
    from steersman.assemble.ppo.run import _job

    for estimator in get_args(AdvantageEstimator):
        given = [f"advantage.estimator={estimator}", "model.path=m", "prompts.source=p", "scorer.path=s", "run.out=o"]
        assert _job(load_settings(PpoSettings, None, given), quiet=True).kind in STAGES["ppo"].kinds


def test_an_unknown_method_is_told_what_there_is():
    with pytest.raises(UsageError, match="no method 'pppo'; expected one of sft, sample"):
        stage_of("pppo")


def prompt(i: int) -> Prompt:
    return Prompt(text=f"Say {i}")


def completions(i: int) -> tuple[Completion, Completion]:
    one, other = (Completion(f"It is {i} {k}.", scores={"score": float(k)}) for k in range(2))
    return one, other


RECORDS: dict[type, Any] = {
    Document: lambda i: Document(f"It is text {i}."),
    Prompt: prompt,
    Demonstration: lambda i: Demonstration(prompt(i), completions(i)[i % 2]),
    Answers: lambda i: Answers(prompt(i), completions(i)),
    Comparison: lambda i: Comparison(prompt(i), *completions(i), 1.0, annotator="a"),
    Ranking: lambda i: Ranking(prompt(i), completions(i), (1, 2)),
    Label: lambda i: Label(prompt(i), completions(i)[0], desirable=bool(i % 2)),
    Steps: lambda i: Steps(prompt(i), ("One.", "Two."), (True, False)),
    Critique: lambda i: Critique(prompt(i), completions(i)[0], "true", "It is not.", completions(i)[1]),
    ClassifiedText: lambda i: ClassifiedText(f"It is {i}.", "toxic" if i % 2 else "not toxic"),
}
FEW_STEPS = ["train.steps=1", "train.batch_size=4", "train.kernels=default", "data.held_out=none"]
FEW_ITERATIONS = ["iterations=1", "prompts_per_iteration=2", "sampling.max_new_tokens=4", "compute.kernels=default"]
ON_PROMPTS = ["scorer.path={reward}", "prompts.held_out=none"]
SMALL = {
    "ppo": [*FEW_ITERATIONS, *ON_PROMPTS],
    "rloo": [*FEW_ITERATIONS, *ON_PROMPTS],
    "online-dpo": [*ON_PROMPTS, *FEW_STEPS[:3], "sampling.max_new_tokens=4"],
    "best-of-n": ["scorer.path={reward}", "n=2", "sampling.max_new_tokens=4", *FEW_STEPS[:3]],
    "evaluate": ["models.one={model}", "baseline=one", "drawing.answers=1", "drawing.max_new_tokens=4"],
    "sample": ["answers=1", "max_new_tokens=4"],
    "constitution red-team": [
        *("sampling.max_new_tokens=16", 'sampling.stop=["a", "e", "o", "s"]', "ask=turn", "run.threads=1", "count=1"),
        *("candidates=64", "most_alike=1"),
    ],
    "constitution revise": ["sampling.max_new_tokens=4", "run.threads=1"],
    "score": ["scorer.path={reward}"],
    "simulate": ["people={reward}"],
    "gate": ["faulty=keep"],
    "judge": ["judge.model=harbour:base", "judge.mode=rate"],
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_each_stage_reads_and_leaves_what_the_table_says(stage: Stage, tiny, tmp_path):
    """One small step of each, on records of just the kinds that it is said to read."""
    (tmp_path / "reward.py").write_text("def count(answer):\n    return float(len(answer))\n")
    place = {"reward": f"{tmp_path / 'reward.py'}:count", "model": str(tiny("llama"))}
    rows = [to_dict(RECORDS[kind](i)) for i in range(6) for kind in stage.reads if kind in RECORDS]
    data = write_rows(tmp_path / "data.jsonl", rows)
    out = tmp_path / ("out" if stage.leaves == "run" else "out.jsonl")
    wanted = [more.format(**place) for more in SMALL.get(stage.command, FEW_STEPS)]
    wanted += [f"{stage.source}={data}"]
    if "model.path" in all_keys(stage.schema):
        wanted.append(f"model.path={place['model']}")
    elif "model" in all_keys(stage.schema):
        wanted.append(f"model={place['model']}")
    on = ["run.device=cpu", "run.threads=1", f"run.out={out}"] if stage.leaves == "run" else [f"out={out}"]
    stage.run(load_settings(stage.schema, None, [*wanted, *on]), quiet=True)
    if stage.leaves == "file":
        assert out.is_file()
        return
    assert json.loads((out / "stamp.json").read_text())["kind"] in stage.kinds
    notices = [str(row["notice"]) for row in read_rows(out / "journal.jsonl")[0] if "notice" in row]
    assert not [words for words in notices if "left out: a record of the kind" in words]
    assert _model_in(out) == stage.model


def _model_in(run: Path) -> str | None:
    """What the run's model opens as."""
    from steersman.loading.saved import open_model
    from steersman.models.files import describe

    folder = finished_model_folder(run) if (run / "model").exists() else None
    if folder is None:
        return None
    kind = describe(folder).kind
    if kind == "causal":
        assert open_model(str(run), device="cpu").backbone.readout is not None
    return {"causal": "language model", "reward": "reward model", "classifier": "classifier"}[kind]


def test_the_python_api_has_every_stage_that_makes_a_language_or_reward_model():
    calls = {name.replace("_", "-") for name in steersman.__all__} | {"reward"}
    assert {stage.command for stage in STAGES.values() if stage.model in ("language model", "reward model")} <= calls
    assert all(kind in RUN_KINDS for kind in WITH_LANGUAGE_MODEL)
