"""Whether a judge can be trusted: its verdicts beside people's judgements of the same pairs, or beside known answers.

Agreement is the share of people's decided judgements that the judge's preference agrees with; people's own agreement
with one another is the yardstick. Measured for the judge and for each of its principles.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from steersman.errors import DataError
from steersman.evaluate.ceiling import share_interval
from steersman.evaluate.judged_pairs import judged_pairs
from steersman.evaluate.reward_quality import RewardQuality, measure_reward_quality
from steersman.judges.judge import JudgeVerdict
from steersman.maths.statistics import Interval, spearman, wilson_interval
from steersman.records import Comparison, Completion

CONFIDENCE = 0.95
SHOWN = 5
"""Disagreements shown for each principle."""
KEY = "judge"
_SURE = 1e-6
"""Preferences are kept this far from 0 and 1, so that their log-odds are finite."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A pair on which people and the judge differ; `preference` is the judge's for the answer that people rejected."""

    prompt: str
    people_prefer: str
    judge_prefers: str
    preference: float


@dataclass(frozen=True, slots=True)
class PrincipleTrust:
    """One principle beside people. `opinion` is "agrees", "disagrees" or "unclear", by whether the interval is above,
    below or around 50 %.

    `first_place` is how often the answer shown first was chosen, `same_twice` how often both orders led to the same
    choice; None where answers were graded one by one.
    """

    principle: str
    judgements: int
    agreement: Interval | None
    opinion: str
    first_place: Interval | None
    same_twice: Interval | None
    length: float
    abstained: int
    disagreements: tuple[Disagreement, ...]


@dataclass(frozen=True, slots=True)
class JudgeTrust:
    """`quality` has accuracy, calibration, length bias and people's agreement with one another, as for a reward model.

    `same_twice` and `first_place` as for a principle; `abstentions` by reason.
    """

    judge: str
    constitution: str
    pairs: int
    judged: int
    abstentions: Mapping[str, int]
    quality: RewardQuality
    first_place: Interval | None
    same_twice: Interval | None
    principles: tuple[PrincipleTrust, ...]


def measure_trust(
    judge: str, constitution: str, comparisons: Sequence[Comparison], verdicts: Sequence[JudgeVerdict]
) -> JudgeTrust:
    """`verdicts` are those on the comparisons, in their order; a pair that several people judged has several rows."""
    abstentions: dict[str, int] = {}
    for verdict in verdicts:
        if verdict.preference is None:
            abstentions[verdict.problem] = abstentions.get(verdict.problem, 0) + 1
    found = [(c, v) for c, v in zip(comparisons, verdicts, strict=True) if v.preference is not None]
    if not found:
        reasons = "; ".join(f"{count:,} × {reason}" for reason, count in abstentions.items())
        raise DataError(f"the judge gave no verdict on any of {len(comparisons):,} pairs ({reasons})")
    scored = [_scored(c, v.preference or 0.0) for c, v in found]
    quality = measure_reward_quality(judged_pairs(scored, KEY))
    names = list(dict.fromkeys(one.principle for verdict in verdicts for one in verdict.by_principle))
    places = [one.first_place for verdict in verdicts for one in verdict.by_principle if one.first_place is not None]
    return JudgeTrust(
        judge=judge,
        constitution=constitution,
        pairs=len(comparisons),
        judged=len(found),
        abstentions=abstentions,
        quality=quality,
        first_place=_first_place(places),
        same_twice=_same_twice(places),
        principles=tuple(_of_principle(name, comparisons, verdicts) for name in names),
    )


def _scored(comparison: Comparison, preference: float) -> Comparison:
    """The comparison with scores whose difference is the log-odds of the judge's preference."""
    sure = min(max(preference, _SURE), 1 - _SURE)
    half = math.log(sure / (1 - sure)) / 2

    def with_score(completion: Completion, value: float) -> Completion:
        return replace(completion, scores={KEY: value})

    return replace(comparison, first=with_score(comparison.first, half), second=with_score(comparison.second, -half))


def _first_place(places: Sequence[tuple[float, float]]) -> Interval | None:
    """How often the answer shown first is chosen; the two orders of a pair are one observation."""
    if not places:
        return None
    chosen = math.fsum((float(np.sign(p - 0.5)) / 2 + 0.5) for place in places for p in place) / 2
    return wilson_interval(chosen, float(len(places)), confidence=CONFIDENCE)


def _same_twice(places: Sequence[tuple[float, float]]) -> Interval | None:
    if not places:
        return None
    same = sum((first > 0.5) == (second < 0.5) for first, second in places)
    return wilson_interval(float(same), float(len(places)), confidence=CONFIDENCE)


def _of_principle(name: str, comparisons: Sequence[Comparison], verdicts: Sequence[JudgeVerdict]) -> PrincipleTrust:
    rows = [
        (comparison, one)
        for comparison, verdict in zip(comparisons, verdicts, strict=True)
        for one in verdict.by_principle
        if one.principle == name
    ]
    known = [(c, one.preference) for c, one in rows if one.preference is not None]
    decided = [(c, p) for c, p in known if not c.tied]
    right = [float(np.sign(p - 0.5) * np.sign(c.preference - 0.5)) / 2 + 0.5 for c, p in decided]
    where: list[object] = [(c.prompt.id, *sorted((c.first.text, c.second.text))) for c, _ in decided]
    agreement = share_interval(right, where, confidence=CONFIDENCE) if decided else None
    places = [one.first_place for _, one in rows if one.first_place is not None]
    gaps = np.array([len(c.first.text) - len(c.second.text) for c, _ in known], dtype=np.float64)
    preferences = np.array([p - 0.5 for _, p in known], dtype=np.float64)
    # both orders of each pair, so that the file's order does not matter
    length = spearman([*preferences, *-preferences], [*gaps, *-gaps]) if known else math.nan
    return PrincipleTrust(
        principle=name,
        judgements=len(decided),
        agreement=agreement,
        opinion=_opinion(agreement),
        first_place=_first_place(places),
        same_twice=_same_twice(places),
        length=length,
        abstained=sum(one.preference is None for _, one in rows),
        disagreements=_disagreements(decided),
    )


def _opinion(agreement: Interval | None) -> str:
    if agreement is None:
        return "unclear"
    return "agrees" if agreement.low > 0.5 else "disagrees" if agreement.high < 0.5 else "unclear"


def _disagreements(decided: Sequence[tuple[Comparison, float]]) -> tuple[Disagreement, ...]:
    """The pairs on which the principle is surest of what people rejected, each once."""
    found: dict[tuple[str, str, str], Disagreement] = {}
    for comparison, preference in decided:
        against = 1 - preference if comparison.preference > 0.5 else preference
        if against > 0.5:
            chosen, rejected = comparison.chosen.text, comparison.rejected.text
            key = (comparison.prompt.id, chosen, rejected)
            found[key] = Disagreement(comparison.prompt.shown, chosen, rejected, against)
    return tuple(sorted(found.values(), key=lambda one: -one.preference)[:SHOWN])


def lines_of_trust(trust: JudgeTrust) -> list[str]:
    """The report for the terminal, in rich markup."""
    from rich.markup import escape

    from steersman.evaluate.reward_quality_words import lines_of, share

    lines = [
        f"[bold]judge[/bold] {escape(trust.judge)} by the constitution {escape(trust.constitution)}: verdicts on "
        f"{trust.judged:,} of {trust.pairs:,} judgements",
    ]
    lines += [f"  {count:,} × abstained: {escape(reason)}" for reason, count in trust.abstentions.items()]
    lines += lines_of(trust.quality)
    if trust.first_place is not None and trust.same_twice is not None:
        lines.append(
            f"[bold]orders[/bold] it chose the answer shown first {share(trust.first_place)}; both orders led to"
        )
        lines.append(f"  the same choice in {share(trust.same_twice)} of the pairs")
    lines.append("[bold]by principle[/bold] (agreement with people)")
    for one in trust.principles:
        agreement = "no judgement" if one.agreement is None else share(one.agreement)
        twice = "" if one.same_twice is None else f"; the same twice {one.same_twice.estimate:.0%}"
        length = "" if math.isnan(one.length) else f"; length {one.length:+.2f}"
        colour = {"disagrees": "[red]disagrees[/red]", "unclear": "unclear", "agrees": "agrees"}[one.opinion]
        lines.append(f"  {escape(one.principle):<20} {agreement} on {one.judgements:,}: {colour}{twice}{length}")
    return lines
