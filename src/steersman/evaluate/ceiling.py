"""Inter-annotator agreement on pairs with several judgements: the ceiling of a reward model's accuracy.

The fair comparison is one annotator against the majority of the others: a reward model, too, learns from many and is
compared with one. (InstructGPT's labellers agree 73 to 77 %, its reward model 69.6 to 72.4 %.)
"""

from dataclasses import dataclass

import numpy as np

from steersman.evaluate.judged_pairs import JudgedPairs, rows_by
from steersman.maths.agreement import krippendorff_interval
from steersman.maths.statistics import Interval, pairwise_agreement, wilson_interval

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class HumanCeiling:
    """Agreement between annotators.

    `one_against_others`: how often a judgement (no tie) equals the majority of the pair's other annotators; a split
    majority counts half. `model_there`: the model's accuracy on the same judgements. `agreement`: how often two
    annotators agree on a pair, with a tie as a third label. `alpha`: Krippendorff's, with a tie as 0.5.
    """

    pairs: int
    judgements: int
    one_against_others: Interval
    model_there: Interval
    agreement: Interval
    alpha: Interval


def human_ceiling(judged: JudgedPairs, *, confidence: float) -> HumanCeiling | None:
    """None if no pair has two annotators. Each judgement without a name counts as a different annotator."""
    people = [name or f"nameless {i}" for i, name in enumerate(judged.annotator)]
    shared = {pair: rows for pair, rows in rows_by(judged.pair).items() if len({people[i] for i in rows}) > 1}
    agrees: list[float] = []
    model: list[float] = []
    where: list[object] = []
    for pair, rows in shared.items():
        for i in rows:
            others = [judged.side[j] for j in rows if people[j] != people[i]]
            if judged.decided[i]:
                majority = np.sign(np.mean(others) - 0.5)
                agrees.append(float(majority * np.sign(judged.side[i] - 0.5) / 2 + 0.5))
                model.append(float(judged.right[i]))
                where.append(pair)
    if not agrees:
        return None
    # One label per annotator and pair.
    units = [list({people[i]: float(judged.side[i]) for i in rows}.values()) for rows in shared.values()]
    return HumanCeiling(
        len(shared),
        len(agrees),
        share_interval(agrees, where, confidence=confidence),
        share_interval(model, where, confidence=confidence),
        pairwise_agreement(units, confidence=confidence),
        krippendorff_interval(
            units,
            level="interval",
            confidence=confidence,
            resamples=RESAMPLES,
            generator=np.random.default_rng(0),
        ),
    )


def share_interval(right: list[float], where: list[object], *, confidence: float) -> Interval:
    """A Wilson interval of the mean of values 0, 0.5 and 1, with rows of the same pair not independent.

    The effective sample size is sum(n)^2 / sum(n^2) (Kish): the number of pairs, if all have equally many judgements.
    """
    sizes = np.array([len(rows) for rows in rows_by(where).values()], dtype=np.float64)
    effective = float(sizes.sum() ** 2 / np.square(sizes).sum())
    return wilson_interval(float(np.mean(right)) * effective, effective, confidence=confidence)
