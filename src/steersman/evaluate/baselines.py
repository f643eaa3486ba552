"""What a reward model must beat: a bag of words and the length of the answers, on the same held-out judgements.

A model that is no better than these has learned nothing that needs a language model, and a policy trained on it learns
words or lengths.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from steersman.evaluate.ceiling import share_interval
from steersman.evaluate.judged_pairs import JudgedPairs, rows_by
from steersman.evaluate.word_preference import FOLDS, fit_words, folds_of, gaps_from_the_others
from steersman.maths.statistics import Interval, paired_shares_interval
from steersman.records import Comparison

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class BaselineAccuracy:
    """A baseline's accuracy, and by how much the model's is above it on the same judgements (below, if negative)."""

    name: str
    accuracy: Interval
    lead: Interval


@dataclass(frozen=True, slots=True)
class Baselines:
    """Both baselines. `beaten`: whether the model knows more than both; `verdict`: the same in a sentence."""

    words: BaselineAccuracy
    length: BaselineAccuracy
    learned_from: str
    beaten: bool
    verdict: str


def measure_baselines(
    judged: JudgedPairs, comparisons: Sequence[Comparison], train: Sequence[Comparison] = ()
) -> Baselines:
    """The baselines on `comparisons`, whose scores by the model are in `judged`, row for row.

    They learn from `train`. Without it each fifth of the comparisons, by prompt, is predicted from the others.
    """
    if len(judged) != len(comparisons):
        raise ValueError(f"{len(judged)} judged rows and {len(comparisons)} comparisons; expected the same rows.")
    train = [pair for pair in train if not pair.tied]
    predict = _from(train) if train else _from_the_others
    rows: list[int] = np.flatnonzero(judged.decided).tolist()
    pairs = [comparisons[i] for i in rows]
    words, length = (
        _baseline(name, gaps, judged, rows)
        for name, gaps in zip(("bag of words", "length"), predict(pairs), strict=True)
    )
    source = (
        f"{len(train):,} of the model's training judgements"
        if train
        else "these judgements, each fifth predicted from the others"
    )
    accuracy = float(judged.right[rows].mean())
    beaten = words.lead.low > 0 and length.lead.low > 0
    return Baselines(words, length, source, beaten, _verdict(accuracy, (words, length)))


def _from(train: Sequence[Comparison]) -> Callable[[Sequence[Comparison]], tuple[ndarray, ndarray]]:
    """Predicts by words and by length: above 0 if the first answer is expected to be preferred, 0 if neither."""
    words, direction = fit_words(train), _direction(train)
    return lambda pairs: (words.gaps(pairs), direction * _length_gaps(pairs))


def _from_the_others(pairs: Sequence[Comparison]) -> tuple[ndarray, ndarray]:
    folds, length = folds_of(pairs), np.zeros(len(pairs))
    for fold in range(FOLDS):
        others = [pair for pair, of in zip(pairs, folds, strict=True) if of != fold]
        length = np.where(folds == fold, _direction(others) * _length_gaps(pairs), length)
    return gaps_from_the_others(pairs), length


def _length_gaps(pairs: Sequence[Comparison]) -> Float[ndarray, " pairs"]:
    return np.array([len(pair.first.text) - len(pair.second.text) for pair in pairs], dtype=np.float64)


def _direction(train: Sequence[Comparison]) -> float:
    """1 if these people prefer the longer answer, -1 if the shorter."""
    preferred = np.array([1.0 if pair.preference > 0.5 else -1.0 for pair in train])
    return -1.0 if float((preferred * np.sign(_length_gaps(train))).sum()) < 0 else 1.0


def _baseline(name: str, gaps: ndarray, judged: JudgedPairs, rows: Sequence[int]) -> BaselineAccuracy:
    right = np.where(judged.preference[rows] > 0.5, 1.0, -1.0) * np.sign(gaps) / 2 + 0.5
    where = [judged.pair[i] for i in rows]
    # As in share_interval: rows of the same pair are not independent (Kish).
    sizes = np.array([len(of) for of in rows_by(where).values()], dtype=np.float64)
    effective = float(sizes.sum() ** 2 / np.square(sizes).sum())
    lead = paired_shares_interval(judged.right[rows] - right, effective, confidence=CONFIDENCE)
    return BaselineAccuracy(name, share_interval(right.tolist(), list(where), confidence=CONFIDENCE), lead)


def _verdict(model: float, baselines: Sequence[BaselineAccuracy]) -> str:
    below = [one for one in baselines if one.lead.estimate < 0]
    surely = [one for one in below if one.lead.high < 0]
    unclear = [one for one in baselines if one.lead.low <= 0]
    if surely:
        return (
            f"The model knows less than {_names(surely)}: it is right in {model:.1%}, {_shares(surely)}. A "
            "policy would learn little from it; more judgements, longer training or a larger base may help."
        )
    if below:
        return (
            f"The model knows less than {_names(below)} here: it is right in {model:.1%}, {_shares(below)}. The "
            "difference may be chance."
        )
    if unclear:
        return f"The model is not shown to know more than {_names(unclear)}: the difference may be chance."
    return "The model knows more than a bag of words and than length."


def _names(baselines: Sequence[BaselineAccuracy]) -> str:
    return " and ".join("a bag of words" if one.name == "bag of words" else "length alone" for one in baselines)


def _shares(baselines: Sequence[BaselineAccuracy]) -> str:
    return " and ".join(f"the {one.name} in {one.accuracy.estimate:.1%}" for one in baselines).replace(
        "the length in", "length in"
    )
