"""`evaluate` on a run's checkpoints: which models it means, the curves by hand, the files, and what cannot be meant."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from commandline import call
from plainly import write_rows

import steersman
from steersman.assemble.evaluate import run_evaluate
from steersman.errors import CheckpointError, ModelError, UsageError
from steersman.evaluate.checkpoints import with_checkpoints
from steersman.maths.statistics import best_of_n_estimate, best_of_n_kl
from steersman.records import Comparison, Completion, Prompt, to_dict
from steersman.settings.base import load_settings
from steersman.settings.evaluate import EvaluateSettings

pytestmark = pytest.mark.slow

REWARD = """def vowels(answer):
    return 0.2 * sum(answer.count(letter) for letter in "aeiou")

def brief(answer):
    return -len(answer)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny) -> Path:
    """A run of PPO with five checkpoints, and files."""
    root = tmp_path_factory.mktemp("checkpoints")
    (root / "reward.py").write_text(REWARD)
    write_rows(root / "prompts.jsonl", [{"prompt": f"Tell me {i}."} for i in range(8)])
    steersman.ppo(
        model=tiny("llama"),
        prompts=str(root / "prompts.jsonl"),
        reward=f"{root / 'reward.py'}:vowels",
        out=root / "ppo",
        iterations=5,
        prompts_per_iteration=8,
        sampling={"max_new_tokens": 6},
        optimiser={"learning_rate": 3e-3},
        compute={"kernels": "default"},
        run={"device": "cpu", "threads": 1, "checkpoint_every": 1, "keep_every": 1},
        **{"prompts.held_out": "none"},
        quiet=True,
    )
    return root


@pytest.fixture
def settings(world, tmp_path):
    def make(*more: str, run: Path | None = None) -> EvaluateSettings:
        usual = [f'checkpoints=["{run or world / "ppo"}"]', f"prompts.source={world / 'prompts.jsonl'}"]
        usual += [f"scorers.brief.path={world / 'reward.py'}:brief", "drawing.answers=5", "drawing.max_new_tokens=6"]
        usual += ["resamples=100", f"run.out={tmp_path / 'out'}", "run.device=cpu", "run.threads=1"]
        return load_settings(EvaluateSettings, None, [*usual, *more])

    return make


def test_the_curves_are_what_the_answers_say(settings, tmp_path):
    found = run_evaluate(settings(), quiet=True)
    curves = found.overoptimisation
    assert curves is not None
    assert (found.models, found.baseline) == (("start", *(f"step-00000{i}" for i in range(1, 6))), "start")
    assert [(c.measure, c.walk) for c in curves.curves] == [
        ("proxy", "PPO"),
        ("proxy", "best of n"),
        ("brief", "PPO"),
        ("brief", "best of n"),
    ]
    grids = {
        name: json.loads((tmp_path / "out" / "models" / f"{name}.json").read_text())["grid"] for name in found.models
    }
    brief = {name: -np.array([[len(a["text"]) for a in row] for row in grid]) for name, grid in grids.items()}
    last = curves.curves[2].points[-1]
    expected = (brief["step-000005"].mean() - brief["start"].mean()) / brief["start"].std()
    assert last.gain.estimate == pytest.approx(expected)
    assert last.kl == pytest.approx(np.mean([a["kl"] for row in grids["step-000005"] for a in row]))
    assert last.distance == pytest.approx(last.kl**0.5)
    assert curves.curves[0].fit is not None
    vowels = [[0.2 * sum(a["text"].count(c) for c in "aeiou") for a in row] for row in grids["start"]]
    best = curves.curves[3].points
    assert [point.name for point in best] == [f"best of {n}" for n in (2, 3, 4, 5)]
    chosen = [best_of_n_estimate(v, b, 3) - b.mean() for v, b in zip(vowels, brief["start"], strict=True)]
    assert best[1].gain.estimate == pytest.approx(np.mean(chosen) / brief["start"].std())
    assert best[1].kl == pytest.approx(best_of_n_kl(3))
    kept = json.loads((tmp_path / "out" / "overoptimisation.json").read_text())
    assert kept == curves.as_dict() == json.loads((tmp_path / "out" / "results.json").read_text())["overoptimisation"]
    ElementTree.parse(tmp_path / "out" / "overoptimisation.svg")


def test_people_may_judge_checkpoints_too(settings, world, tmp_path):
    prompts = [Prompt(text=f"Tell me {i}.") for i in range(6)]
    said = [
        Comparison(p, Completion("x", "step-000005"), Completion("y", "start"), float(i < 4))
        for i, p in enumerate(prompts)
    ]
    judged = write_rows(tmp_path / "judged.jsonl", [to_dict(one) for one in said])
    curves = run_evaluate(settings(f"judged.source={judged}"), quiet=True).overoptimisation
    assert curves is not None
    ((name, distance, rate),) = curves.wins
    assert (name, rate.estimate) == ("step-000005", pytest.approx(4 / 6))
    assert distance == pytest.approx(curves.curves[0].points[-1].distance)
    assert "win rate by people against the start" in (tmp_path / "out" / "overoptimisation.svg").read_text()


def test_what_was_optimised_for_comes_first_under_its_own_name_if_it_has_one(settings, world):
    assert list(with_checkpoints(settings()).scorers) == ["proxy", "brief"]
    named = with_checkpoints(settings(f"scorers.mine.path={world / 'reward.py'}:vowels"))
    assert list(named.scorers) == ["mine", "brief"]
    with pytest.raises(UsageError, match=r"scorers\.proxy is not what the run was optimised for"):
        with_checkpoints(settings(f"scorers.proxy.path={world / 'reward.py'}:brief"))


def test_several_runs_of_one_start_are_several_curves(settings, world, tmp_path):
    shutil.copytree(world / "ppo", tmp_path / "again")
    many = with_checkpoints(settings(f'checkpoints=["{world / "ppo"}", "{tmp_path / "again"}"]'))
    assert len(many.models) == 11
    assert {"start", "ppo-step-000003", "again-step-000003"} <= set(many.models)


def test_a_damaged_checkpoint_is_named(settings, world, tmp_path):
    shutil.copytree(world / "ppo", tmp_path / "hurt")
    weights = tmp_path / "hurt" / "checkpoints" / "step-000003" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-20] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"step-000003 is damaged: .*Leave it out"):
        run_evaluate(settings(run=tmp_path / "hurt"), quiet=True)


def test_what_cannot_be_meant_says_why(settings, world, tmp_path):
    with pytest.raises(UsageError, match="nothing to evaluate: give models"):
        settings("checkpoints=[]")
    with pytest.raises(UsageError, match=r"there is no run .*recipe\.toml cannot be read"):
        with_checkpoints(settings(run=tmp_path / "nowhere"))
    shutil.copytree(world / "ppo", tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "checkpoints")
    with pytest.raises(UsageError, match=r"there are none.*run\.keep_every=5"):
        with_checkpoints(settings(run=tmp_path / "bare"))
    recipe = tmp_path / "bare" / "recipe.toml"
    before = recipe.read_text()
    recipe.write_text("= no")
    with pytest.raises(UsageError, match="is not valid TOML"):
        with_checkpoints(settings(run=tmp_path / "bare"))
    recipe.write_text("[data]\n")
    with pytest.raises(ModelError, match="names no model that it began as"):
        with_checkpoints(settings(run=tmp_path / "bare"))
    recipe.write_text(before.replace("llama", "other"))
    with pytest.raises(UsageError, match="began as different models"):
        with_checkpoints(settings(f'checkpoints=["{world / "ppo"}", "{tmp_path / "bare"}"]'))
    with pytest.raises(UsageError, match="measured from where the run began"):
        with_checkpoints(settings("reference=harbour:base"))
    with pytest.raises(UsageError, match=r"models\.start has the name"):
        with_checkpoints(settings("models.start=x"))


def test_the_command_says_what_the_curves_say(world, tmp_path, capsys):
    words = ["evaluate", "--checkpoints", world / "ppo", "--prompts", world / "prompts.jsonl", "--answers", "2"]
    words += ["--scorer", f"brief={world / 'reward.py'}:brief", "--out", tmp_path / "out", "--device", "cpu"]
    words += ["drawing.max_new_tokens=6", "resamples=100", "run.threads=1"]
    assert call([str(word) for word in words]) == 0
    told = capsys.readouterr().out
    assert "step-000005" in told
    assert "brief, PPO: gains" in told
    assert "overoptimisation.svg" in told
