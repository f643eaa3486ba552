"""Every command that README and docs show has the options it is shown with."""

import re
from pathlib import Path

import pytest
import typer

from steersman.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def shown(page: Path) -> list[str]:
    """The lines that begin with the command, joined where one goes on, without what follows as a comment."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.split(" #")[0].strip() for line in text.splitlines() if re.match(r" {4,}steersman [a-z]", line)]


def unknown_options(line: str) -> list[str]:
    command, words = typer.main.get_command(app), line.split()[1:]
    while commands := getattr(command, "commands", {}):
        command = commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return [word for word in words if word.startswith("--") and word.split("=")[0] not in {*known, "--help"}]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_options_of_every_command_shown_exist(page):
    assert {line: wrong for line in shown(page) if (wrong := unknown_options(line))} == {}


def test_an_option_that_does_not_exist_is_seen():
    assert unknown_options("steersman sample --model runs/sft --prompts p.jsonl") == ["--prompts"]
    assert sum(len(shown(page)) for page in PAGES) > 20
