"""A run that began before a default changed, or before a setting existed, goes on as it began."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

from steersman.errors import UsageError
from steersman.execution.recorded import as_recorded, notes_of_defaults
from steersman.execution.same_run import refuse_another_recipe
from steersman.runs.folder import RunFolder
from steersman.settings.base import Settings, load_settings, to_toml
from steersman.settings.ppo import PpoSettings


class Shape(Settings):
    clip: float = 1.0
    centre: bool = True


class Method(Settings):
    """`shape.centre` came later and then became the rule; `horizon` was 100, and is None by default now."""

    earlier_defaults: ClassVar[Mapping[str, Any]] = {"shape.centre": False, "horizon": 100.0, "keep": 3}
    shape: Shape = Shape()
    horizon: float | None = Field(default=None, gt=0)
    keep: int = 5
    rate: float = 0.5


def begun(tmp_path: Path, recipe: str) -> RunFolder:
    """The folder of a run that has taken a step."""
    (tmp_path / "checkpoints" / "step-000001").mkdir(parents=True, exist_ok=True)
    (tmp_path / "recipe.toml").write_text(recipe)
    return RunFolder(tmp_path)


BEFORE = "horizon = 100.0\nkeep = 3\nrate = 0.5\n[shape]\nclip = 1.0\n"


def test_a_run_keeps_the_defaults_that_it_began_with(tmp_path):
    folder = begun(tmp_path, BEFORE)
    found = as_recorded(Method(), folder)
    assert (found.shape.centre, found.horizon, found.keep) == (False, 100.0, 3)
    refuse_another_recipe(folder, found)
    assert notes_of_defaults(found) == [
        "shape.centre=False is kept from this run's beginning; the default is now True",
        "horizon=100.0 is kept from this run's beginning; the default is now None",
        "keep=3 is kept from this run's beginning; the default is now 5",
    ]
    # the recipe is then written in today's words, and the next start finds the same
    again = begun(tmp_path, to_toml(found))
    assert as_recorded(Method(), again) == found


def test_a_run_that_begins_now_keeps_the_defaults_of_now(tmp_path):
    folder = begun(tmp_path, to_toml(Method()))
    found = as_recorded(Method(), folder)
    assert found == Method()
    assert notes_of_defaults(found) == []
    assert as_recorded(Method(), RunFolder(tmp_path / "not there")) == Method()


def test_what_was_chosen_is_not_changed_in_silence(tmp_path):
    folder = begun(tmp_path, BEFORE.replace("keep = 3", "keep = 7"))
    found = as_recorded(Method(), folder)
    assert found.keep == 5
    with pytest.raises(UsageError, match=r"keep \(was 7, now 5\)"):
        refuse_another_recipe(folder, found)
    other = as_recorded(Method(keep=4), begun(tmp_path, BEFORE))
    assert other.keep == 4
    with pytest.raises(UsageError, match=r"keep \(was 3, now 4\)"):
        refuse_another_recipe(folder, other)


def test_a_setting_newer_than_the_run_does_not_keep_it_from_going_on(tmp_path):
    """A recipe of an earlier release does not have the settings that this one added."""
    usual = ["model.path=m", "prompts.source=p", f"run.out={tmp_path}", "scorer.sum.a.path=https://8.8.8.8/"]
    settings = load_settings(PpoSettings, None, usual)
    recipe = to_toml(settings)
    for line in ("whiten_rewards = false\n", 'belief = "mean"\n', "samples_kept = 8\n"):
        assert line in recipe
        recipe = recipe.replace(line, "")
    folder = begun(tmp_path, recipe)
    refuse_another_recipe(folder, settings)
    with pytest.raises(UsageError, match=r"samples_kept \(was 8, now 9\)"):
        refuse_another_recipe(folder, load_settings(PpoSettings, None, [*usual, "samples_kept=9"]))
    # a group that was not there at all is no default of its members
    lora = load_settings(PpoSettings, None, [*usual, "model.lora.rank=16", "layout=adapters"])
    with pytest.raises(UsageError, match=r"model\.lora\.rank \(was None, now 16\)"):
        refuse_another_recipe(folder, lora)


def test_a_damaged_recipe_is_left_to_the_message_that_refuses_it(tmp_path):
    folder = begun(tmp_path, "keep = = 3")
    assert as_recorded(Method(), folder) == Method()
    with pytest.raises(UsageError, match="not valid TOML"):
        refuse_another_recipe(folder, Method())
