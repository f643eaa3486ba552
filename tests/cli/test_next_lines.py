"""Every `next:` line runs as it stands, in a folder whose name a shell would split."""

import json
import os
import pty
import re
import select
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked import Ended, run_command

from steersman.errors import UsageError
from steersman.records import Answers, Completion, Demonstration, Message, Prompt, to_dict
from steersman.runs.commands import command_line
from steersman.settings.base import load_settings
from steersman.settings.reward import RewardSettings

TINY = ["--model", "tiny:llama", "--device", "cpu"]


def next_line(text: str) -> list[str]:
    """The words of the only `next:` line, as a shell reads them."""
    (line,) = re.findall(r"^ *next: +(.*)$", text.replace("\r", ""), re.MULTILINE)
    program, *words = shlex.split(line)
    assert program == "steersman"
    return words


def run(words: list[str], folder: Path) -> Ended:
    ended = run_command(words, cwd=folder)
    assert ended.returncode == 0, (words, ended.stderr)
    return ended


def follow(ended: Ended, folder: Path) -> Ended:
    return run(next_line(ended.stdout), folder)


def write(path: Path, rows: list) -> None:
    path.write_text("".join(json.dumps(row if isinstance(row, dict) else to_dict(row)) + "\n" for row in rows))


def prompt(n: int) -> Prompt:
    return Prompt((Message("user", f"What is {n}?"),))


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "a folder's name"
    made.mkdir()
    write(made / "demos.jsonl", [Demonstration(prompt(n), Completion(f"It is {n}.")) for n in range(24)])
    write(made / "classes.jsonl", [{"text": f"A dog {n}.", "label": "kind" if n % 2 else "rude"} for n in range(40)])
    scored = [
        (Completion(f"No {n}.", scores={"s": 0.0}), Completion(f"Yes {n}.", scores={"s": 1.0})) for n in range(24)
    ]
    write(made / "scored.jsonl", [Answers(prompt(n), answers) for n, answers in enumerate(scored)])
    return made


def judge_by_keys(words: list[str], folder: Path) -> str:
    """What `label` printed, in a terminal in which somebody prefers the left answer until nothing is left."""
    hand, line = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "steersman", *words], cwd=folder, stdin=line, stdout=line, stderr=line
    )
    said, begun = b"", time.monotonic()
    while process.poll() is None and time.monotonic() < begun + 120:
        if select.select([hand], [], [], 0.5)[0]:
            said += os.read(hand, 65536)
        elif b"All done" in said:
            os.write(hand, b"\r")
        elif b" of " in said:
            os.write(hand, b"a")
    while select.select([hand], [], [], 0.2)[0]:
        said += os.read(hand, 65536)
    assert process.wait(1) == 0, said[-2000:]
    os.close(hand)
    os.close(line)
    return said.decode(errors="replace")


@pytest.mark.slow
def test_from_sampling_over_judging_to_a_reward_model(folder):
    drawn = run(
        ["sample", "demos.jsonl", *TINY, "--out", "my answers.jsonl", "--limit", "4", "answers=2", "max_new_tokens=8"],
        folder,
    )
    words = next_line(drawn.stdout)
    assert words == ["label", "my answers.jsonl"]
    said = judge_by_keys(words, folder)
    judged = next_line(said)
    assert judged[:3] == ["reward", "--model", "tiny:llama"]
    scored = follow(run([*judged, "--device", "cpu"], folder), folder)
    assert "agree" in scored.stdout or "answers" in scored.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["sft", *TINY, "--data", "demos.jsonl", "--out", "my run", "train.steps=1"],
        ["ilql", *TINY, "--data", "scored.jsonl", "--out", "my run", "train.steps=1", "reward=s"],
        ["classifier", *TINY, "--data", "classes.jsonl", "--positive", "kind", "--out", "my run", "train.steps=1"],
    ],
    ids=lambda words: words[0],
)
def test_what_follows_a_run(words, folder):
    follow(run(words, folder), folder)


def test_a_command_line_is_quoted():
    assert command_line("chat", Path("my run")) == "steersman chat 'my run'"


def test_a_setting_given_in_place_of_its_group_names_one_of_the_group():
    with pytest.raises(UsageError, match=r"'run' is a group of settings, not one value; .* such as run\.out=o/x"):
        load_settings(RewardSettings, None, ["run=o/x", "model.path=m", "data.source=d"])
