"""A report on a reward model as lines for people, in rich markup: each number with what it should be held against."""

import math
from collections.abc import Iterator

from rich.markup import escape

from steersman.evaluate.calibration import Calibration
from steersman.evaluate.ceiling import HumanCeiling
from steersman.evaluate.position import Positions
from steersman.evaluate.reward_quality import Accuracy, LengthFacts, RewardQuality
from steersman.maths.statistics import Interval

NO_MEANING = 999.0
"""`fit_temperature` goes no further than 1000."""
CERTAIN_LENGTH = 0.3
"""A length correlation above this is worth a warning, if people's own is not as high."""


def lines_of(quality: RewardQuality) -> list[str]:
    """The whole report, line by line."""
    return [
        *_accuracy(quality),
        *_ceiling(quality.ceiling),
        *_groups("by grade (how much better people found it)", quality.by_grade),
        *_groups("by length (of the preferred answer beside the other)", quality.by_length),
        *_groups("by annotator", quality.by_annotator),
        *_calibration(quality.calibration),
        *_length(quality.length),
        *_positions(quality.positions),
    ]


def share(value: Interval) -> str:
    return f"{value.estimate:.1%} ({value.low:.1%} to {value.high:.1%})"


def _accuracy(quality: RewardQuality) -> Iterator[str]:
    decided = quality.judgements - quality.ties
    ties = f"; {quality.ties:,} ties left out" if quality.ties else ""
    yield f"[bold]accuracy[/bold] {share(quality.accuracy)} on {decided:,} judgements{ties}"
    if quality.equal_scores:
        yield f"  {quality.equal_scores:,} pairs have equal scores and count half"
    if quality.accuracy.low <= 0.5 <= quality.accuracy.high:
        yield "  [yellow]cannot be told from a coin: the interval holds 50 %[/yellow]"


def _ceiling(ceiling: HumanCeiling | None) -> Iterator[str]:
    if ceiling is None:
        yield "[bold]people[/bold] no pair was judged by two people, so the ceiling is not known (label with --overlap 0.1)"
        return
    yield f"[bold]people[/bold] one against the others {share(ceiling.one_against_others)}, the ceiling"
    yield f"  the model on these {ceiling.judgements:,} judgements of {ceiling.pairs:,} pairs: {share(ceiling.model_there)}"
    yield f"  two people say the same: {share(ceiling.agreement)}; Krippendorff's alpha {_number(ceiling.alpha)}"


def _groups(title: str, groups: tuple[Accuracy, ...]) -> Iterator[str]:
    if groups:
        yield f"[bold]{title}[/bold]"
    for group in groups:
        yield f"  {escape(group.group or 'nameless'):<16} {share(group.accuracy)} on {group.judgements:,}"


def _calibration(found: Calibration) -> Iterator[str]:
    yield f"[bold]calibration[/bold] loss {found.whole.loss:.3f} (a coin has {math.log(2):.3f}), error {found.whole.error:.3f}"
    if found.temperature is not None and found.before is not None and found.after is not None:
        sure = "too sure" if found.temperature > 1 else "not sure enough"
        if found.temperature >= NO_MEANING:
            sure = "as far as it goes: the gaps say nothing, or the contrary"
        yield (
            f"  temperature {found.temperature:.3g} ({sure}): on the other half of the pairs the error goes "
            f"{found.before.error:.3f} to {found.after.error:.3f}, the loss {found.before.loss:.3f} to {found.after.loss:.3f}"
        )
    for part in found.whole.curve:
        yield f"  says {part.probability:6.1%}   is right {part.outcome:6.1%}   of {part.size:,}"


def _length(facts: LengthFacts) -> Iterator[str]:
    yield f"[bold]length[/bold] score gap against length gap: Pearson {_number(facts.gap.pearson)}, Spearman {_number(facts.gap.spearman)}"
    yield f"  single scores against lengths: Pearson {_number(facts.score.pearson)}, Spearman {_number(facts.score.spearman)}"
    yield f"  people's preferences against length gaps: Pearson {_number(facts.people.pearson)}, Spearman {_number(facts.people.spearman)}"
    if facts.longer_wins is not None:
        yield f"  people prefer the longer answer {share(facts.longer_wins)}"
    if facts.gap.spearman > CERTAIN_LENGTH and facts.gap.spearman > 1.5 * abs(facts.people.spearman):
        yield "  [yellow]the model likes length more than people do; a policy trained on it will grow longer[/yellow]"


def _positions(found: Positions) -> Iterator[str]:
    if found.one_sided:
        yield (
            f"[bold]positions[/bold] every decided record prefers its {found.one_sided} answer: the file was written that way, "
            "or nobody looked"
        )
    if found.chosen_first is not None:
        yield f"[bold]positions[/bold] the answer that stood first was preferred {share(found.chosen_first)}"
    for habit in found.suspicious:
        name = escape(habit.annotator or "a nameless annotator")
        yield f"  [yellow]{name} chose the {habit.always} answer in all of {habit.judgements:,} judgements[/yellow]"


def _number(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:+.2f}"
