"""`classifier`: learns from labelled texts, is an ordinary folder afterwards, goes on after a stop, refuses what cannot
be meant."""

import csv
import json
import random

import pytest
import torch
from commandline import call
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from steersman.assemble.classifier import run_classifier
from steersman.data.split import split_of
from steersman.errors import DataError, UsageError
from steersman.records import ClassifiedText
from steersman.settings.base import load_settings
from steersman.settings.classifier import ClassifierSettings

KIND, RUDE = ["friend", "heart", "good"], ["fool", "stupid", "ugly"]


@pytest.fixture(scope="session")
def labelled(tmp_path_factory):
    """Texts of three labels, two of which are rude."""
    draw, path = random.Random(0), tmp_path_factory.mktemp("labelled") / "texts.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for i in range(120):
            label = ("fine", "insult", "threat")[i % 3] if i % 2 else "fine"
            words = [*draw.choices(KIND if label == "fine" else RUDE, k=2), f"number {i}"]
            writer.writerow([" ".join(draw.sample(words, 3)), label])
    return path


@pytest.fixture
def settings(tiny, labelled, tmp_path):
    def make(*more: str) -> ClassifierSettings:
        usual = [
            f"model.path={tiny('llama')}",
            f"data.source={labelled}",
            f"run.out={tmp_path / 'run'}",
            "run.device=cpu",
        ]
        usual += [
            "run.threads=1",
            "train.kernels=default",
            "train.batch_size=8",
            "train.epochs=6",
            "data.held_out=0.25",
        ]
        usual += ["optimiser.learning_rate=1e-2", 'positive=["insult", "threat"]']
        return load_settings(ClassifierSettings, None, [*usual, *more])

    return make


def held_out(path):
    shares = {"train": 0.75, "held out": 0.25}
    rows = [ClassifiedText(row["text"], row["label"]) for row in csv.DictReader(path.read_text().splitlines())]
    return [row for row in rows if split_of(row, shares) == "held out"]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_it_learns_and_plain_transformers_says_the_same(family, settings, labelled, tiny, tmp_path):
    result = run_classifier(settings(f"model.path={tiny(family)}"), quiet=True)
    quality = json.loads((tmp_path / "run" / "quality.json").read_text())
    assert quality["accuracy"]["estimate"] > 0.9
    model = AutoModelForSequenceClassification.from_pretrained(result.model, dtype=torch.float32).eval()
    tokeniser = AutoTokenizer.from_pretrained(result.model)
    assert model.config.id2label == {0: "not toxic", 1: "toxic"}
    texts, right, toxic = held_out(labelled), 0, 0
    for row in texts:
        with torch.no_grad():
            logits = model(**tokeniser(row.text, return_tensors="pt", return_token_type_ids=False)).logits[0]
        right += int(logits.argmax()) == (row.label != "fine")
        toxic += row.label != "fine"
    assert (quality["texts"], quality["positive"]) == (len(texts), toxic)
    assert quality["accuracy"]["estimate"] == pytest.approx(right / len(texts))


@pytest.mark.slow
def test_a_run_that_was_cut_ends_as_one_that_was_not(settings, tmp_path, monkeypatch):
    from steersman.train.core import Learner

    whole = run_classifier(settings(f"run.out={tmp_path / 'whole'}", "train.steps=8"), quiet=True)
    step, steps = Learner.step, []

    def cut(self, rows, objective):
        steps.append(1)
        if len(steps) == 6:
            raise KeyboardInterrupt
        return step(self, rows, objective)

    monkeypatch.setattr(Learner, "step", cut)
    words = (f"run.out={tmp_path / 'cut'}", "train.steps=8", "run.checkpoint_every=2")
    with pytest.raises(KeyboardInterrupt):
        run_classifier(settings(*words), quiet=True)
    monkeypatch.undo()
    again = run_classifier(settings(*words), quiet=True)
    one, other = (tmp_path / name / "model" / "model.safetensors" for name in ("whole", "cut"))
    assert again.step == whole.step == 8
    assert one.read_bytes() == other.read_bytes()
    assert run_classifier(settings(*words), quiet=True).ending == "already finished"


def test_what_cannot_be_learned_is_said(settings, tmp_path):
    with pytest.raises(
        DataError, match=r"none of the texts have a label of positive=\['rude'\].*the labels there are 'fine'"
    ):
        run_classifier(settings('positive=["rude"]'), quiet=True)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Hello?"}\n')
    with pytest.raises(DataError, match="no texts with a label"):
        run_classifier(settings(f"data.source={tmp_path / 'prompts.jsonl'}", f"run.out={tmp_path / 'b'}"), quiet=True)
    with pytest.raises(UsageError, match="trained whole"):
        run_classifier(settings("model.lora.rank=4"), quiet=True)
    with pytest.raises(UsageError, match=r"train\.packing"):
        run_classifier(settings("train.packing=true"), quiet=True)
    with pytest.raises(UsageError, match="two different names"):
        settings('classes=["toxic", "toxic"]')


@pytest.mark.slow
def test_the_documented_command_makes_a_scorer(tmp_path, capsys):
    out = str(tmp_path / "classifier")
    words = [
        "classifier",
        "classifier-harbour",
        "data.source=harbour:classified?count=240",
        "train.steps=8",
        "--out",
        out,
    ]
    assert call(words) == 0
    assert "held-out texts; the larger class alone" in capsys.readouterr().out
    (tmp_path / "answers.jsonl").write_text('{"prompt": "I like cricket.", "completion": "How lovely!"}\n')
    scored = str(tmp_path / "scored.jsonl")
    assert call(["score", str(tmp_path / "answers.jsonl"), "--scorer", out, "--out", scored, "parts=true"]) == 0
    row = json.loads((tmp_path / "scored.jsonl").read_text())
    assert 0 < row["completion"]["scores"]["toxic/probability"] < 1
