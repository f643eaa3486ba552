"""Human-judged pairs of answers with a reward model's scores: the input of the report on a reward model.

Nothing here depends on which of the two answers is first: files often have the preferred one first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from steersman.errors import DataError
from steersman.records import Comparison, Completion, Prompt, digest_of


@dataclass(frozen=True)
class JudgedPairs:
    """One row per judgement. `first` and `second` are ids of the answers (equal for equal answers to the same prompt).

    `preference`: the probability that the first is better; 0.5 is a tie. `margin`: how much better; NaN if not given.
    `shown`: which of the two the annotator saw first ("first", "second" or "" if unknown).
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    first_score: Float[ndarray, " pairs"]
    second_score: Float[ndarray, " pairs"]
    first_length: Float[ndarray, " pairs"]
    second_length: Float[ndarray, " pairs"]
    preference: Float[ndarray, " pairs"]
    margin: Float[ndarray, " pairs"]
    annotator: tuple[str, ...]
    shown: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.first:
            raise DataError("no judged pairs; expected at least one comparison with both answers scored")
        broken = np.flatnonzero(~(np.isfinite(self.first_score) & np.isfinite(self.second_score)))
        if len(broken):
            raise DataError(
                f"{len(broken)} pairs have a score that is no finite number (first: row {broken[0]}); score them again"
            )
        wrong = np.flatnonzero(~((self.preference >= 0) & (self.preference <= 1)))
        if len(wrong):
            raise DataError(
                f"the preference of row {wrong[0]} is {self.preference[wrong[0]]}; expected a probability from 0 to 1"
            )
        if not self.decided.any():
            raise DataError(
                f"all {len(self.first)} judgements are ties, so no accuracy can be measured; "
                "expected some pairs of which one answer was preferred"
            )

    def __len__(self) -> int:
        return len(self.first)

    @cached_property
    def pair(self) -> tuple[tuple[str, str], ...]:
        """An id of each row's pair, independent of the order of the answers."""
        return tuple((a, b) if a <= b else (b, a) for a, b in zip(self.first, self.second, strict=True))

    @cached_property
    def side(self) -> Float[ndarray, " pairs"]:
        """The judgement in the order of `pair`: 1, 0.5 or 0 for the answer that is first there."""
        swapped = np.array([a > b for a, b in zip(self.first, self.second, strict=True)])
        judgement = np.sign(self.preference - 0.5) / 2 + 0.5
        return np.where(swapped, 1 - judgement, judgement)

    @cached_property
    def gap(self) -> Float[ndarray, " pairs"]:
        return self.first_score - self.second_score

    @cached_property
    def decided(self) -> Bool[ndarray, " pairs"]:
        return self.preference != 0.5

    @cached_property
    def right(self) -> Float[ndarray, " pairs"]:
        """1 if the model prefers the annotator's preferred answer, 0 if not, 0.5 if its scores are equal."""
        return np.where(self.preference > 0.5, 1.0, -1.0) * np.sign(self.gap) / 2 + 0.5

    @cached_property
    def longer(self) -> Float[ndarray, " pairs"]:
        """Length difference, preferred answer minus the other, relative to the longer one: -1 to 1."""
        difference = np.where(self.preference > 0.5, 1.0, -1.0) * (self.first_length - self.second_length)
        return difference / np.maximum(1.0, np.maximum(self.first_length, self.second_length))


def judged_pairs(comparisons: Sequence[Comparison], name: str) -> JudgedPairs:
    """The pairs of comparisons whose answers have the score `name`. Lengths are in characters."""
    without = [i for i, c in enumerate(comparisons) if name not in c.first.scores or name not in c.second.scores]
    if without:
        there = sorted({*comparisons[without[0]].first.scores} & {*comparisons[without[0]].second.scores})
        raise DataError(
            f"{len(without)} of {len(comparisons)} comparisons lack the score {name!r} (the first has "
            f"{', '.join(there) or 'none'}); score the file with `steersman score` first"
        )
    return JudgedPairs(
        tuple(_answer_id(c.prompt, c.first) for c in comparisons),
        tuple(_answer_id(c.prompt, c.second) for c in comparisons),
        _column([c.first.scores[name] for c in comparisons]),
        _column([c.second.scores[name] for c in comparisons]),
        _column([float(len(c.first.text)) for c in comparisons]),
        _column([float(len(c.second.text)) for c in comparisons]),
        _column([c.preference for c in comparisons]),
        _column([np.nan if c.margin is None else c.margin for c in comparisons]),
        tuple(c.annotator for c in comparisons),
        tuple(c.shown for c in comparisons),
    )


def _answer_id(prompt: Prompt, completion: Completion) -> str:
    return digest_of([prompt.id, completion.text])


def _column(values: Sequence[float]) -> Float[ndarray, " pairs"]:
    return np.array(values, dtype=np.float64)


def rows_by(keys: Sequence[object]) -> Mapping[object, list[int]]:
    """The rows of each key, in order of first appearance."""
    rows: dict[object, list[int]] = {}
    for i, key in enumerate(keys):
        rows.setdefault(key, []).append(i)
    return rows
