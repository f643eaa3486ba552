"""`worth`: a reward model's run -> what its labels are worth: which of them and whose moved it, where it and people
disagree, and how many more are worth asking for."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from steersman.assemble.worth.retrained import PartTrainer
from steersman.assemble.worth.trained import LabelReader, Labels, TrainedReward, read_labels, read_trained
from steersman.data.outputs import check_outputs
from steersman.data.write import RowWriter
from steersman.evaluate.label_worth import GroupWorth, LabelSide, LearningCurve, Worth
from steersman.evaluate.label_worth_measured import (
    Reference,
    Resampling,
    agreement_by_kind,
    described,
    disagreements,
    groups_by,
    learning_curve,
    worth_of_groups,
    worth_of_labels,
)
from steersman.execution.machine import resolve_device
from steersman.maths.influence import HeadInfluence
from steersman.maths.statistics import wilson_interval
from steersman.runs.folder import atomic_write_text
from steersman.runs.progress import Progress
from steersman.settings.worth import WorthSettings

FOLDER, FILE, LABELS = "worth", "worth.json", "labels.jsonl"
INFLUENCE, TRAINING = "influence", "training without them"
Masks = Mapping[str, Mapping[str, Bool[ndarray, " labels"]]]


@dataclass(frozen=True)
class WorthResult:
    out: str
    worth: Worth

    def as_dict(self) -> dict[str, Any]:
        return {"out": self.out, **self.worth.as_dict()}


def run_worth(settings: WorthSettings, *, quiet: bool = False) -> WorthResult:
    """Measure what the labels of a reward model's run are worth, and write it into a folder."""
    out = Path(settings.out).expanduser() if settings.out else Path(settings.run).expanduser() / FOLDER
    trained = read_trained(settings.run)
    check_outputs([out / FILE, out / LABELS], reads=trained.sources, force=settings.force)
    learned, held_out = (read_labels(trained, held_out=side) for side in (False, True))
    device = resolve_device(settings.device)
    reader = LabelReader.of(trained.path, trained.settings, device)
    with Progress("read", len(learned.pairs) + len(held_out.pairs), silent=quiet) as progress:
        sides = reader.side(learned.pairs, progress), reader.side(held_out.pairs, progress)
    trainer = PartTrainer(trained, learned, held_out, out / "models", device)
    worth, each = measured(settings, trained, sides, trainer, quiet=quiet)
    with RowWriter(out / LABELS) as writer:
        for one in described(sides[0], each, range(len(each))):
            writer.write(asdict(one))
    atomic_write_text(out / FILE, json.dumps(worth.as_dict(), ensure_ascii=False, indent=1))
    trainer.clear()
    return WorthResult(str(out), worth)


def measured(
    settings: WorthSettings,
    trained: TrainedReward,
    sides: tuple[LabelSide, LabelSide],
    trainer: PartTrainer,
    *,
    quiet: bool,
) -> tuple[Worth, ndarray]:
    """All of it, and the worth of each label."""
    learned, held_out = sides
    how = Resampling(settings.confidence, settings.resamples, settings.seed)
    influence = HeadInfluence(learned.pairs, damping=settings.damping)
    masks = groups_by(learned.labels, trained.sources)
    trainings = (sum(map(len, masks.values())) if settings.retrain else 0) + (
        len(settings.curve.parts) * settings.curve.repeats
    )
    with Progress("reward models", max(trainings, 1), silent=quiet or not trainings) as progress:
        without = Without(trainer if settings.retrain else None, influence, held_out, progress)
        groups, reference, notes = _groups(without, trainer.learned, masks, how)
        curve = _curve(settings, trainer, held_out, progress, how) if settings.curve.repeats else None
    each = worth_of_labels(learned, reference, influence)
    order = np.argsort(each, kind="stable").tolist()
    right = held_out.right[[one.decided for one in held_out.labels]]
    worth = Worth(
        trained.path,
        len(learned.labels),
        len(held_out.labels),
        wilson_interval(float(right.sum()), float(len(right)), confidence=settings.confidence),
        groups,
        described(learned, each, order[::-1][: settings.shown]),
        described(learned, each, order[: settings.shown]),
        agreement_by_kind(held_out, settings.confidence),
        disagreements(held_out, settings.shown),
        curve,
        tuple(notes),
    )
    return worth, each


@dataclass(frozen=True)
class Without:
    """Held-out margins of the model without some labels: by influence, or with a trainer by training."""

    trainer: PartTrainer | None
    influence: HeadInfluence
    held_out: LabelSide
    progress: Progress

    @property
    def measured(self) -> str:
        return INFLUENCE if self.trainer is None else TRAINING

    def margins(self, name: str, mask: Bool[ndarray, " labels"]) -> Float[ndarray, " held_out"]:
        if self.trainer is None:
            return self.held_out.pairs.margins + self.held_out.pairs.features @ self.influence.without(mask)
        kept = sorted({self.trainer.learned.record_of[i] for i in np.flatnonzero(~mask).tolist()})
        found = self.trainer.margins(f"without-{name}", kept, seed=self.trainer.trained.settings.run.seed)
        self.progress.update(self.progress.done + 1, {})
        return found


def _groups(
    without: Without, learned: Labels, masks: Masks, how: Resampling
) -> tuple[dict[str, tuple[GroupWorth, ...]], Reference, list[str]]:
    """The worth of the labels of each annotator, then of each source, and the held-out labels that measure them."""
    found: dict[str, tuple[GroupWorth, ...]] = {}
    reference, notes = Reference(without.held_out), list[str]()
    for kind, of in masks.items():
        if len(of) < 2 or any(mask.all() for mask in of.values()):
            notes.append(f"All labels are of one {kind}: there is nothing to compare with.")
            continue
        margins = {name: without.margins(f"{kind}-{n}", mask) for n, (name, mask) in enumerate(of.items(), 1)}
        rows, left = worth_of_groups(of, margins, reference, how, measured=without.measured)
        reference = left if kind == "annotator" else reference
        found |= {kind: rows} if rows else {}
        if missing := sorted({*of} - {row.name for row in rows}):
            notes.append(f"Too few labels of others are held out to say what those of {', '.join(missing)} are worth.")
    if reference.distrusted:
        named = ", ".join(sorted(reference.distrusted))
        notes.append(f"Held-out labels of {named} measure nobody, since their labels hurt.")
    return found, reference, [*notes, *(f"{n:,} left out: {reason}." for reason, n in learned.left_out.items())]


def _curve(
    settings: WorthSettings, trainer: PartTrainer, held_out: LabelSide, progress: Progress, how: Resampling
) -> LearningCurve:
    """Models on parts of the labels, and the run itself, which learned from all."""
    chance = np.random.default_rng(settings.seed)
    records, seed = len(trainer.learned.records), trainer.trained.settings.run.seed
    sizes, margins = [len(trainer.learned.pairs)], [held_out.pairs.margins]
    per_record = np.bincount(trainer.learned.record_of, minlength=records)
    for repeat in range(settings.curve.repeats):
        order = chance.permutation(records)
        for part in settings.curve.parts:
            rows = sorted(order[: max(1, round(part * records))].tolist())
            margins.append(trainer.margins(f"part-{part:g}-{repeat + 1}", rows, seed=seed + 1 + repeat))
            sizes.append(int(per_record[rows].sum()))
            progress.update(progress.done + 1, {})
    return learning_curve(sizes, np.stack(margins), held_out, how, gain=settings.curve.gain)
