"""`classifier`: settings -> a classifier of two classes, trained on labelled texts, and a report on its quality."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from steersman.batches import LabelledBatch, LabelledRow, TokenRow, pad_labelled
from steersman.data.load import ReadReport
from steersman.errors import DataError, UsageError
from steersman.evaluate.classification import lines_of_classifier, measure_classifier
from steersman.execution.beginning import begins_run
from steersman.execution.context import Job, RunContext, open_run
from steersman.execution.ending import RunResult, Weights, already_finished, conclude
from steersman.execution.fit import Task, TrainingRows, learn
from steersman.execution.learner import padded_for
from steersman.loading.language_model import model_path
from steersman.methods.classifier import TextClass
from steersman.models.backbone import layers_of
from steersman.models.classifier import Classifier, ensure_pad_token, new_classifier, save_classifier
from steersman.models.rows import run_rows
from steersman.parallel.shard import shard
from steersman.printing import say
from steersman.records import ClassifiedText
from steersman.reward.rows import encode_text
from steersman.runs.commands import command_line
from steersman.runs.folder import atomic_write_text
from steersman.runs.identity import identity_of
from steersman.settings.classifier import ClassifierSettings
from steersman.text.tokeniser import give_pad, load_tokeniser
from steersman.train.checkpoint import load_weight_tensors
from steersman.training_data.split import DataSide, check_held_out, content_of, longest_row

SCORING_BUDGET = 4096


@dataclass(frozen=True)
class TrainableClassifier:
    classifier: Classifier
    tokeniser: Any

    @property
    def hidden_size(self) -> int:
        return self.classifier.config.get_text_config().hidden_size

    @property
    def context_length(self) -> int | None:
        return getattr(self.classifier.config.get_text_config(), "max_position_embeddings", None)

    @property
    def pad_id(self) -> int:
        return self.tokeniser.pad_token_id


@begins_run
def run_classifier(settings: ClassifierSettings, *, quiet: bool = False) -> RunResult:
    """Train a classifier; the same call on the same folder resumes."""
    _refuse(settings)
    job = Job("classifier", settings, settings.run, settings.train, command_line("report", settings.run.out), quiet)
    before = already_finished(job)
    if before is not None:
        return before
    with open_run(
        job,
        partial(load_trainable, settings),
        data=content_of(settings.data),
        parents={"model": identity_of(settings.model.path)},
    ) as (run, model):
        classifier = model.classifier
        train, held_out = (labelled_rows(run, settings, model, held_out=side) for side in (False, True))
        shard(classifier, layers_of(classifier), ("logits",), run.world)
        rows = TrainingRows(len(train), train.__getitem__, held_out)
        task = Task(TextClass(), padded_for(run, model, collate_labelled), derive=lambda found: {})
        finish = learn(run, settings, classifier, rows, task)
        if finish.ending != "stopped" and len(held_out) > 1:
            _report(run, model, held_out)

        def save(folder: Path, weights: Weights | None) -> None:
            whole = model
            if weights is not None:
                whole = load_trainable(settings, torch.device("cpu"))
                load_weight_tensors(whole.classifier, weights)
            save_classifier(whole.classifier, whole.tokeniser, folder)

        return conclude(run, finish, classifier, save)


def _refuse(settings: ClassifierSettings) -> None:
    check_held_out(settings.data)
    if settings.model.lora is not None or settings.model.quantise is not None:
        raise UsageError("a classifier is trained whole; leave model.lora and model.quantise out")
    if settings.train.packing:
        raise UsageError(
            "train.packing lays several texts into one row, and a class is read at a row's end; leave it out"
        )


def load_trainable(settings: ClassifierSettings, device: torch.device) -> TrainableClassifier:
    """The trunk with a new output layer, initialised at random."""
    loading = {"revision": settings.model.revision, "trust_remote_code": settings.model.trust_remote_code}
    with TemporaryDirectory() as scratch:
        path = model_path(settings.model.path, Path(scratch))
        tokeniser = load_tokeniser(path, **loading)
        give_pad(tokeniser)
        classifier = new_classifier(
            path, classes=settings.classes, positive=settings.classes[1], dtype=torch.float32, device=device, **loading
        )
    ensure_pad_token(classifier, tokeniser)
    if settings.model.gradient_checkpointing:
        classifier.hf.gradient_checkpointing_enable()
    return TrainableClassifier(classifier, tokeniser)


def labelled_rows(
    run: RunContext, settings: ClassifierSettings, model: TrainableClassifier, *, held_out: bool
) -> list[LabelledRow]:
    """The texts of one side as tokens, with their classes. Records of another kind are counted in a notice."""
    limit = longest_row(settings.data, model.context_length)
    side = DataSide.of(run, settings.data, held_out=held_out)
    report, seen, cut = side.report, Counter[str](), 0
    found: list[LabelledRow] = []
    for record in side.records():
        if not isinstance(record, ClassifiedText):
            report.left_out["a record that is no text with a label"] += 1
            continue
        seen[record.label] += 1
        ids, shortened = encode_text(model.tokeniser, record.text, limit=limit)
        cut += shortened
        row = TokenRow(torch.tensor(ids), torch.zeros(len(ids), dtype=torch.bool))
        found.append(LabelledRow(row, int(record.label in settings.positive)))
    if not found and held_out:
        if not side.may_be_empty:
            raise DataError(f"data.held_out={settings.data.held_out}: no texts with a label there")
        return found
    if not held_out:
        _check(found, seen, settings, report)
    positive = sum(row.label for row in found)
    words = f"{len(found):,} texts {side.words}, {positive:,} {settings.classes[1]!r}"
    if cut:
        words += f"; {cut:,} were cut to {limit} tokens"
    side.tell(run, words, report.left_out)
    return found


def _check(found: list[LabelledRow], seen: Counter[str], settings: ClassifierSettings, report: ReadReport) -> None:
    if not found:
        raise DataError(report.nothing("texts with a label", "the fields text and label (CSV or JSON lines)"))
    if len({row.label for row in found}) == 1:
        labels = ", ".join(f"{label!r} ({count:,})" for label, count in seen.most_common(8))
        which = "all" if found[0].label else "none"
        raise DataError(
            f"{settings.data.source}: {which} of the texts have a label of positive={settings.positive}, so there is "
            f"nothing to tell apart; the labels there are {labels}. Name those that mean {settings.classes[1]!r}: "
            "--positive LABEL"
        )


def collate_labelled(
    units: Sequence[LabelledRow], *, pad_id: int, device: torch.device, pad_multiple: int
) -> LabelledBatch:
    batch = pad_labelled(units, pad_id=pad_id, pad_multiple=pad_multiple)
    return replace(batch, tokens=batch.tokens.to(device), labels=batch.labels.to(device))


def _report(run: RunContext, model: TrainableClassifier, held_out: Sequence[LabelledRow]) -> None:
    """Measure the saved weights on the held-out texts, write quality.json and print the report."""
    rows, classifier = [labelled.row for labelled in held_out], model.classifier.eval()
    logits = run_rows(rows, classifier.logits, pad_id=model.pad_id, token_budget=SCORING_BUDGET, device=run.device)
    if not run.world.first:
        return
    labels = [labelled.label for labelled in held_out]
    quality = measure_classifier(classifier.probabilities_of(logits).tolist(), labels)
    atomic_write_text(run.path / "quality.json", json.dumps(quality.as_dict(), indent=1))
    if not run.job.quiet:
        say("\n".join(lines_of_classifier(quality, classifier.chosen)))
