"""`--help-settings` and `steersman recipe`: what is printed, and that nothing runs."""

import json
import tomllib

import pytest
from typer.testing import CliRunner

from steersman.assemble.round_stages import find_stage
from steersman.cli.main import app
from steersman.errors import UsageError
from steersman.rounds.recipe import read_graph
from steersman.settings.base import load_settings, shipped_recipes

TRAINING = ("sft", "reward", "classifier", "ppo", "rloo", "best-of-n", "dpo", "ilql", "online-dpo", "evaluate")


def run(*words: str):
    result = CliRunner().invoke(app, [*words], env={"COLUMNS": "100"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("command", TRAINING)
def test_every_training_command_lists_its_settings(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = run(command, "--help-settings").output
    assert f"settings of `steersman {command}`, given as NAME=VALUE:" in said
    assert "\nrun.out   text   required\n    " in said
    assert not [*tmp_path.iterdir()]


def test_a_word_narrows_the_list_and_another_librarys_name_is_answered():
    said = run("ppo", "--help-settings", "num_ppo_epochs").output
    assert said.startswith("1 setting of `steersman ppo` for num_ppo_epochs")
    assert "update.epochs   whole number from 1   default 4" in said
    assert "in TRL, OpenRLHF or verl: max_epochs, num_iterations, num_ppo_epochs, ppo_epochs" in said
    assert run("ppo", "ppo-harbour", "--help-settings", "num_ppo_epochs").output == said
    found = json.loads(run("ppo", "--help-settings", "kl", "--json").output)
    assert {"kl.coefficient", "kl.target"} <= {one["name"] for one in found}
    assert max(map(len, said.splitlines())) <= 100
    with pytest.raises(UsageError, match="no setting has 'coeficent'"):
        run("ppo", "--help-settings", "coeficent")


def test_every_shipped_recipe_is_listed_with_a_command_that_takes_it():
    found = json.loads(run("recipe", "list", "--json").output)
    assert [one["name"] for one in found] == shipped_recipes()
    for one in found:
        assert len(one["meaning"]) > 20
        assert f"steersman {one['command']} {one['name']}" in run("recipe", "list").output
        if one["command"] == "rounds run":
            read_graph(one["name"], [], find_stage)
        else:
            schema = find_stage(one["command"]).schema
            load_settings(
                schema,
                one["name"],
                [
                    f"{key}=x"
                    for key in ("data.source", "model.path", "run.out")
                    if key.split(".")[0] in schema.model_fields
                ],
            )


def test_a_shipped_recipe_is_printed_as_it_is():
    text = run("recipe", "show", "ppo-harbour").output
    assert text.startswith("# PPO on Harbour")
    assert tomllib.loads(text)["kl"]["coefficient"] == 0.1
    assert json.loads(run("recipe", "show", "ppo-harbour", "--json").output)["text"] == text
    with pytest.raises(UsageError, match="did you mean 'ppo-harbour'"):
        run("recipe", "show", "ppo-harbor")
