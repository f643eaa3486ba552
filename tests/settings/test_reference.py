"""The settings reference: complete, searchable, and led to by names of other libraries."""

import pytest

from steersman.assemble.stages import STAGES
from steersman.errors import UsageError
from steersman.settings.base import all_keys, load_settings
from steersman.settings.foreign import OURS, ours
from steersman.settings.nested import default_of
from steersman.settings.ppo import PpoSettings
from steersman.settings.reference import find_settings, settings_of
from steersman.settings.sft import SftSettings

TRAINING = ("sft", "reward", "classifier", "ppo", "rloo", "best-of-n", "dpo", "ilql", "online-dpo")
SCHEMAS = {name: stage.schema for name, stage in STAGES.items()}


@pytest.mark.parametrize("name", TRAINING)
def test_every_setting_of_a_training_command_is_listed_with_type_default_and_meaning(name):
    schema = SCHEMAS[name]
    found = settings_of(schema)
    assert [one.name for one in found] == all_keys(schema)
    assert not [one.name for one in found if not one.meaning or not one.type or not one.default]
    for one in found:
        if "<name>" not in one.name and " where " not in one.default and one.default not in ("required", "none"):
            assert default_of(schema, one.name) is not None, one.name


def test_types_and_defaults_are_words():
    by_name = {one.name: one for one in settings_of(PpoSettings)}
    assert (by_name["kl.coefficient"].type, by_name["kl.coefficient"].default) == ("number from 0", "0.05")
    assert by_name["value_learning_rate"].type == "number above 0, or none"
    assert by_name["optimiser.learning_rate"].default == "1e-05"
    assert (by_name["model.path"].type, by_name["model.path"].default) == ("text", "required")
    assert by_name["kl.controller"].type == "fixed | adaptive | target"
    assert by_name["optimiser.betas"].default == "[0.9, 0.999]"
    assert by_name["model.quantise"].type == "4bit | 8bit, or none"
    assert by_name["model.lora.rank"].default == "16 where model.lora is given"
    assert by_name["sampling.stop"].type == "list (text)"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("num_ppo_epochs", "update.epochs"),
        ("--init-kl-coef", "kl.coefficient"),
        ("algorithm.kl_ctrl.kl_coef", "kl.coefficient"),
        ("actor_rollout_ref.rollout.n", "samples_per_prompt"),
        ("actor_rollout_ref.actor.optim.lr", "optimiser.learning_rate"),
        ("critic.optim.lr", "value_learning_rate"),
        ("target_kl", "kl.target"),
        ("--algo.kl.init_coef", "kl.coefficient"),
        ("--reward.model_name_or_path", "scorer.path"),
        ("--critic.model_name_or_path", "critic"),
        ("--ds.lora.rank", "model.lora.rank"),
        ("--adam.lr", "optimiser.learning_rate"),
    ],
)
def test_a_name_of_another_library_leads_to_ours(word, meant):
    assert find_settings(PpoSettings, [word])[0].name == meant


def test_every_foreign_name_leads_to_a_setting_that_some_command_has():
    known = {key for name in TRAINING for key in all_keys(SCHEMAS[name])}
    assert {name: keys for name, keys in OURS.items() if not set(keys) <= known} == {}
    assert ours("Kl_Coef", ["other"]) is None


def test_words_are_searched_in_names_then_in_meanings():
    assert all("kl" in one.name for one in find_settings(PpoSettings, ["kl"]))
    assert "advantage.length_adaptive" in [one.name for one in find_settings(PpoSettings, ["vapo", "gae"])]
    assert find_settings(SftSettings, []) == settings_of(SftSettings)
    with pytest.raises(UsageError, match=r"no setting has 'learning_rat_e'.*did you mean .*optimiser.learning_rate"):
        find_settings(SftSettings, ["learning_rat_e"])
    with pytest.raises(UsageError, match="without a word, all settings are listed"):
        find_settings(SftSettings, ["zzzzzz"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("num_ppo_epochs=3", "unknown setting 'num_ppo_epochs': did you mean 'update.epochs'?"),
        (
            "algorithm.kl_ctrl.kl_coef=0.1",
            "unknown setting 'algorithm.kl_ctrl.kl_coef': did you mean 'kl.coefficient'?",
        ),
        ("kl.init_kl_coef=0.1", "unknown setting 'kl.init_kl_coef': did you mean 'kl.coefficient'?"),
        ("rollout.n=4", "unknown setting 'rollout.n': did you mean 'samples_per_prompt'?"),
    ],
)
def test_an_unknown_setting_that_another_library_has_is_answered_with_ours(given, said):
    needed = ["model.path=m", "prompts.source=p", "scorer.path=s", "run.out=o"]
    with pytest.raises(UsageError) as caught:
        load_settings(PpoSettings, None, [*needed, given])
    assert str(caught.value) == said
