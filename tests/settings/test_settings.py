"""Recipes, overrides and what is said when they cannot be meant."""

import importlib
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

import steersman.settings
from steersman.assemble.round_stages import find_stage
from steersman.errors import UsageError
from steersman.rounds.recipe import read_graph
from steersman.settings.base import (
    Settings,
    all_keys,
    json_schema,
    load_settings,
    put,
    read_recipe,
    shipped_recipes,
    to_toml,
)
from steersman.settings.best_of_n import BestOfNSettings
from steersman.settings.classifier import ClassifierSettings
from steersman.settings.dpo import DpoSettings, OnlineDpoSettings
from steersman.settings.evaluate import EvaluateSettings
from steersman.settings.ilql import IlqlSettings
from steersman.settings.ppo import PpoSettings, RlooSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.sft import SftSettings

SCHEMAS = {
    "classifier": ClassifierSettings,
    "detoxify": PpoSettings,
    "ppo-short-answers": PpoSettings,
    "evaluate": EvaluateSettings,
    "sft": SftSettings,
    "reward": RewardSettings,
    "ppo": PpoSettings,
    "harbour": PpoSettings,
    "rloo": RlooSettings,
    "best": BestOfNSettings,
    "dpo": DpoSettings,
    "online": OnlineDpoSettings,
    "ilql": IlqlSettings,
}
NEEDED = ["model.path=m", "data.source=d", "run.out=o"]


def test_overrides_beat_the_recipe_and_defaults_fill_the_rest(tmp_path):
    recipe = tmp_path / "a.toml"
    recipe.write_text('[model]\npath = "m"\n[data]\nsource = "d"\n[run]\nout = "o"\nseed = 3\n[train]\nepochs = 2\n')
    settings = load_settings(SftSettings, recipe, ["train.epochs=5", "model.lora.rank=4", "data.held_out=none"])
    assert (settings.train.epochs, settings.run.seed, settings.data.held_out) == (5, 3, None)
    assert settings.model.lora is not None
    assert settings.model.lora.rank == 4
    assert settings.train.batch_size == 32


def test_the_resolved_recipe_reads_back_the_same():
    settings = load_settings(SftSettings, None, [*NEEDED, "model.lora.rank=4", "optimiser.learning_rate=3e-4"])
    assert SftSettings.model_validate(tomllib.loads(to_toml(settings))) == settings


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("train.epoch=2", "did you mean 'train.epochs'"),
        ("optimiser.learning_rat=2", "did you mean 'optimiser.learning_rate'"),
        ("learning_rate=2", "did you mean 'optimiser.learning_rate'"),
        ("model.lora.rnak=2", "did you mean 'model.lora.rank'"),
        ("run.xyzzy=2", "expected one of out, seed"),
        ("train.epochs=many", "setting 'train.epochs'.*integer.*seen 'many'"),
        ("train.epochs=0", "greater than or equal to 1"),
        ("train.epochs", "expected key=value"),
        ("run.out.x=1", "is a value"),
    ],
)
def test_what_cannot_be_meant_is_answered_with_what_might_have_been(override: str, reason: str):
    with pytest.raises(UsageError, match=reason):
        load_settings(SftSettings, None, [*NEEDED, override])


def test_a_missing_setting_is_named():
    with pytest.raises(UsageError, match=r"'model\.path' is missing|'model' is missing"):
        load_settings(SftSettings, None, ["data.source=d", "run.out=o"])


def test_a_recipe_that_is_not_there_or_not_toml_is_said(tmp_path):
    with pytest.raises(UsageError, match="neither a file nor the name"):
        load_settings(SftSettings, tmp_path / "none.toml", [])
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(UsageError, match="not valid TOML"):
        load_settings(SftSettings, tmp_path / "bad.toml", [])


def test_override_values_are_toml_or_plain_words():
    values: dict = {}
    for word in ("a=1", "b=1.5", "c=true", 'd="x y"', "e=plain words", "f=[1, 2]", "g.h=none", "i=a/b=c"):
        put(values, word)
    assert values == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": "x y",
        "e": "plain words",
        "f": [1, 2],
        "g": {"h": None},
        "i": "a/b=c",
    }


def test_setting_one_member_of_a_group_leaves_the_others_at_the_groups_default():
    settings = load_settings(DpoSettings, None, [*NEEDED, "optimiser.warmup=0"])
    assert (settings.optimiser.learning_rate, settings.optimiser.warmup) == (5e-6, 0)
    words = ["model.path=m", "prompts.source=p", "scorer.path=s", "run.out=o", "optimiser.weight_decay=0.1"]
    optimiser = load_settings(PpoSettings, None, words).optimiser
    assert (optimiser.learning_rate, optimiser.schedule, optimiser.warmup) == (1e-5, "linear", 0)
    assert load_settings(OnlineDpoSettings, None, [*words[:4], "train.batch_size=2"]).train.keep == "last"


def groups_of(kind: type[Settings] = Settings) -> list[type[Settings]]:
    return [each for sub in kind.__subclasses__() for each in (sub, *groups_of(sub))]


def takes_a_float(annotation: object) -> bool:
    return annotation is float or any(takes_a_float(part) for part in get_args(annotation))


def test_every_number_of_every_group_is_finite_unless_it_says_otherwise():
    for module in pkgutil.iter_modules(steersman.settings.__path__):
        importlib.import_module(f"steersman.settings.{module.name}")
    seen: set[str] = set()
    accepted: set[tuple[str, float]] = set()
    for group in groups_of():
        for name in (name for name, field in group.model_fields.items() if takes_a_float(field.annotation)):
            seen.add(f"{group.__name__}.{name}")
            for number in (float("inf"), float("-inf"), float("nan")):
                for value in (number, [number], (0.5, number)):
                    try:
                        group.model_validate({name: value})
                        refused = False
                    except ValidationError as error:
                        refused = name in {item["loc"][0] for item in error.errors() if item["loc"]}
                    if not refused:
                        accepted.add((name, number))
    assert len(seen) > 60
    assert accepted == {("max_grad_norm", float("inf"))}


@pytest.mark.parametrize("value", ["inf", "nan", "1e999", "-inf"])
def test_a_number_that_is_not_finite_is_refused_where_the_user_wrote_it(value: str):
    with pytest.raises(UsageError, match=r"setting 'optimiser\.learning_rate': .*(finite|greater than 0)"):
        load_settings(SftSettings, None, [*NEEDED, f"optimiser.learning_rate={value}"])


def test_gradients_may_go_unclipped():
    unclipped = load_settings(SftSettings, None, [*NEEDED, "optimiser.max_grad_norm=inf"])
    assert SftSettings.model_validate(tomllib.loads(to_toml(unclipped))) == unclipped


def test_every_setting_has_its_place_in_the_schema_for_editors():
    assert "model.lora.rank" in all_keys(SftSettings)
    assert "Rank r of each adapter's two matrices" in json_schema(SftSettings)


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_loads(name: str):
    if "stages" in read_recipe(name):
        assert read_graph(name, [], find_stage).out.parent == Path("runs")
        return
    command = name.split("-")[0]
    assert load_settings(SCHEMAS[command], name, []).run.out


def test_settings_import_without_torch():
    code = "import sys, steersman.settings.sft; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_none_is_a_choice_where_it_is_one():
    from steersman.settings.sft import SftSettings

    given = ["model.path=m", "data.source=d", "run.out=o"]
    assert load_settings(SftSettings, None, [*given, "data.template=none"]).data.template == "none"
    assert load_settings(SftSettings, None, [*given, "data.held_out=none"]).data.held_out is None
    assert load_settings(SftSettings, None, [*given, 'data.held_out="none"']).data.held_out is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("learning_rate=1", "optimiser.learning_rate"),
        ("kl_coef=1", "kl.coefficient"),
        ("cliprange=1", "update.clip"),
        ("output_dir=x", "run.out"),
        ("init_kl_coef=1", "kl.coefficient"),
        ("actor_learning_rate=1", "optimiser.learning_rate"),
        ("n_samples_per_prompt=2", "samples_per_prompt"),
    ],
)
def test_names_of_other_libraries_are_understood_in_did_you_mean(given, meant):
    from steersman.settings.ppo import PpoSettings

    needed = ["model.path=m", "prompts.source=p", "scorer.path=s", "run.out=o"]
    with pytest.raises(UsageError, match=rf"unknown setting '{given.partition('=')[0]}': did you mean '{meant}'\?"):
        load_settings(PpoSettings, None, [*needed, given])


def test_a_logger_is_named_or_several_with_commas():
    from steersman.settings.sft import SftSettings

    given = ["model.path=m", "data.source=d", "run.out=o"]
    assert load_settings(SftSettings, None, [*given, "run.journal=tensorboard"]).run.journal == ["tensorboard"]
    assert load_settings(SftSettings, None, [*given, "run.journal=tensorboard,wandb"]).run.journal == [
        "tensorboard",
        "wandb",
    ]
