"""The reward model against a panel of annotators: pairs of held-out answers that all of Harbour's labellers judge.

It compares the model's agreement with labellers to the labellers' agreement with one another, and measures the model's
bias towards exaggeration.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from steersman.evaluate.ceiling import share_interval
from steersman.evaluate.judged_pairs import judged_pairs
from steersman.evaluate.reward_quality import measure_reward_quality, plain
from steersman.harbour.labellers import LABELLERS, compare
from steersman.harbour.registry import answers
from steersman.harbour.taste import features
from steersman.maths.statistics import Interval, wilson_interval
from steersman.records import Comparison, Completion, Prompt
from steersman.reward.scorer import Scorer

CONFIDENCE = 0.95
Pair = tuple[Prompt, Completion, Completion]


@dataclass(frozen=True, slots=True)
class Panel:
    """Agreement rates on the panel's pairs.

    `model`: the reward model with a labeller. `agreement`: two labellers. `ceiling`: a labeller with the majority of
    the others. `taste`: the reward model with the true taste. On pairs in which exactly one answer exaggerates,
    `likes_exaggeration` is how often the model prefers that answer, `should_like` how often the true taste does.
    """

    labellers: int
    pairs: int
    judgements: int
    model: Interval
    agreement: Interval
    ceiling: Interval
    taste: Interval
    likes_exaggeration: Interval | None
    should_like: Interval | None

    def as_dict(self) -> dict[str, Any]:
        return plain(self)


def held_out_pairs(count: int, seed: int) -> list[Pair]:
    """Pairs of different answers to held-out prompts, at most three per prompt."""
    rng = random.Random(seed)
    rows = list(answers(split="heldout", seed=seed))
    found: list[Pair] = []
    for _ in range(3):
        for row in rows:
            first, second = rng.sample(row.completions, 2)
            if first.text != second.text and len(found) < count:
                found.append((row.prompt, first, second))
    return found


def hold_panel(pairs: Sequence[Pair], scorer: Scorer, *, seed: int) -> Panel:
    """Every labeller judges every pair; the scorer scores the answers."""
    items = [(prompt, answer.text) for prompt, *both in pairs for answer in both]
    scores = [score.value for score in scorer.score(items)]
    gaps = [scores[2 * i] - scores[2 * i + 1] for i in range(len(pairs))]
    judged: list[Comparison] = []
    for i, (prompt, first, second) in enumerate(pairs):
        one, two = (
            replace(answer, scores={"reward": scores[2 * i + side]}) for side, answer in enumerate((first, second))
        )
        judged += [compare(labeller, prompt, one, two, seed=seed) for labeller in LABELLERS]
    quality = measure_reward_quality(judged_pairs(judged, "reward"))
    assert quality.ceiling is not None  # every pair has several judges
    truly = [_taste(prompt, first) - _taste(prompt, second) for prompt, first, second in pairs]
    decided = [(gap, true) for gap, true in zip(gaps, truly, strict=True) if true]
    likes, should = _exaggeration(pairs, gaps, truly)
    return Panel(
        labellers=len(LABELLERS),
        pairs=len(pairs),
        judgements=quality.ceiling.judgements,
        model=quality.ceiling.model_there,
        agreement=_agreement([judged[i : i + len(LABELLERS)] for i in range(0, len(judged), len(LABELLERS))]),
        ceiling=quality.ceiling.one_against_others,
        taste=_share([gap * true for gap, true in decided]),
        likes_exaggeration=likes,
        should_like=should,
    )


def _agreement(panels: Sequence[Sequence[Comparison]]) -> Interval:
    """How often two labellers (ties excluded) prefer the same answer; a pair of answers counts once in the interval."""
    same: list[float] = []
    where: list[object] = []
    for number, panel in enumerate(panels):
        for one, other in itertools.combinations([c for c in panel if not c.tied], 2):
            same.append(float(one.preference == other.preference))
            where.append(number)
    return share_interval(same, where, confidence=CONFIDENCE)


def _exaggeration(
    pairs: Sequence[Pair], gaps: Sequence[float], truly: Sequence[float]
) -> tuple[Interval | None, Interval | None]:
    """How often the reward model, and the true taste, prefer the exaggerating answer, where exactly one exaggerates."""
    turned: list[tuple[float, float]] = []
    for (prompt, first, second), gap, true in zip(pairs, gaps, truly, strict=True):
        one, two = (features(prompt.shown, answer.text).exaggerated for answer in (first, second))
        if one != two:
            side = 1.0 if one else -1.0
            turned.append((side * gap, side * true))
    if not turned:
        return None, None
    return _share([gap for gap, _ in turned]), _share([true for _, true in turned])


def _share(gaps: Sequence[float]) -> Interval:
    """The share of gaps above zero; zero counts half."""
    above = sum(1.0 if gap > 0 else 0.5 if gap == 0 else 0.0 for gap in gaps)
    return wilson_interval(above, float(len(gaps)), confidence=CONFIDENCE)


def _taste(prompt: Prompt, answer: Completion) -> float:
    return features(prompt.shown, answer.text).taste
