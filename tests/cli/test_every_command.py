"""What the README says of every command: an example in its help, a recipe, options, and JSON."""

import json
import re
from typing import Any

import pytest
import typer
from forked import run_command
from typer.testing import CliRunner

from steersman.cli.main import app
from steersman.errors import UsageError


def commands(group: Any = None, before: tuple[str, ...] = ()):
    group = typer.main.get_command(app) if group is None else group
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name), command


EVERY = dict(commands())


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_it_has_an_example_a_recipe_and_json(words):
    command = EVERY[words]
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options
    assert "--recipe" in options or any(parameter.name in ("words", "recipe") for parameter in command.params)
    assert re.search(rf"steersman {' '.join(words)}\b", command.epilog or ""), command.epilog


def test_a_recipe_holds_options_and_arguments_and_the_command_line_wins(tmp_path):
    recipe = tmp_path / "show.toml"
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "Hi", "completion": "Hello"}\n')
    recipe.write_text(f'sources = ["{rows}"]\njson = true\n')
    shown = CliRunner().invoke(app, ["data", "inspect", "--recipe", str(recipe)])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.output)
    recipe.write_text('method = "ppo"\n')
    named = CliRunner().invoke(app, ["schema", "--recipe", str(recipe)])
    given = CliRunner().invoke(app, ["schema", "sft", "--recipe", str(recipe)])
    assert (json.loads(named.output)["title"], json.loads(given.output)["title"]) == ("PpoSettings", "SftSettings")


def test_an_option_that_a_recipe_misspells_is_named(tmp_path):
    recipe = tmp_path / "chat.toml"
    recipe.write_text("temprature = 0.5\n")
    result = CliRunner().invoke(app, ["chat", "tiny:llama", "--recipe", str(recipe)])
    assert isinstance(result.exception, UsageError)
    assert "`steersman chat` has no option 'temprature'; did you mean 'temperature'?" in str(result.exception).replace(
        "root", "steersman"
    )


@pytest.mark.slow
def test_a_chat_from_a_recipe(tmp_path):
    (tmp_path / "chat.toml").write_text('model = "tiny:llama"\nprompt = "Hi"\nmax-new-tokens = 4\njson = true\n')
    ended = run_command(["chat", "--recipe", "chat.toml", "--device", "cpu"], cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["prompt"] == "Hi"
