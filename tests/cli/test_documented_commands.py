"""Every command that README and docs show has the options it is shown with; those of two pages are executed here,
the others in test_pages_run.py."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from commandline import call
from plainly import write_rows
from shown import ROOT, shown

from steersman.assemble.stages import STAGES
from steersman.cli.command import gather
from steersman.cli.main import app
from steersman.errors import UsageError

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def unknown_options(line: str) -> list[str]:
    command, words = typer.main.get_command(app), line.split()[1:]
    while words and (commands := getattr(command, "commands", {})) and not words[0].startswith("-"):
        command = commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return [word for word in words if word.startswith("--") and word.split("=")[0] not in {*known, "--help"}]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_options_of_every_command_shown_exist(page):
    assert {line: wrong for line in shown(page) if (wrong := unknown_options(line))} == {}


def test_an_option_that_does_not_exist_is_seen():
    assert unknown_options("steersman sample --model runs/sft --prompts p.jsonl") == ["--prompts"]
    assert sum(len(shown(page)) for page in PAGES) > 20


def refused(line: str) -> str:
    """Why the command line would refuse this line, before anything runs; empty if it would not."""
    command, words, names = typer.main.get_command(app), shlex.split(line.split(" > ")[0])[1:], []
    while words and (commands := getattr(command, "commands", {})) and not words[0].startswith("-"):
        names.append(words.pop(0))
        command = commands[names[-1]]
    try:
        context = command.make_context(" ".join(names), words)
    except Exception as error:  # typer's own errors, whose classes are not public
        return f"{type(error).__name__}: {getattr(error, 'message', None) or error}"
    given = [*(context.params.get("words") or [])]
    if given and given[0].endswith((".toml", ".yaml")):  # a file of the reader's own
        del given[0]
    stage = STAGES.get(" ".join(names))
    if stage is None or context.params.get("help_settings"):
        return ""
    try:
        gather(stage.schema, given, {})
    except UsageError as error:
        # Settings that options give are missing here; an unknown setting or a wrong value is a mistake of the page.
        wrong = [text for text in str(error).splitlines() if "is missing" not in text]
        return "; ".join(wrong)
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_command_line_takes_every_command_shown(page):
    whole = [line for line in shown(page) if not re.search(r"…|\.\.\.|\||<|\bFILE\b|\bFOLDER\b", line)]
    assert {line: why for line in whole if (why := refused(line))} == {}


def test_what_would_be_refused_is_seen():
    assert "unknown setting 'kl.coeficient'" in refused("steersman ppo ppo-harbour kl.coeficient=1")
    assert refused("steersman chat") != ""
    assert refused("steersman runs show --bogus runs/sft") != ""
    assert refused("steersman chat runs/sft --temperature 0.5") == ""


SMALLER = {"harbour:demonstrations": "harbour:demonstrations?count=24"}
"""Sources that stand for those of the page, for haste."""
MORE = {"sft": ["train.steps=2", "train.batch_size=4", "train.kernels=default", "run.threads=1", "run.device=cpu"]}
"""Settings that are added to a command, for haste."""


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    def pairs(first: int, last: int) -> list[dict]:
        rows = range(first, last)
        return [{"prompt": f"Say {i}.", "chosen": f"It is {i}.", "rejected": f"No {i}."} for i in rows]

    write_rows(tmp_path / "pairs.jsonl", pairs(0, 20))
    write_rows(tmp_path / "train.jsonl", pairs(0, 10))
    write_rows(tmp_path / "test.jsonl", pairs(10, 20))
    table = "".join(f"Say {i}.,It is {i}.,No {i}.\n" for i in range(20))
    (tmp_path / "table.csv").write_text("question,better,worse\n" + table)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", ["data.md", "runs.md"])
def test_the_commands_of_the_page_run(page, place, capfd):
    lines = [line for line in shown(ROOT / "docs" / page) if "…" not in line]
    assert len(lines) >= 4
    for line in lines:
        words = shlex.split(line.split(" > ")[0].replace("pairs.jsonl.gz", "pairs.jsonl"))[1:]
        words = [SMALLER.get(word, word) for word in words] + MORE.get(words[0], [])
        assert call(words) == 0, (line, capfd.readouterr().err)
