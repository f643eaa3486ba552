"""Two processes train the classifier that one trains: losses, held-out numbers, report and saved logits agree."""

import json
import random
from pathlib import Path

import pytest
import torch
from forked import run_command
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from steersman.models.tiny import write_tiny_model

WORDS = {"fine": ["dog", "game", "heart"], "toxic": ["fool", "ugly", "stupid"]}


def write_texts(path: Path, count: int, seed: int) -> Path:
    draw = random.Random(seed)
    labels = [draw.choice(list(WORDS)) for _ in range(count)]
    rows = [{"text": " ".join(draw.choices(WORDS[label], k=draw.randint(1, 8))), "label": label} for label in labels]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def train(processes: int, out: Path, *settings: str) -> dict:
    done = run_command(["classifier", *settings, f"run.out={out}"], processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((out / "quality.json").read_text())


def logits(out: Path) -> torch.Tensor:
    model = AutoModelForSequenceClassification.from_pretrained(out / "model", dtype=torch.float32).eval()
    tokeniser = AutoTokenizer.from_pretrained(out / "model")
    with torch.no_grad():
        return torch.cat(
            [model(**tokeniser(text, return_tensors="pt")).logits for text in ("a dog", "ugly fool", "heart")]
        )


@pytest.mark.slow
def test_two_processes_train_and_save_the_classifier_of_one(tmp_path):
    model = write_tiny_model(tmp_path / "model", "llama")
    source, held = (write_texts(tmp_path / f"{n}.jsonl", n, n) for n in (31, 15))
    settings = (
        *(f"model.path={model}", f"data.source={source}", f"data.held_out={held}", "run.device=cpu", "run.threads=1"),
        *("train.steps=4", "train.batch_size=7", "train.evaluate_every=2", "train.kernels=default", "train.keep=last"),
        *("optimiser.learning_rate=1e-3", "optimiser.epsilon=1e-4", "train.tokens_per_micro_batch=64"),
    )
    one, two = (train(n, tmp_path / str(n), *settings) for n in (1, 2))
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)
    assert (two["texts"], two["positive"]) == (one["texts"], one["positive"])
    assert one["texts"] > 5
    ours, theirs = (logits(tmp_path / str(n)) for n in (2, 1))
    assert torch.allclose(ours, theirs, atol=2e-3)
    assert float(theirs.std()) > 0.01
