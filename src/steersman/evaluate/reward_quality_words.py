"""The report on a reward model as lines in rich markup: each number with what to compare it to."""

import math
from collections.abc import Iterator

from rich.markup import escape

from steersman.evaluate.baselines import Baselines
from steersman.evaluate.calibration import Calibration
from steersman.evaluate.ceiling import HumanCeiling
from steersman.evaluate.position import Positions
from steersman.evaluate.reward_quality import Accuracy, Correlation, LengthFacts, RewardQuality
from steersman.maths.statistics import Interval

NO_MEANING = 999.0
"""Close to the upper limit of `fit_temperature`, 1000."""
CERTAIN_LENGTH = 0.3
"""A length correlation above this gives a warning, unless people's own is as high."""


def lines_of(quality: RewardQuality) -> list[str]:
    """The whole report, line by line."""
    return [
        *_accuracy(quality),
        *_baselines(quality.baselines),
        *_ceiling(quality.ceiling),
        *_groups("by grade (how much better people found it)", quality.by_grade),
        *_groups("by length (of the preferred answer compared with the other)", quality.by_length),
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
        yield "  [yellow]no better than chance: the interval contains 50 %[/yellow]"


def _baselines(found: Baselines | None) -> Iterator[str]:
    if found is None:
        return
    for one in (found.words, found.length):
        lead = one.lead
        yield (
            f"  {one.name:<16} {share(one.accuracy)}; the model is ahead by "
            f"{100 * lead.estimate:+.1f} points ({100 * lead.low:+.1f} to {100 * lead.high:+.1f})"
        )
    yield f"  [{'green' if found.beaten else 'yellow'}]{found.verdict}[/]"
    yield f"  (both baselines learned from {found.learned_from})"


def _ceiling(ceiling: HumanCeiling | None) -> Iterator[str]:
    if ceiling is None:
        yield (
            "[bold]people[/bold] no pair was judged by two people, so the ceiling is unknown (label with --overlap 0.1)"
        )
        return
    yield f"[bold]people[/bold] one against the others {share(ceiling.one_against_others)}, the ceiling"
    count = f"{ceiling.judgements:,} judgements of {ceiling.pairs:,} pairs"
    yield f"  the model on these {count}: {share(ceiling.model_there)}"
    yield f"  two people agree: {share(ceiling.agreement)}; Krippendorff's alpha {_alpha(ceiling.alpha)}"


def _alpha(alpha: Interval) -> str:
    if math.isnan(alpha.estimate):
        return _number(alpha.estimate)
    return f"{_number(alpha.estimate)} ({_number(alpha.low)} to {_number(alpha.high)})"


def _groups(title: str, groups: tuple[Accuracy, ...]) -> Iterator[str]:
    if groups:
        yield f"[bold]{title}[/bold]"
    for group in groups:
        yield f"  {escape(group.group or 'nameless'):<16} {share(group.accuracy)} on {group.judgements:,}"


def _calibration(found: Calibration) -> Iterator[str]:
    whole = found.whole
    yield f"[bold]calibration[/bold] loss {whole.loss:.3f} (chance: {math.log(2):.3f}), error {whole.error:.3f}"
    if found.temperature is not None and found.before is not None and found.after is not None:
        confidence = "overconfident" if found.temperature > 1 else "underconfident"
        if found.temperature >= NO_MEANING:
            confidence = "at its limit: the gaps carry no information, or have the wrong sign"
        before, after = found.before, found.after
        yield (
            f"  temperature {found.temperature:.3g} ({confidence}): on the other half of the pairs the error goes from "
            f"{before.error:.3f} to {after.error:.3f}, the loss from {before.loss:.3f} to {after.loss:.3f}"
        )
    for part in whole.curve:
        yield f"  predicted {part.probability:6.1%}   right {part.outcome:6.1%}   of {part.size:,}"


def _length(facts: LengthFacts) -> Iterator[str]:
    def both(value: Correlation) -> str:
        return f"Pearson {_number(value.pearson)}, Spearman {_number(value.spearman)}"

    yield f"[bold]length[/bold] score gap against length gap: {both(facts.gap)}"
    yield f"  single scores against lengths: {both(facts.score)}"
    yield f"  people's preferences against length gaps: {both(facts.people)}"
    if facts.longer_wins is not None:
        yield f"  people prefer the longer answer {share(facts.longer_wins)}"
    if facts.gap.spearman > CERTAIN_LENGTH and facts.gap.spearman > 1.5 * abs(facts.people.spearman):
        yield "  [yellow]the model prefers length more than people do; a policy trained on it will write more[/yellow]"


def _positions(found: Positions) -> Iterator[str]:
    if found.one_sided:
        yield (
            f"[bold]positions[/bold] every decided record prefers its {found.one_sided} answer: the file was written "
            "that way, or annotators always chose that side"
        )
    if found.chosen_first is not None:
        yield f"[bold]positions[/bold] the answer shown first was preferred {share(found.chosen_first)}"
    for habit in found.suspicious:
        name = escape(habit.annotator or "a nameless annotator")
        yield f"  [yellow]{name} chose the {habit.always} answer in all of {habit.judgements:,} judgements[/yellow]"


def _number(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:+.2f}"
