"""`classifier` put together: labelled texts -> a sequence classifier of two classes, and a report on how good it is."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from steersman.batches import LabelledBatch, LabelledRow, TokenRow, pad_labelled
from steersman.data.load import ReadReport
from steersman.errors import DataError, UsageError
from steersman.evaluate.classification import lines_of_classifier, measure_classifier
from steersman.execution.ending import Finish, RunResult, already_finished, conclude
from steersman.execution.fit import SelectionMetric, TrainingRows, learn
from steersman.execution.kept import OpenRunFolder, identity_of, keep_run
from steersman.execution.machine import Machine, resolve_device, resolve_machine
from steersman.loading.language_model import model_path
from steersman.methods.classifier import TextClass
from steersman.models.backbone import layers_of
from steersman.models.classifier import Classifier, ensure_pad_token, new_classifier, save_classifier
from steersman.models.rows import run_rows
from steersman.parallel.shard import shard
from steersman.parallel.world import World, join
from steersman.records import ClassifiedText
from steersman.reward.rows import encode_text
from steersman.runs.folder import atomic_write_text
from steersman.settings.classifier import ClassifierSettings
from steersman.text.tokeniser import give_pad, load_tokeniser
from steersman.train.checkpoint import load_weight_tensors, weight_tensors
from steersman.training_data.split import check_held_out, content_of, read_split

SCORING_BUDGET = 4096


@dataclass(frozen=True)
class TrainableClassifier:
    classifier: Classifier
    tokeniser: Any

    @property
    def context(self) -> int | None:
        return getattr(self.classifier.config.get_text_config(), "max_position_embeddings", None)

    @property
    def pad(self) -> int:
        return self.tokeniser.pad_token_id


def run_classifier(settings: ClassifierSettings, *, quiet: bool = False) -> RunResult:
    """Train a classifier; the same call on the same folder resumes."""
    _refuse(settings)
    next_command = f"steersman score YOUR-ANSWERS.jsonl --scorer {settings.run.out} --out scored.jsonl"
    before = already_finished(settings, settings.run, next_command)
    if before is not None:
        return before
    with join(resolve_device(settings.run.device)) as world:
        torch.manual_seed(settings.run.seed)
        pupil = load_pupil(settings, world.device)
        width = pupil.classifier.config.get_text_config().hidden_size
        machine = resolve_machine(settings.run, settings.train, width=width, kept=Path(settings.run.out))
        facts = {
            "threads": machine.threads,
            "deterministic": machine.facts,
            "data": content_of(settings.data),
            "parents": {"model": identity_of(settings.model.path)},
        }
        with machine.working(), keep_run(settings, settings.run, kind="classifier", world=world, facts=facts) as kept:
            train, held_out = (
                labelled_rows(settings, pupil, kept, held_out=side, world=world) for side in (False, True)
            )
            shard(pupil.classifier, layers_of(pupil.classifier), ("logits",), world)
            finish = _learn(settings, pupil, train, held_out, kept, machine, world, quiet=quiet)
            if finish.ending != "stopped" and len(held_out) > 1:
                _report(kept, pupil, held_out, world, quiet=quiet)
            weights = weight_tensors(pupil.classifier) if world.size > 1 else None

            def save(folder: Path) -> None:
                whole = pupil if weights is None else load_pupil(settings, torch.device("cpu"))
                if weights is not None:
                    load_weight_tensors(whole.classifier, weights)
                save_classifier(whole.classifier, whole.tokeniser, folder)

            return conclude(kept, finish, save=save, world=world, next_command=next_command)


def _refuse(settings: ClassifierSettings) -> None:
    check_held_out(settings.data)
    if settings.model.lora is not None or settings.model.quantise is not None:
        raise UsageError("a classifier is trained whole; leave model.lora and model.quantise out")
    if settings.train.packing:
        raise UsageError(
            "train.packing lays several texts into one row, and a class is read at a row's end; leave it out"
        )


def load_pupil(settings: ClassifierSettings, device: torch.device) -> TrainableClassifier:
    """The trunk under a new output layer; torch's generator decides how that begins."""
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
    settings: ClassifierSettings, pupil: TrainableClassifier, kept: OpenRunFolder, *, held_out: bool, world: World
) -> list[LabelledRow]:
    """The texts of one side as tokens, with their classes. What is of another kind is counted and said."""
    data = settings.data
    limit = min(data.max_length, pupil.context or data.max_length)
    reading, seen, cut = ReadReport(), Counter[str](), 0
    quarantine = None if held_out or not world.first else kept.folder.quarantine_path
    found: list[LabelledRow] = []
    for record in read_split(data, held_out=held_out, quarantine=quarantine, report=reading):
        if not isinstance(record, ClassifiedText):
            reading.left_out["a record that is no text with a label"] += 1
            continue
        seen[record.label] += 1
        ids, shortened = encode_text(pupil.tokeniser, record.text, limit=limit)
        cut += shortened
        row = TokenRow(torch.tensor(ids), torch.zeros(len(ids), dtype=torch.bool))
        found.append(LabelledRow(row, int(record.label in settings.positive)))
    if not found and held_out:
        if isinstance(data.held_out, str):
            raise DataError(f"data.held_out={data.held_out}: no texts with a label there")
        return found
    if not held_out:
        _check(found, seen, settings)
    positive = sum(row.label for row in found)
    words = f"{len(found):,} texts {'held out' if held_out else 'to learn from'}, {positive:,} {settings.classes[1]!r}"
    if cut:
        words += f"; {cut:,} were cut to {limit} tokens"
    for reason, count in reading.left_out.items():
        words += f"; {count:,} left out: {reason}"
    if reading.malformed and not held_out:
        words += f"; {reading.malformed:,} bad rows are in {kept.folder.quarantine_path}"
    kept.notice(words)
    return found


def _check(found: list[LabelledRow], seen: Counter[str], settings: ClassifierSettings) -> None:
    if not found:
        raise DataError(
            f"{settings.data.source}: no texts with a label; expected the fields text and label (CSV or JSON lines). "
            "`steersman data inspect` shows what is there"
        )
    if len({row.label for row in found}) == 1:
        labels = ", ".join(f"{label!r} ({count:,})" for label, count in seen.most_common(8))
        which = "all" if found[0].label else "none"
        raise DataError(
            f"{settings.data.source}: {which} of the texts have a label of positive={settings.positive}, so there is nothing to tell "
            f"apart; the labels there are {labels}. Name those that mean {settings.classes[1]!r}: --positive LABEL"
        )


def _learn(
    settings: ClassifierSettings,
    pupil: TrainableClassifier,
    train: list[LabelledRow],
    held_out: list[LabelledRow],
    kept: OpenRunFolder,
    machine: Machine,
    world: World,
    *,
    quiet: bool,
) -> Finish:
    pad_multiple = machine.pad_multiple_within(pupil.context)

    def collate(units: list[LabelledRow]) -> LabelledBatch:
        batch = pad_labelled(units, pad_id=pupil.pad, pad_multiple=pad_multiple)
        return replace(batch, tokens=batch.tokens.to(world.device), labels=batch.labels.to(world.device))

    return learn(
        pupil.classifier,
        TrainingRows(len(train), train.__getitem__, held_out),
        TextClass(),
        collate,  # type: ignore[arg-type]
        optimiser=settings.optimiser,
        train=settings.train,
        seed=settings.run.seed,
        checkpoint_every=settings.run.checkpoint_every,
        judged=SelectionMetric("loss", higher_is_better=False, derive=lambda found: {}),
        kept=kept,
        machine=machine,
        world=world,
        label="classifier",
        quiet=quiet,
    )


def _report(
    kept: OpenRunFolder, pupil: TrainableClassifier, held_out: list[LabelledRow], world: World, *, quiet: bool
) -> None:
    """How good the saved weights are on the held-out texts: kept as quality.json, and said."""
    rows, model = [labelled.row for labelled in held_out], pupil.classifier.eval()
    logits = run_rows(rows, model.logits, pad_id=pupil.pad, token_budget=SCORING_BUDGET, device=world.device)
    if not world.first:
        return
    labels = [labelled.label for labelled in held_out]
    quality = measure_classifier(model.probabilities_of(logits).tolist(), labels)
    atomic_write_text(kept.folder.path / "quality.json", json.dumps(quality.as_dict(), indent=1))
    if not quiet:
        print("\n".join(lines_of_classifier(quality, model.chosen)))
