"""Over-optimisation as far as a run itself knows it: gains against the distance from the reference, and people's
judgements on the same axes.

A reward model's score is a log-odds of being preferred (Bradley-Terry), so people's share of wins over the reference,
as log-odds, can stand beside the gain in score.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from steersman.evaluate.curves import Curve, line_chart
from steersman.evaluate.numerals import within
from steersman.maths.statistics import wilson_interval
from steersman.pages.parts import Figure, Figures, Part, Section, Words
from steersman.reports.truth import Moment
from steersman.runs.columns import JournalColumns

HELD_OUT = ("held-out KL to reference", "held-out score")
EACH = ("KL to reference", "raw score")
SCORE, TASTE, PEOPLE = "score", "true taste", "people, log-odds of a win"
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class PeoplePoint:
    """What people said of a policy's answers against the reference's: `won` of `judged`, a tie as half. `kl` is the
    policy's distance; `name` says which policy."""

    name: str
    kl: float
    won: float
    judged: int

    @property
    def log_odds(self) -> float:
        """With half a win and half a loss more, so that it is finite."""
        return math.log((self.won + 0.5) / (self.judged - self.won + 0.5))


def distance_of(
    journal: JournalColumns, moments: Sequence[Moment] = (), people: Sequence[PeoplePoint] = ()
) -> Section | None:
    """The section; None for a run without a distance, or with too few points."""
    keys = HELD_OUT if len(journal.values(HELD_OUT[1])) > 1 else EACH
    curves = [Curve(SCORE, _against(journal, keys), "dots")]
    distances = dict(journal.values(EACH[0]))
    taste = [(_distance(distances[one.step]), one.taste - moments[0].taste) for one in moments if one.step in distances]
    curves.append(Curve(TASTE, tuple(sorted(taste)), "dots"))
    if people:
        points = sorted((_distance(one.kl), one.log_odds) for one in people)
        curves.append(Curve(PEOPLE, ((0.0, 0.0), *points), "dots"))
    drawn = [curve for curve in curves if len(curve.points) > 1]
    if not drawn or drawn[0].name != SCORE:
        return None
    title = "Gain over the reference, by distance"
    svg = line_chart(title, drawn, x_name="distance: square root of the KL in nats")
    parts: list[Part] = [Figures((Figure(title, tuple(one.name for one in drawn), svg, "", False, False),), wide=True)]
    parts += [Words(_said(one)) for one in people]
    if not people:
        parts.append(
            Words(
                "No person has compared this policy's answers with the reference's yet. Their judgements in a project "
                "of the studio appear here, for answers whose model is this run and one that it began as."
            )
        )
    note = (
        "Where the score goes on rising and people, or the true taste, do not, the run is over-optimised. The score is "
        "the one that is optimised."
    )
    return Section("Over-optimisation", "Over-optimisation", note, tuple(parts))


def _against(journal: JournalColumns, keys: tuple[str, str]) -> tuple[tuple[float, float], ...]:
    """A score's gains over its first value, by distance. Later measurements at a distance take an earlier one's place
    in the order of distances."""
    distances, scores = (dict(journal.values(key)) for key in keys)
    common = [step for step in scores if step in distances]
    if not common:
        return ()
    first = scores[common[0]]
    return tuple(sorted((_distance(distances[step]), scores[step] - first) for step in common))


def _distance(kl: float) -> float:
    return math.sqrt(max(0.0, kl))


def _said(one: PeoplePoint) -> str:
    share = wilson_interval(one.won, float(one.judged), confidence=CONFIDENCE)
    return (
        f"People preferred {one.name} to the reference in {within(share)} of {one.judged:,} comparisons, at a KL of "
        f"{one.kl:.2f} nats."
    )
