"""A command that is refused before it has learned anything leaves no run behind, whatever it was given."""

import json
import shutil

import pytest
from forked import run_command

pytestmark = pytest.mark.slow

ROWS = {
    "demonstrations": {"prompt": "Say {}.", "completion": "It is {}."},
    "pairs": {"prompt": "Say {}.", "chosen": "It is {}.", "rejected": "No {}."},
    "labelled": {"text": "Say {}.", "label": "kind"},
    "prompts": {"prompt": "Say {}."},
}
SCORER, FEW = ("--scorer", "f.py:f"), ("sampling.max_new_tokens=4",)
COMMANDS = {
    "sft": ("--data", "demonstrations.jsonl"),
    "reward": ("--data", "pairs.jsonl"),
    "reward of several": ("--data", "pairs.jsonl", "members=2"),
    "reward averaged": ("--data", "pairs.jsonl", "members=2", "members_as=average"),
    "classifier": ("--data", "labelled.jsonl", "--positive", "kind"),
    "dpo": ("--data", "pairs.jsonl"),
    "ilql": ("--data", "pairs.jsonl"),
    "online-dpo": ("--prompts", "prompts.jsonl", *SCORER, *FEW),
    "best-of-n": ("--prompts", "prompts.jsonl", *SCORER, *FEW),
    "rloo": ("--prompts", "prompts.jsonl", *SCORER, *FEW),
    "ppo": ("--prompts", "prompts.jsonl", *SCORER, *FEW),
}
ON_ROWS = [command for command, words in COMMANDS.items() if "--data" in words]
ON_PROMPTS = [command for command in COMMANDS if command not in ON_ROWS]
# What is wrong -> the word that is replaced, by what, and the commands that take it.
FAULTS = {
    "no file": ("*.jsonl", "gone.jsonl", list(COMMANDS)),
    "no named source": ("*.jsonl", "harbour:gone", list(COMMANDS)),
    "no held-out file": ("+", "{}.held_out=gone.jsonl", list(COMMANDS)),
    "a setting that cannot be": ("+", "{}.limit=0", list(COMMANDS)),
    "no model": ("tiny:llama", "./gone", list(COMMANDS)),
    "no scorer's file": ("f.py:f", "gone.py:f", ON_PROMPTS),
    "no scorer's function": ("f.py:f", "f.py:gone", ON_PROMPTS),
    "no scorer's model": ("f.py:f", "./gone", ON_PROMPTS),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_command_that_fails_at_its_start_leaves_no_run(fault, tmp_path):
    old, new, commands = FAULTS[fault]
    for name, row in ROWS.items():
        lines = [json.dumps(row).replace("{}", str(i)) for i in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "f.py").write_text("def f(answer):\n    return 1.0\n")
    broken: list[str] = []
    for command in commands:
        words = [command.split()[0], "--model", "tiny:llama", *COMMANDS[command], "--device", "cpu"]
        words = [new if word == old or (old == "*.jsonl" and word.endswith(".jsonl")) else word for word in words]
        if old == "+":
            words.append(new.format("data" if command in ON_ROWS else "prompts"))
        ended = run_command([*words, "--out", "runs/one", "--json"], cwd=tmp_path)
        left = [str(path.relative_to(tmp_path)) for path in (tmp_path / "runs").rglob("*")]
        if ended.returncode not in (2, 3, 4) or left:
            broken.append(f"{command}: code {ended.returncode}, {left}; {ended.stderr[-300:]}")
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    assert not broken, "\n\n".join(broken)


def test_a_folder_that_was_there_and_rows_that_were_set_aside_stay(tmp_path):
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "Hi", "completion": ""}\n' * 20)
    words = ["sft", "--model", "tiny:llama", "--device", "cpu", "--out", "runs/one", "--data"]
    assert run_command([*words, "gone.jsonl"], cwd=tmp_path).returncode == 3
    assert not list((tmp_path / "runs" / "one").iterdir())
    assert run_command([*words, "rows.jsonl"], cwd=tmp_path).returncode == 3
    assert (tmp_path / "runs" / "one" / "quarantine.jsonl").read_text()


def test_samples_that_were_never_drawn_leave_no_file(tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Hi"}\n')
    words = ["sample", "prompts.jsonl", "--model", "./gone", "--out", "answers.jsonl"]
    assert run_command(words, cwd=tmp_path).returncode == 4
    assert not (tmp_path / "answers.jsonl").exists()
