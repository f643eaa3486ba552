"""Which settings go with which advantage estimator, and what its paper has where nothing was said."""

import tomllib
from pathlib import Path

import pytest

from steersman.errors import UsageError
from steersman.settings.advantage import AdvantageSettings
from steersman.settings.base import load_settings, to_toml
from steersman.settings.ppo import PpoSettings, RlooSettings

NEEDED = ["model.path=m", "prompts.source=p", "scorer.path=s", "run.out=o"]


def settings(*more: str, schema: type[PpoSettings] = PpoSettings) -> PpoSettings:
    return load_settings(schema, None, [*NEEDED, *more])


@pytest.mark.parametrize(
    ("estimator", "answers", "in_reward", "in_loss", "mean_over", "whiten"),
    [
        ("gae", 1, 0.05, 0.0, "tokens", True),
        ("rloo", 4, 0.05, 0.0, "constant", False),
        ("grpo", 4, 0.0, 0.04, "answers", False),
        ("dr-grpo", 4, 0.0, 0.0, "constant", False),
        ("reinforce++", 1, 0.05, 0.0, "tokens", True),
    ],
)
def test_an_estimator_brings_its_papers_defaults(estimator, answers, in_reward, in_loss, mean_over, whiten):
    found = settings(f"advantage.estimator={estimator}")
    assert (found.samples_per_prompt, found.kl.coefficient, found.kl.loss_coefficient) == (answers, in_reward, in_loss)
    assert (found.update.mean_over, found.advantage.whiten) == (mean_over, whiten)
    assert estimator != "grpo" or found.kl.loss_estimator == "k3"
    # the resolved recipe says it all, and reads back the same
    assert PpoSettings.model_validate(tomllib.loads(to_toml(found))) == found


def test_what_leaves_the_device_may_be_said_by_commas():
    assert settings().compute.offload == []
    assert settings("compute.offload=none").compute.offload == []
    assert settings("compute.offload=reference, optimiser").compute.offload == ["reference", "optimiser"]
    found = settings('compute.offload=["critic"]', "layout=separate", "compute.precision=bf16")
    assert (found.compute.offload, found.compute.precision) == (["critic"], "bf16")
    assert PpoSettings.model_validate(tomllib.loads(to_toml(found))) == found


def test_what_is_said_beats_the_papers_defaults():
    found = settings(
        "advantage.estimator=grpo", "kl.loss_coefficient=0.1", "update.mean_over=tokens", "update.epochs=7"
    )
    assert (found.kl.coefficient, found.kl.loss_coefficient, found.kl.loss_estimator) == (0.0, 0.1, "k3")
    assert (found.update.mean_over, found.update.epochs) == ("tokens", 7)
    white = settings("advantage.estimator=grpo", "advantage.whiten=true", "samples_per_prompt=16")
    assert white.advantage.whiten
    assert white.samples_per_prompt == 16
    # a KL in the reward is not paid again in the loss
    there = settings("advantage.estimator=grpo", "kl.coefficient=0.2")
    assert (there.kl.coefficient, there.kl.loss_coefficient) == (0.2, 0.0)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("advantage=rloo",), r"write advantage\.estimator=rloo"),
        (("advantage.estimator=rlo",), "'gae', 'rloo', 'grpo', 'dr-grpo', 'reinforce\\+\\+' or extension:NAME"),
        (("advantage.estimater=rloo",), "did you mean 'advantage.estimator'"),
        (
            ("advantage.estimator=rloo", "samples_per_prompt=1"),
            "compares the answers to one prompt.*expected 2 or more",
        ),
        (
            ("advantage.estimator=rloo", "update.value_coefficient=0.5"),
            "value_coefficient=0.5 has no effect.*no critic",
        ),
        (("advantage.estimator=grpo", "update.value_clip=none"), "value_clip=None has no effect"),
        (("advantage.estimator=grpo", "value_learning_rate=1e-3"), "value_learning_rate=0.001 has no effect"),
        (("advantage.estimator=reinforce++", "advantage.gae_lambda=0.9"), "gae_lambda=0.9 has no effect"),
        (("advantage.estimator=rloo", "critic=runs/reward"), "critic=runs/reward has no effect"),
        (("advantage.estimator=rloo", "layout=separate"), "has no critic; choose layout=shared"),
        (
            ("advantage.estimator=rloo", "layout=adapters-own-critic", "model.lora.rank=4"),
            "has no critic; choose layout=adapters",
        ),
        (
            ("advantage.estimator=rloo", "kl.estimator=full"),
            "kl.estimator=full has no effect.*a whole answer one reward",
        ),
        (("advantage.estimator=dr-grpo", "advantage.gamma=0.9"), "gamma=0.9 has no effect"),
        (("compute.offload=refrence",), "'reference', 'scorer', 'critic' or 'optimiser' .seen 'refrence'"),
        (
            ("compute.offload=scorer,reference", "layout=adapters", "model.lora.rank=4"),
            "names the reference, but with layout=adapters that is the policy's own base.*take reference out",
        ),
        (
            ("compute.offload=optimiser", "optimiser.states=8bit"),
            "keeps them in a quarter of the memory on the GPU; leave",
        ),
        (("compute.offload=critic",), "names the critic, but with layout=shared the critic is not a separate model"),
        (("advantage.estimator=grpo", "advantage.whiten_rewards=true"), "whiten_rewards=True has no effect"),
        (("score.overlong_tokens=0",), "greater than or equal to 1"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words_without_the_whole_recipe(words, reason):
    with pytest.raises(UsageError, match=reason) as seen:
        settings(*words)
    assert len(str(seen.value)) < 250


def test_the_parts_of_dapo_in_the_docs_are_settings(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "rloo.md").read_text()
    (tmp_path / "dapo.toml").write_text(page.split("```toml")[1].split("```")[0])
    found = load_settings(PpoSettings, tmp_path / "dapo.toml", NEEDED)
    assert found.advantage.leave_out_equal
    assert (found.update.clip_high, found.update.mean_over, found.score.overlong_tokens) == (0.28, "tokens", 16)
    assert (found.kl.coefficient, found.kl.loss_coefficient, found.advantage.whiten) == (0.0, 0.0, False)


def test_what_only_token_by_token_methods_use_goes_with_reinforce():
    found = settings("advantage.estimator=reinforce++", "advantage.gamma=0.9", "kl.estimator=full")
    assert found.advantage.gamma == 0.9


def test_steersman_rloo_is_rloo_unless_it_is_told_another_and_never_gae():
    assert settings(schema=RlooSettings).advantage.estimator == "rloo"
    assert settings(schema=RlooSettings).samples_per_prompt == 4
    assert settings("advantage.whiten=true", schema=RlooSettings).advantage == AdvantageSettings(
        estimator="rloo", whiten=True
    )
    assert settings("advantage.estimator=grpo", schema=RlooSettings).kl.loss_coefficient == 0.04
    with pytest.raises(UsageError, match="gae needs a critic, but RLOO has none"):
        settings("advantage.estimator=gae", schema=RlooSettings)
    # the resolved recipe is the same run to both commands
    assert to_toml(settings(schema=RlooSettings)) == to_toml(settings("advantage.estimator=rloo"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("update.policy_loss=cispo", {"clip": 1.0, "clip_high": 4.0}),
        ("update.ratio=sequence_mean", {"clip": 3e-4, "clip_high": 4e-4}),
        ("update.importance=token_mask", {"importance_floor": 0.5, "importance_cap": 5.0}),
        ("update.importance=sequence_mask", {"importance_floor": 0.0, "importance_cap": 3.0}),
        ("update.importance=sequence_truncate", {"importance_floor": 0.0, "importance_cap": 2.0}),
    ],
)
def test_a_loss_brings_its_papers_bounds(words, expected):
    found = settings(words)
    assert {name: getattr(found.update, name) for name in expected} == expected
    assert PpoSettings.model_validate(tomllib.loads(to_toml(found))) == found
    assert settings(words, "update.clip=0.1", "update.importance_cap=4").update.importance_cap == 4
    assert settings(words, "update.clip=0.1").update.clip == 0.1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("update.policy_loss=cispo", "update.dual_clip=3"), "dual_clip=3.0 has no effect"),
        (("scorer.path=environment",), "there is none; set environment.path"),
        (
            ("environment.path=g.py:Game", "score.overlong_tokens=3"),
            "overlong_tokens=3 has no effect here: an environment's episodes",
        ),
        (("environment.path=g.py:Game", "score.preference_over=1"), "preference_over=1 has no effect"),
        (("advantage.redraws=3",), "leave_out_equal leaves out; set that too"),
        (("advantage.leave_out_equal=true",), "samples_per_prompt=1: all would be left out"),
        (
            ("advantage.estimator=reinforce++", "advantage.length_adaptive=0.05"),
            "length_adaptive=0.05 has no effect here.*no critic",
        ),
        (("kl.loss_correction=ratio",), "kl.loss_coefficient is 0"),
        (("update.importance_floor=0.5",), "importance_floor=0.5 has no effect here: importance=token_truncate"),
    ],
)
def test_a_setting_that_a_loss_does_not_use_is_refused(words, reason):
    with pytest.raises(UsageError, match=reason):
        settings(*words)
