"""Two processes train the reward model that one trains: losses, held-out numbers, scale, report and saved scores
agree."""

import json
import random
from pathlib import Path

import pytest
import torch
from forked import run_command

from steersman.models.tiny import write_tiny_model
from steersman.records import Message, Prompt
from steersman.reward.model import open_reward_scorer

WORDS = ["dog", "game", "heart", "mind", "friend", "story", "answer"]


def write_judgements(path: Path, count: int, seed: int) -> Path:
    draw = random.Random(seed)
    rows: list[dict] = []
    for i in range(count):
        prompt = {"messages": [{"role": "user", "content": f"Tell me {seed}.{i}."}]}
        texts = [{"text": " ".join(draw.choices(WORDS, k=draw.randint(1, 9)))} for _ in range(3)]
        if i % 4 == 0:
            rows.append({"kind": "ranking", "prompt": prompt, "completions": texts, "ranks": [1, 2, 2]})
        elif i % 4 == 1:
            rows.append({"kind": "label", "prompt": prompt, "completion": texts[0], "desirable": draw.random() < 0.5})
        else:
            first, second, _ = texts
            rows.append({"kind": "comparison", "prompt": prompt, "first": first, "second": second, "preference": i % 2})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def train(processes: int, out: Path, *settings: str) -> None:
    done = run_command(["reward", *settings, f"run.out={out}"], processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]


def numbers(out: Path) -> list[dict[str, float]]:
    """The journal but what depends on time and on how rows were dealt."""
    other = ("time", "seconds", "tokens per second", "padding share")
    rows = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    return [{k: float(v) for k, v in row.items() if k not in other} for row in rows if "notice" not in row]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [(), ("model.lora.rank=2",)])
def test_two_processes_train_and_save_the_reward_model_of_one(lora, tmp_path):
    model = write_tiny_model(tmp_path / "model", "llama", layers=2)
    source, held = (write_judgements(tmp_path / f"{n}.jsonl", n, n) for n in (24, 12))
    settings = (
        *(f"model.path={model}", f"data.source={source}", f"data.held_out={held}", "run.device=cpu", "run.threads=1"),
        *("train.steps=4", "train.batch_size=6", "train.evaluate_every=2", "train.kernels=default", "train.keep=last"),
        *("optimiser.learning_rate=1e-3", "train.tokens_per_micro_batch=128", "centring=0.1", *lora),
    )
    one, two = tmp_path / "one", tmp_path / "two"
    train(1, one, *settings)
    train(2, two, *settings)
    for ours, theirs in zip(numbers(two), numbers(one), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-4, abs=2e-5)
    scales = [json.loads((out / "model" / "steersman.json").read_text()) for out in (two, one)]
    assert {name: value for name, value in scales[0].items() if name not in ("mean", "std")} == {
        name: value for name, value in scales[1].items() if name not in ("mean", "std")
    }
    assert [scales[0][name] for name in ("mean", "std")] == pytest.approx(
        [scales[1]["mean"], scales[1]["std"]], abs=1e-3
    )
    reports = [json.loads((out / "quality.json").read_text()) for out in (two, one)]
    assert reports[0]["accuracy"] == pytest.approx(reports[1]["accuracy"])
    assert reports[0]["calibration"]["whole"]["loss"] == pytest.approx(
        reports[1]["calibration"]["whole"]["loss"], rel=1e-4
    )
    items = [(Prompt(messages=(Message("user", "Tell me."),)), f"a {word}") for word in WORDS]
    found = [
        torch.tensor([s.parts["raw"] for s in open_reward_scorer(out / "model").score(items)]) for out in (two, one)
    ]
    assert torch.allclose(*found, atol=1e-3)
    assert float(found[1].std()) > 0.01
