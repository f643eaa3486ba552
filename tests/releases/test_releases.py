"""What earlier releases wrote: runs with their stamps, journals, checkpoints and models, kept as they were. They open,
say the same numbers, and go on. A new release gets a folder of its own; the old ones are never changed."""

import json
import shutil
from pathlib import Path

import pytest
from commandline import call

from steersman.assemble.stages import stage_of
from steersman.export.compare import probe_ids, source_log_probs
from steersman.loading.saved import open_any_model
from steersman.records import Prompt
from steersman.reward.model import open_reward_scorer
from steersman.reward.rows import items_for
from steersman.runs.checkpoints import CheckpointStore
from steersman.runs.folder import RunFolder
from steersman.runs.journal import malformed_lines, read_rows
from steersman.runs.listing import show_run
from steersman.runs.stamp import read_stamp
from steersman.settings.base import load_settings

RELEASES = sorted(path for path in Path(__file__).parent.iterdir() if path.is_dir() and path.name[0].isdigit())
RUNS = ("sft", "reward", "ppo")
HASTE = {
    "sft": ["train.steps=3", "--extend"],
    "reward": ["train.steps=3", "--extend"],
    "ppo": ["iterations=3", "--extend"],
}


def test_there_is_a_release():
    assert [path.name for path in RELEASES][:1] == ["0.3"]


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def release(request, tmp_path, monkeypatch) -> Path:
    """A copy of what a release wrote, as the folder that one works in."""
    place = shutil.copytree(request.param, tmp_path / "release")
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_read(release, name):
    run = RunFolder(release / name)
    stamp = read_stamp(run.stamp_path)
    assert (stamp["kind"], stamp["seeds"]) == (name, {"run": 0})
    summary, _ = show_run(run.path)
    assert (summary.state, summary.step, list(summary.problems)) == ("finished", 2, [])
    rows, _ = read_rows(run.journal_path)
    assert max(row["step"] for row in rows) == 2
    assert malformed_lines(run.journal_path) == []
    settings = load_settings(stage_of(name).schema, run.recipe_path, [])
    assert settings.model_dump()["run"]["out"] == name
    found = CheckpointStore(run.checkpoints).latest()
    assert found is not None
    assert found.step == 2


def test_models_say_what_they_said(release):
    expected = json.loads((release / "expected.json").read_text())
    for name, sums in expected["log_probs"].items():
        model = open_any_model(name, device="cpu")
        rows = probe_ids(model.tokeniser, model.context_length)
        assert [float(one.sum()) for one in source_log_probs(model, rows)] == pytest.approx(sums, abs=0.01)
    items = items_for([(Prompt(text="Say 1."), "It is 1."), (Prompt(text="Say 1."), "No.")], continues_prompts=False)
    scores = [one.value for one in open_reward_scorer("reward/model").score(items)]
    assert scores == pytest.approx(expected["scores"], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_run_goes_on_from_its_checkpoint(release, name, capfd):
    assert call([name, f"{name}/recipe.toml", *HASTE[name]]) == 0, capfd.readouterr().err
    rows, _ = read_rows(RunFolder(release / name).journal_path)
    assert max(row["step"] for row in rows) == 3
    assert len([row for row in rows if row["step"] == 1 and "gradient norm" in row]) == 1
