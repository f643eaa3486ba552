"""How well people agree with one another, where several judged the same pair: no reward model can be asked for more.

The fair comparison is one judge against the majority of the others: a reward model, too, has learned from many and is held
against one. (InstructGPT's labellers agree 73 to 77 %, its reward model 69.6 to 72.4 %.)
"""

from dataclasses import dataclass

import numpy as np

from steersman.evaluate.judged_pairs import JudgedPairs, rows_by
from steersman.maths.statistics import Interval, krippendorff_alpha, pairwise_agreement, wilson_interval


@dataclass(frozen=True, slots=True)
class HumanCeiling:
    """`one_against_others`: how often a decided judgement is what the majority of the pair's other judges said (a split
    majority is half right). `model_there`: the model's accuracy on exactly these judgements. `agreement`: how often two
    people say the same of a pair, ties being a third answer. `alpha`: Krippendorff's, ties half way between."""

    pairs: int
    judgements: int
    one_against_others: Interval
    model_there: Interval
    agreement: Interval
    alpha: float


def human_ceiling(judged: JudgedPairs, *, confidence: float) -> HumanCeiling | None:
    """None where no pair was judged by two people. A judge without a name is taken for a person of their own."""
    people = [name or f"nameless {i}" for i, name in enumerate(judged.annotator)]
    shared = {pair: rows for pair, rows in rows_by(judged.pair).items() if len({people[i] for i in rows}) > 1}
    said: list[float] = []
    model: list[float] = []
    where: list[object] = []
    for pair, rows in shared.items():
        for i in rows:
            others = [judged.side[j] for j in rows if people[j] != people[i]]
            if judged.decided[i]:
                majority = np.sign(np.mean(others) - 0.5)
                said.append(float(majority * np.sign(judged.side[i] - 0.5) / 2 + 0.5))
                model.append(float(judged.right[i]))
                where.append(pair)
    if not said:
        return None
    # One voice a person: who judged a pair twice is heard once.
    units = [list({people[i]: float(judged.side[i]) for i in rows}.values()) for rows in shared.values()]
    return HumanCeiling(
        len(shared),
        len(said),
        share_interval(said, where, confidence=confidence),
        share_interval(model, where, confidence=confidence),
        pairwise_agreement(units, confidence=confidence),
        krippendorff_alpha(units, level="interval"),
    )


def share_interval(right: list[float], where: list[object], *, confidence: float) -> Interval:
    """A Wilson interval of a mean of 0, 0.5 and 1, where rows of one pair are not independent: they are counted as
    sum(n)^2 / sum(n^2) rows (Kish), which is the number of pairs where all are judged equally often."""
    sizes = np.array([len(rows) for rows in rows_by(where).values()], dtype=np.float64)
    effective = float(sizes.sum() ** 2 / np.square(sizes).sum())
    return wilson_interval(float(np.mean(right)) * effective, effective, confidence=confidence)
