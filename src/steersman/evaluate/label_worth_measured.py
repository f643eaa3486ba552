"""Measures what labels are worth (`label_worth`), from the features and margins of a reward model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from steersman.errors import DataError
from steersman.evaluate.label_worth import (
    HURTS,
    Ahead,
    CurvePoint,
    GroupWorth,
    KindAgreement,
    LabelledPair,
    LabelSide,
    LabelWorth,
    LearningCurve,
    ModelDisagreement,
    agreement,
)
from steersman.maths.influence import HeadInfluence, LabelledPairs, loss_gradient, pair_losses
from steersman.maths.learning_curve import PowerCurve, fit_curve, resampled_curves
from steersman.maths.statistics import Interval, paired_bootstrap_interval, wilson_interval

LEAST_LABELS = 20
"""Fewer labels of a kind, or of others on the held-out side, say nothing."""
MOST_NEEDED = 20.0
"""Beyond so many times the labels that there are, a curve is not followed."""
AHEAD = (0.5, 1.0, 3.0)
"""More labels whose gain is told, as multiples of those that there are."""
PASSES = 4
"""Times that the annotators are measured, each time without those who hurt."""
LONGER = 1.25
"""An answer is the longer one if it has so many times the characters of the other."""


@dataclass(frozen=True)
class Resampling:
    confidence: float
    resamples: int
    seed: int

    @property
    def generator(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def paired(self, first: ndarray, second: ndarray) -> Interval:
        return paired_bootstrap_interval(
            first, second, confidence=self.confidence, resamples=self.resamples, generator=self.generator
        )


def numbers_of_prompts(labels: Sequence[LabelledPair]) -> ndarray:
    """A number for each label's prompt, from 0."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(one.prompt.id, len(known)) for one in labels], dtype=np.int64)


def _by_prompt(values: Float[ndarray, " labels"], prompts: ndarray) -> Float[ndarray, " prompts"]:
    """The mean of each prompt's labels: prompts are independent, labels of one prompt are not."""
    _, inverse = np.unique(prompts, return_inverse=True)
    return np.bincount(inverse, weights=values) / np.bincount(inverse)


def groups_by(labels: Sequence[LabelledPair], sources: Sequence[str]) -> dict[str, dict[str, Bool[ndarray, " labels"]]]:
    """The labels of each annotator, and of each source if there are several."""
    found: dict[str, dict[str, ndarray]] = {"annotator": {}, "source": {}}
    names = np.array([one.annotator for one in labels])
    for name in sorted({*names} - {""}):
        found["annotator"][str(name)] = names == name
    numbers = np.array([one.source for one in labels])
    if len(set(numbers.tolist())) > 1:
        for number in sorted(set(numbers.tolist())):
            found["source"][sources[int(number)]] = numbers == number
    return {kind: of for kind, of in found.items() if of}


@dataclass(frozen=True)
class Reference:
    """The held-out labels by which others are measured. `distrusted` are annotators whose own labels hurt: theirs are
    no measure of anybody."""

    held_out: LabelSide
    distrusted: frozenset[str] = frozenset()

    def of(self, name: str) -> Bool[ndarray, " held_out"]:
        """Those that measure the labels of `name`: all but their own and those of distrusted annotators."""
        return np.array([one.annotator not in (self.distrusted | {name}) - {""} for one in self.held_out.labels])


def worth_of_groups(
    masks: Mapping[str, Bool[ndarray, " labels"]],
    margins: Mapping[str, Float[ndarray, " held_out"]],
    reference: Reference,
    how: Resampling,
    *,
    measured: str,
) -> tuple[tuple[GroupWorth, ...], Reference]:
    """The worth of the labels of each group, from the held-out margins of models without them; the most worth first.

    Whoever hurts is no measure of the others, so they are measured again without, until nothing changes. Returns the
    reference that was left. Groups with too few held-out labels of others are missing.
    """
    found: list[GroupWorth] = []
    for _ in range(PASSES):
        rows = [_group_worth(name, mask, margins[name], reference, how, measured) for name, mask in masks.items()]
        found = [row for row in rows if row is not None]
        hurting = frozenset(row.name for row in found if row.verdict == HURTS)
        settled = Reference(reference.held_out, hurting)
        if settled == reference or not _enough(settled):
            break
        reference = settled
    return tuple(sorted(found, key=lambda one: one.worth.estimate, reverse=True)), reference


def _enough(reference: Reference) -> bool:
    return int(reference.of("").sum()) >= LEAST_LABELS


def _group_worth(
    name: str,
    left_out: Bool[ndarray, " labels"],
    margins: Float[ndarray, " held_out"],
    reference: Reference,
    how: Resampling,
    measured: str,
) -> GroupWorth | None:
    held_out = reference.held_out
    others = reference.of(name)
    both = others & np.array([one.decided for one in held_out.labels])
    if both.sum() < LEAST_LABELS:
        return None
    prompts = numbers_of_prompts(held_out.labels)
    before, targets = held_out.pairs.margins, held_out.pairs.targets
    loss = [_by_prompt(pair_losses(one, targets)[others], prompts[others]) for one in (margins, before)]
    right = [_by_prompt(agreement(one, targets)[both], prompts[both]) for one in (before, margins)]
    moved = float(np.sqrt(np.mean((margins - before) ** 2)))
    count = int(left_out.sum())
    return GroupWorth(name, count, count / len(left_out), moved, how.paired(*loss), how.paired(*right), measured)


def worth_of_labels(learned: LabelSide, reference: Reference, influence: HeadInfluence) -> Float[ndarray, " labels"]:
    """For each label, how much the mean loss on others' held-out labels would rise without it, times the number of
    labels: their mean is what all of them together bring, as far as it adds up."""
    found = np.zeros(len(learned.labels))
    names, pairs = learned.annotators, reference.held_out.pairs
    for name in sorted(set(names.tolist())):
        rows, kept = names == name, reference.of(name)
        if kept.any():
            seen = LabelledPairs(pairs.features[kept], pairs.margins[kept], pairs.targets[kept], pairs.weights[kept])
            found[rows] = influence.of_each(loss_gradient(seen))[rows]
    return found * len(learned.labels)


def described(learned: LabelSide, worth: Float[ndarray, " labels"], rows: Sequence[int]) -> tuple[LabelWorth, ...]:
    probability = learned.pairs.probabilities
    found: list[LabelWorth] = []
    for row in rows:
        one = learned.labels[row]
        given = float(probability[row] if one.preference >= 0.5 else 1 - probability[row])
        found.append(LabelWorth(row, one.annotator, one.prompt.shown, *one.better_and_worse, float(worth[row]), given))
    return tuple(found)


def disagreements(held_out: LabelSide, most: int) -> tuple[ModelDisagreement, ...]:
    """Held-out pairs on which most people and the model disagree: first those of which the model is surest and that
    most people have judged."""
    votes: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    shown: dict[tuple[str, str, str], str] = {}
    for one, margin in zip(held_out.labels, held_out.pairs.margins.tolist(), strict=True):
        if not one.decided:
            continue
        swapped = one.first.text > one.second.text
        low, high = sorted((one.first.text, one.second.text))
        key = (one.prompt.id, low, high)
        votes.setdefault(key, []).append((float((one.preference > 0.5) != swapped), -margin if swapped else margin))
        shown[key] = one.prompt.shown
    found: list[ModelDisagreement] = []
    for key, given in votes.items():
        first, margin = sum(vote for vote, _ in given), given[0][1]
        against = len(given) - first if margin > 0 else first
        if 2 * against > len(given):
            sure = 1 / (1 + math.exp(-min(abs(margin), 60)))
            texts = (key[2], key[1]) if margin > 0 else (key[1], key[2])
            found.append(ModelDisagreement(shown[key], *texts, round(against), len(given), sure))
    return tuple(sorted(found, key=lambda one: (one.probability - 0.5) * one.people, reverse=True)[:most])


def agreement_by_kind(held_out: LabelSide, confidence: float) -> tuple[KindAgreement, ...]:
    """Agreement by what people preferred: the longer or the shorter answer, or one of another model."""
    right = held_out.right
    rows: dict[str, list[int]] = {}
    for i, one in enumerate(held_out.labels):
        if not one.decided:
            continue
        rows.setdefault("all held-out labels", []).append(i)
        better, worse = (len(text) for text in one.better_and_worse)
        if max(better, worse) >= LONGER * max(1, min(better, worse)):
            rows.setdefault(f"people prefer the {'longer' if better > worse else 'shorter'} answer", []).append(i)
        models = (one.first.model, one.second.model) if one.preference > 0.5 else (one.second.model, one.first.model)
        if all(models) and models[0] != models[1]:
            rows.setdefault(f"people prefer {models[0]} to {models[1]}", []).append(i)
    return tuple(
        KindAgreement(kind, len(of), wilson_interval(float(right[of].sum()), float(len(of)), confidence=confidence))
        for kind, of in rows.items()
        if len(of) >= LEAST_LABELS
    )


def learning_curve(
    sizes: Sequence[int], margins: Float[ndarray, "models labels"], held_out: LabelSide, how: Resampling, *, gain: float
) -> LearningCurve:
    """The curve through models of several sizes, by their margins on the held-out labels. The largest size is that of
    the model which is looked at."""
    decided = np.array([one.decided for one in held_out.labels])
    if decided.sum() < LEAST_LABELS:
        raise DataError(f"{int(decided.sum())} held-out labels prefer an answer; expected {LEAST_LABELS} for a curve")
    right = agreement(margins, held_out.pairs.targets)[:, decided]
    prompts = numbers_of_prompts([one for one in held_out.labels if one.decided])
    counts = np.array(sizes, dtype=np.float64)
    points, most = np.unique(counts), float(counts.max())
    drawn, curves = resampled_curves(counts, right, prompts, resamples=how.resamples, generator=how.generator)
    means = np.array([right[counts == size].mean() for size in points])
    curve = fit_curve(points, means)

    def within(estimate: float, values: Sequence[float] | ndarray) -> Interval:
        tail = (1 - how.confidence) / 2
        low, high = np.quantile(values, [tail, 1 - tail], method="nearest")
        return Interval(estimate, float(low), float(high))

    def needed(one: PowerCurve) -> float:
        more = one.needed(most, gain)
        return more if more <= MOST_NEEDED * most else math.inf

    return LearningCurve(
        tuple(
            CurvePoint(int(size), int((counts == size).sum()), within(float(means[i]), drawn[:, i]))
            for i, size in enumerate(points)
        ),
        tuple(
            Ahead(round(of * most), within(curve.gain(most, of * most), [one.gain(most, of * most) for one in curves]))
            for of in AHEAD
        ),
        gain,
        within(needed(curve), [needed(one) for one in curves]),
    )
