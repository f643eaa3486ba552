"""The story in sentences, made from its numbers: what became better, how good the reward model is, and what to beware of.

A difference is called one only if its 95 % interval leaves out zero.
"""

from collections.abc import Iterator, Mapping, Sequence

from steersman.demo.panel import Panel
from steersman.demo.story import Verdict
from steersman.demo.table import Row
from steersman.evaluate.numerals import numeral, percent, within

NEAR = 0.03
"""A reward model this near to what labellers reach among themselves is as good as one of them."""


def verdict(columns: Sequence[str], rows: Sequence[Row], panel: Panel, people: float) -> Verdict:
    """What a reader should take away, most important first."""
    taste = next(row for row in rows if row.key == "taste")
    return Verdict(_headline(columns, taste), (*_steps(columns, rows, people), *_reward_model(panel)))


def _headline(columns: Sequence[str], taste: Row) -> str:
    """About the last step: whether it changed the true taste."""
    change = taste.cells[-1].change if taste.cells[-1] is not None else ""
    said = {"better": "made the answers clearly better", "worse": "made the answers clearly worse"}
    return f"{columns[-1]} {said.get(change, 'made no clear difference')}."


def _steps(columns: Sequence[str], rows: Sequence[Row], people: float) -> Iterator[str]:
    by_key = {row.key: row for row in rows}
    for i in range(1, len(columns)):
        yield (
            f"From {columns[i - 1]} to {columns[i]} the true worth of an answer went {_went(by_key['taste'], i)}"
            + (f"; people's own answers are worth {people:.2f}." if i == 1 else ".")
        )
        told = [(row, row.cells[i]) for row in rows if row.unit == "share" and row.key != "wins"]
        better = [row for row, cell in told if cell is not None and cell.change == "better"]
        worse = [row for row, cell in told if cell is not None and cell.change == "worse"]
        if better:
            yield f"Clearly better: {_listed(better, i)}."
        if worse:
            yield f"Clearly worse: {_listed(worse, i)}."
        yield from _beside_the_reference(columns, by_key, i)


def _beside_the_reference(columns: Sequence[str], by_key: Mapping[str, Row], i: int) -> Iterator[str]:
    """Of a model that was made from the reference: how often it is better, how far it went, and whether reward alone rose."""
    wins, kl, taste, reward = (by_key.get(key) for key in ("wins", "kl", "taste", "reward"))
    if wins is None or kl is None or taste is None or reward is None:
        return
    reference = wins.cells.index(None)
    won, far, worth, liked = (row.cells[i] for row in (wins, kl, taste, reward))
    if i <= reference or won is None or far is None or worth is None or liked is None:
        return
    yield (
        f"To the same prompt {columns[i]}'s answer is truly better than {columns[reference]}'s {within(won.value)} of the time, a tie "
        f"being half; it went {far.value.estimate:.1f} nats away."
    )
    if liked.change == "better" and worth.change != "better":
        yield (
            f"Beware: the reward rose clearly, {_went(reward, i)}, and the true worth did not clearly follow. So it looks when a "
            "model learns to please its reward model."
        )


def _listed(rows: Sequence[Row], column: int) -> str:
    return ", ".join(f"{row.name} {_went(row, column)}" for row in rows)


def _went(row: Row, column: int) -> str:
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
            f"Beware: of two answers one of which exaggerates, it prefers that one {percent(likes.estimate)} of the time, and only "
            f"{percent(should.estimate)} are truly better. It learned this from people; a model that pleases it too well will "
            "exaggerate."
        )
