"""The quickstart's conclusions as sentences: what improved, how good the reward model is, and warnings.

A difference is reported only if its 95 % interval excludes zero.
"""

from collections.abc import Iterator, Mapping, Sequence

from steersman.demo.panel import Panel
from steersman.demo.story import QuickstartVerdict
from steersman.demo.table import QuickstartRow
from steersman.evaluate.numerals import numeral, percent, within

NEAR = 0.03
"""A reward model within this distance of the labellers' agreement is as good as a labeller."""


def verdict(columns: Sequence[str], rows: Sequence[QuickstartRow], panel: Panel, people: float) -> QuickstartVerdict:
    """The conclusions, most important first."""
    wins = next(row for row in rows if row.key == "wins")
    return QuickstartVerdict(_headline(columns, wins), (*_steps(columns, rows, people), *_reward_model(panel)))


def _headline(columns: Sequence[str], wins: QuickstartRow) -> str:
    """Whether the rounds made the answers better than those of the reference, by the true taste."""
    change = wins.cells[-1].change if wins.cells[-1] is not None else ""
    effect = {"better": "made the answers clearly better", "worse": "made the answers clearly worse"}
    rounds = len(columns) - 1 - wins.cells.index(None)
    said = "One round" if rounds == 1 else f"{rounds} rounds"
    return f"{said} of feedback {effect.get(change, 'made no clear difference')}."


def _steps(columns: Sequence[str], rows: Sequence[QuickstartRow], people: float) -> Iterator[str]:
    by_key = {row.key: row for row in rows}
    for i in range(1, len(columns)):
        yield (
            f"From {columns[i - 1]} to {columns[i]} the mean true taste changed {_went(by_key['taste'], i)}"
            + (f"; people's own answers have {people:.2f}." if i == 1 else ".")
        )
        # every significant change in the table; the true taste and the wins have sentences of their own
        changed = [(row, row.cells[i]) for row in rows if row.key not in ("taste", "wins", "wins_last", "labels")]
        better = [row for row, cell in changed if cell is not None and cell.change == "better"]
        worse = [row for row, cell in changed if cell is not None and cell.change == "worse"]
        if better:
            yield f"Clearly better: {_listed(better, i)}."
        if worse:
            yield f"Clearly worse: {_listed(worse, i)}."
        yield from _beside_the_reference(columns, by_key, i)


def _beside_the_reference(columns: Sequence[str], by_key: Mapping[str, QuickstartRow], i: int) -> Iterator[str]:
    """For a model trained from the reference: win rate, KL, and whether the reward rose without the true taste."""
    wins, kl, taste, reward = (by_key.get(key) for key in ("wins", "kl", "taste", "reward"))
    if wins is None or kl is None or taste is None or reward is None:
        return
    reference = wins.cells.index(None)
    won, far, worth, liked = (row.cells[i] for row in (wins, kl, taste, reward))
    if i <= reference or won is None or far is None or worth is None or liked is None:
        return
    yield (
        f"{columns[i][:1].upper()}{columns[i][1:]}'s answer has a higher true taste than {columns[reference]}'s to the "
        f"same prompt {within(won.value)} of the time, counting ties half; its KL is {far.value.estimate:.1f} nats "
        "per answer."
    )
    if liked.change == "better" and worth.change != "better":
        yield (
            f"Beware: the reward rose clearly, {_went(reward, i)}, and the true taste did not clearly rise with it. "
            "This is typical of reward hacking."
        )


def _listed(rows: Sequence[QuickstartRow], column: int) -> str:
    return ", ".join(f"{row.name} {_went(row, column)}" for row in rows)


def _went(row: QuickstartRow, column: int) -> str:
    before, now = row.cells[column - 1], row.cells[column]
    assert before is not None
    assert now is not None
    if row.unit == "share":
        return f"{percent(before.value.estimate)} → {percent(now.value.estimate)}"
    return f"{numeral(before.value.estimate)} → {numeral(now.value.estimate)}"


def _reward_model(panel: Panel) -> Iterator[str]:
    short = panel.agreement.estimate - panel.model.estimate
    beside = (
        "about as good as one of them"
        if short <= NEAR
        else f"{short * 100:.0f} points short of one of them; more judgements would help"
    )
    yield (
        f"The reward model agrees with a labeller {within(panel.model)} of the time, two labellers with one another "
        f"{within(panel.agreement)}: {beside}."
    )
    likes, should = panel.likes_exaggeration, panel.should_like
    if likes is not None and should is not None and likes.low > should.estimate:
        yield (
            f"Beware: of two answers one of which exaggerates, it prefers that one {percent(likes.estimate)} of the "
            f"time, and only {percent(should.estimate)} are truly better. It learned this bias from people; a policy "
            "that over-optimises it will exaggerate."
        )
