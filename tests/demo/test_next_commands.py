"""The commands that the quickstart ends with run as they stand, once `steersman` is on the path."""

import shlex
import shutil
import sys
from pathlib import Path

import pytest
from forked import run_command

from steersman.cli.storyteller import on_the_path

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_next_command_of_the_quickstart_runs(told):
    begun = []
    for line in told["next"]:
        program, *words = shlex.split(line)
        assert program == "steersman"
        begun.append(words[0])
        # `label` waits for keys in a terminal, and says so where there is none.
        ended = run_command(words)
        expected = (2, "needs a terminal") if words[0] == "label" else (0, "")
        assert ended.returncode == expected[0], (line, ended.stderr)
        assert expected[1] in ended.stderr
    assert begun == ["chat", "report", "label", "rounds"]


def test_the_path_is_named_only_where_the_shell_does_not_find_the_command(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    ((line, _),) = on_the_path()
    assert line == f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"'
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert on_the_path() == []


def test_the_tour_begins_by_putting_the_environment_of_make_demo_on_the_path():
    tour = (ROOT / "README.md").read_text().partition("## The tour")[2]
    first = next(line.strip() for line in tour.splitlines() if line.strip())
    assert first.startswith('export PATH="$PWD/.venv/bin:$PATH"')
    makefile = (ROOT / "Makefile").read_text()
    assert "VENV := .venv\n" in makefile
    assert "BIN := $(VENV)/bin\n" in makefile
