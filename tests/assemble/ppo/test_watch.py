"""The watch in whole runs of PPO on tiny models: each action from end to end, what it leaves on disk, and settings that
cannot be."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import steersman
from steersman.errors import UsageError
from steersman.models.loading import load_causal
from steersman.models.reward_model import Scale, new_reward_model, save_reward_model
from steersman.models.tiny import write_tiny_model
from steersman.reward.conservative import BEFORE, ConservativeScorer
from steersman.reward.model import open_reward_scorer
from steersman.runs.journal import read_rows
from steersman.settings.base import load_settings
from steersman.settings.ppo import PpoSettings
from steersman.settings.watch import LimitSettings
from steersman.text.tokeniser import load_tokeniser

PROMPTS = [f"Tell me {i}." for i in range(24)]


@pytest.fixture(scope="module")
def judges(tmp_path_factory) -> dict[str, str]:
    """Reward models that know nothing and agree on nothing."""
    root = tmp_path_factory.mktemp("judges")
    found: dict[str, str] = {}
    for name, seed, heads in (("one", 5, 1), ("other", 6, 1), ("several", 7, 3)):
        base = write_tiny_model(root / f"base-{name}", "llama", seed=seed)
        model = new_reward_model(load_causal(base, dtype=torch.float32, device="cpu"), heads=heads)
        model.scale = Scale(mean=0.0, std=1.0)
        found[name] = str(save_reward_model(model, load_tokeniser(base), root / name))
    return found


@pytest.fixture
def improve(tiny, judges, tmp_path):
    def run(judge: str = "one", *, out: str = "run", **more):
        usual = {
            "iterations": 6,
            "prompts_per_iteration": 24,
            "sampling": {"max_new_tokens": 8},
            "optimiser": {"learning_rate": 1e-2},
            "update": {"epochs": 2, "minibatches": 2},
            "kl": {"coefficient": 0.0},
            "compute": {"kernels": "default"},
            "run": {"device": "cpu", "threads": 1},
            "prompts.held_out": 0.2,
        }
        return steersman.ppo(
            model=str(tiny("llama")),
            prompts=PROMPTS,
            reward=judges.get(judge, judge),
            out=str(tmp_path / out),
            quiet=True,
            **{**usual, **more},
        )

    return run


def rows(out: Path, key: str) -> list[dict]:
    return [row for row in read_rows(out / "journal.jsonl")[0] if key in row]


def findings(out: Path) -> list[dict]:
    path = out / "watch.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def kl_above(limit: float, action: str, **more) -> dict:
    """A watch that only the KL can set off: a model this small sets off others by chance."""
    limits = dict.fromkeys(LimitSettings.model_fields) | {"outliers": 1.0}
    return {"action": action, "patience": 1, "limits": {**limits, "kl": limit}, **more}


@pytest.mark.slow
def test_by_default_the_watch_looks_and_warns_and_changes_nothing(improve, tmp_path):
    improve(watch=kl_above(0.5, "warn"))
    improve(out="unwatched", watch={"action": "off"})
    watched, alone = tmp_path / "run", tmp_path / "unwatched"
    seen = rows(watched, "watch kl")
    assert len(seen) == 6
    assert {"watch length", "watch entropy", "watch novelty", "watch takeover", "watch outliers"} <= seen[0].keys()
    assert "watch gap" not in seen[0]
    assert not rows(alone, "watch kl")
    assert [one["detector"] for one in findings(watched)] == ["kl"]
    found = findings(watched)[0]
    assert found["value"] > 0.5
    assert {"prompt", "answer", "score", "held_out", "number"} == found["evidence"][0].keys()
    said = [row["notice"] for row in rows(watched, "notice") if "watch, kl" in row["notice"]]
    assert len(said) == 1
    assert found["verdict"] in said[0]
    theirs = load_file(alone / "model" / "model.safetensors")
    ours = load_file(watched / "model" / "model.safetensors")
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


@pytest.mark.slow
def test_raise_kl_begins_somewhere_and_goes_on_while_it_lasts(improve, tmp_path):
    improve(watch=kl_above(0.5, "raise-kl", raise_from=0.1, raise_by=3.0))
    prices = [row["KL coefficient"] for row in rows(tmp_path / "run", "score")]
    step = findings(tmp_path / "run")[0]["step"]
    assert prices[: step + 1] == [0.0] * step + [0.1]
    assert prices[step + 1] == pytest.approx(0.3)


@pytest.mark.slow
def test_conservative_pays_what_the_members_agree_on_from_then_on(improve, tmp_path):
    improve("several", watch=kl_above(0.5, "conservative", pessimism=2.0), iterations=4)
    step = findings(tmp_path / "run")[0]["step"]
    seen = rows(tmp_path / "run", "score")
    before, after = seen[:step], seen[step:]
    assert after
    for row in before:
        assert row["raw score"] == pytest.approx(row["score part mean"])
    for row in after:
        assert row["raw score"] == pytest.approx(row["score part mean"] - 2.0 * row["score part std"], abs=1e-5)
        # the watch goes on looking at what the ensemble itself says
        assert row[f"score part {BEFORE}"] == pytest.approx(row["score part mean"])


@pytest.mark.slow
def test_stop_ends_the_run_with_what_it_has(improve, tmp_path):
    result = improve(watch=kl_above(0.5, "stop"))
    step = findings(tmp_path / "run")[0]["step"]
    assert (result.ending, result.step, result.best_step) == ("stopped by the watch", step, step)
    assert step < 6
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    again = improve(watch=kl_above(0.5, "stop"))
    assert again.ending == "already finished"


@pytest.mark.slow
def test_restore_ends_with_the_weights_that_the_held_out_scorer_liked_best(improve, judges, tmp_path):
    watch = kl_above(3.0, "restore", held_out_scorer={"path": judges["other"]}, held_out_every=1)
    result = improve(watch=watch, keep="last")
    out = tmp_path / "run"
    gains = [row["watch held-out gain"] for row in rows(out, "watch held-out gain")]
    best = max(range(len(gains)), key=lambda i: gains[i])
    assert (result.ending, result.best_step) == ("stopped by the watch", best)
    kept = load_file(out / "checkpoints" / f"step-{best:06d}" / "weights.safetensors")
    ours = load_file(out / "model" / "model.safetensors")
    shared = [name for name in ours if f"backbone.hf.{name}" in kept]
    assert shared
    assert all(torch.equal(ours[name], kept[f"backbone.hf.{name}"]) for name in shared)
    assert any("the best by what the watch believes, are restored" in row["notice"] for row in rows(out, "notice"))
    # What the result says was measured of the restored weights, not of those that were caught.
    last = rows(out, "held-out score")[-1]
    assert best == result.step or result.held_out["KL to reference"] != last["held-out KL to reference"]


@pytest.mark.slow
def test_a_run_that_is_stopped_and_goes_on_finds_the_same(improve, judges, tmp_path):
    watch = kl_above(3.0, "restore", held_out_scorer={"path": judges["other"]}, held_out_every=2)
    run = {"device": "cpu", "threads": 1, "checkpoint_every": 1}
    improve(out="whole", watch=watch, run=run)
    improve(watch=watch, run=run)
    # as after a kill: the end is forgotten, and so are the last checkpoints
    out, whole = tmp_path / "run", tmp_path / "whole"
    (out / "ending.json").unlink()
    for path in sorted((out / "checkpoints").glob("step-*"))[1:]:
        path.joinpath("weights.safetensors").write_bytes(b"damaged")
    improve(watch=watch, run=run)
    assert findings(out) == findings(whole)
    ours, theirs = (load_file(place / "model" / "model.safetensors") for place in (out, whole))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def vowels(answer: str) -> float:
    return 0.2 * sum(answer.count(letter) for letter in "aeiou")


@pytest.mark.parametrize(
    ("watch", "reason"),
    [
        ({"action": "conservative"}, "believes an ensemble less, and the scorer 'vowels' is none"),
        ({"actions": {"kl": "conservative"}}, "believes an ensemble less"),
        ({"action": "restore"}, r"there is none; give watch\.held_out_scorer\.path"),
        ({"latent": "on"}, r"watch\.latent=on looks at a reward model's features, and the scorer 'vowels' has none"),
        ({"actions": {"gap": "stop"}}, r"watch\.actions\.gap needs watch\.held_out_scorer"),
        ({"actions": {"disagreement": "stop"}}, "looks at an ensemble's members"),
        ({"latent": "off", "actions": {"outliers": "stop"}}, r"watch\.latent=off; leave one out"),
    ],
)
def test_what_could_never_be_done_is_refused(watch, reason, improve):
    with pytest.raises(UsageError, match=reason):
        improve(vowels, watch=watch)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ("watch.action=off", "watch.held_out_scorer.path=s"),
            r"disables the watch, but watch\.held_out_scorer is given",
        ),
        (("watch.action=off", "watch.actions.kl=stop"), r"disables the watch, but watch\.actions is given"),
        (("watch.limits.kl=none", "watch.actions.kl=stop"), r"watch\.limits\.kl is none, so it never triggers"),
        (("watch.action=restore", "keep=best"), "choose one"),
        (("watch.action=panic",), r"setting 'watch\.action'"),
        (("watch.actions.klt=stop",), "'gap', 'fall'"),
        (("watch.limits.gapp=1",), r"did you mean 'watch\.limits\.gap'"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(words, reason):
    needed = ["model.path=m", "prompts.source=p", "scorer.path=s", "run.out=o"]
    with pytest.raises(UsageError, match=reason):
        load_settings(PpoSettings, None, [*needed, *words])


def test_a_conservative_score_needs_the_parts_of_an_ensemble(judges):
    from steersman.records import Prompt

    items = [(Prompt(text="Hello"), "there"), (Prompt(text="Why"), "not")]
    several = open_reward_scorer(judges["several"])
    plain = several.score(items)
    for doubt, pessimism in (("min", 0.0), ("pessimistic", 1.5)):
        for one, before in zip(
            ConservativeScorer(several, doubt=doubt, pessimism=pessimism).score(items), plain, strict=True
        ):
            parts = before.parts
            expected = parts["min"] if doubt == "min" else parts["mean"] - 1.5 * parts["std"]
            assert one.value == expected
            assert one.parts[BEFORE] == before.value
    with pytest.raises(UsageError, match="gave the parts"):
        ConservativeScorer(open_reward_scorer(judges["one"]), doubt="min", pessimism=0.0).score(items)


def test_features_are_what_the_score_is_made_from(judges):
    from steersman.records import Prompt

    scorer = open_reward_scorer(judges["several"])
    items = [(Prompt(text=f"Hello {i}"), "there " * (i + 1)) for i in range(5)]
    scores, features = scorer.score_and_features(items)
    assert [one.value for one in scores] == [one.value for one in scorer.score(items)]
    raw = torch.from_numpy(features).float() @ scorer.model.head.weight.detach().T
    assert [one.parts["raw"] for one in scores] == pytest.approx(raw.mean(1).tolist(), abs=1e-5)


def test_an_ensemble_shows_the_features_of_its_first_member(judges):
    from steersman.records import Prompt
    from steersman.reward.ensemble import EnsembleScorer
    from steersman.reward.featured import keep_features
    from steersman.reward.function import FunctionScorer

    one, other = open_reward_scorer(judges["one"]), open_reward_scorer(judges["other"])
    items = [(Prompt(text="Hello"), "there"), (Prompt(text="Why"), "not at all")]
    plain = EnsembleScorer([one, other], belief="mean").score(items)
    scorer, keeper = keep_features(EnsembleScorer([one, other], belief="mean"))
    assert keeper is not None
    assert [score.value for score in scorer.score(items)] == [score.value for score in plain]
    assert keeper.features is not None
    assert (keeper.features == one.score_and_features(items)[1]).all()
    assert keep_features(FunctionScorer(vowels))[1] is None


def test_features_of_several_processes_come_together_in_the_order_of_the_answers():
    from steersman.assemble.ppo.watch import _features_of
    from steersman.parallel.world import World
    from steersman.reward.featured import FeatureKeeper

    everything = np.arange(10.0).reshape(5, 2)
    parts = [everything[0::2], everything[1::2]]

    class Pair(World):
        """Two processes, of which the other has the second part."""

        def exchange(self, value):
            return parts

    mine, world = object.__new__(FeatureKeeper), object.__new__(Pair)
    mine.features = parts[0]
    assert (_features_of(mine, world)() == everything).all()
    assert _features_of(None, world)() is None
