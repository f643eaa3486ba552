"""The whole of constitutional AI as one command, killed at random: the same records and the same weights."""

import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from killing import Forked, content_hash, wait
from plainly import demonstrations, write_rows

PRINCIPLES = """
[critic]
form = "turns"
[judge]
comparison = "{conversation} A {first} B {second} {question} {nonce}"
[[principles]]
name = "polite"
critique_request = "Is it rude?"
revision_request = "Say it well."
comparison_question = "Which is politer?"
[[principles]]
name = "brief"
critique_request = "Is it long?"
revision_request = "Say it shortly."
comparison_question = "Which one is shorter?"
"""
# The tiny model never ends a text by itself: it stops at common letters.
ENDS = 'sampling.stop = ["a", "e", "o", "i", "s", "t"]\nsampling.max_new_tokens = 24\n'
RECIPE = """
out = "{out}"
seed = 3
[stages.red-team]
command = "constitution red-team"
model = "{model}"
seeds.source = "{prompts}"
count = 12
candidates = 12
most_alike = 1.0
ask = "turn"
{ends}
run.device = "cpu"
[stages.revise]
command = "constitution revise"
model = "{model}"
constitution = "{principles}"
prompts.source = "stage:red-team"
rounds = 2
prompts_at_once = 3
{ends}
run.device = "cpu"
[stages.sft]
command = "sft"
model.path = "{model}"
data.source = "stage:revise"
data.held_out = "none"
mix.helpful.source = "{helpful}"
mix.helpful.share = 0.5
{train}
[stages.answers]
command = "sample"
model = "stage:sft"
prompts.source = "{prompts}"
answers = 2
max_new_tokens = 6
prompts_at_once = 4
device = "cpu"
[stages.labels]
command = "judge"
data.source = "stage:answers"
judge.model = "{model}"
judge.constitution = "{principles}"
records_at_once = 4
run.device = "cpu"
[stages.dpo]
command = "dpo"
model.path = "stage:sft"
data.source = "stage:labels/labels.jsonl"
data.held_out = "none"
{train}
"""
TRAIN = """
train.steps = 6
train.batch_size = 4
train.kernels = "default"
run.checkpoint_every = 2
run.threads = 1
run.device = "cpu"
"""


@pytest.mark.slow
@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.soak)])
def test_the_pipeline_survives_kills_at_random_moments(kills: int, tiny_llama, tmp_path):
    (tmp_path / "principles.toml").write_text(PRINCIPLES)
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"Tell me of {i}."} for i in range(12)])
    helpful = write_rows(tmp_path / "helpful.jsonl", demonstrations(12, 1))

    def command(out: Path) -> Sequence[str]:
        recipe = out.with_suffix(".toml")
        values = {"model": tiny_llama, "prompts": prompts, "principles": tmp_path / "principles.toml", "ends": ENDS}
        text = RECIPE
        for name, value in {**values, "out": out, "helpful": helpful, "train": TRAIN}.items():
            text = text.replace(f"{{{name}}}", str(value))
        recipe.write_text(text)
        return ["steersman", "constitution", "run", str(recipe)]

    log, out = tmp_path / "log.txt", tmp_path / "run"  # one place for both: records name the models that made them
    began = time.monotonic()
    assert wait(Forked(command(out), log)) == 0, log.read_text()[-3000:]
    took = time.monotonic() - began
    whole = results(out)
    shutil.rmtree(out)
    draw = random.Random(kills)
    landed = 0
    for _ in range(kills):
        running = Forked(command(out), log)
        time.sleep(draw.uniform(0.05, 0.3) * took)
        if running.code() is None:
            os.kill(running.pid, signal.SIGKILL)
        landed += wait(running) == -signal.SIGKILL
    assert wait(Forked(command(out), log)) == 0, log.read_text()[-3000:]
    assert landed >= 2
    assert results(out) == whole
    assert len([name for name in whole if name.endswith("model.safetensors")]) == 2
    assert any("labels.jsonl" in name for name in whole)


FOLDERS, FILES = ("critiques", "candidates"), ("prompts.jsonl", "labels.jsonl")


def results(out: Path) -> dict[str, str]:
    """Every file of records and every weight, by its place: stages are named by what they follow from."""
    found: dict[str, str] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.match("model/model.safetensors"):
            found[name] = content_hash(path)
        elif path.suffix == ".jsonl" and (path.parent.name in FOLDERS or path.name in FILES or path.parent == out):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
