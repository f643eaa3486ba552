"""Changes of figures in words: what the verdict says is what the table shows, and no significant change is left out."""

from collections.abc import Iterator, Sequence

from steersman.evaluate.figures import MetricValue, Verdict
from steersman.evaluate.numerals import numeral
from steersman.pages.parts import Sentence, Tone
from steersman.pages.results import number

MORE_PLACES = 4


def from_to(before: float, after: float, places: int) -> tuple[str, str]:
    """Two numbers as text, with further decimals if they would look equal and are not."""
    texts = ("", "")
    for extra in range(MORE_PLACES + 1):
        texts = numeral(before, f".{places + extra}f"), numeral(after, f".{places + extra}f")
        if texts[0] != texts[1] or before == after:
            break
    return texts


def change_words(before: MetricValue, now: MetricValue) -> str:
    """ "length 12.0 → 15.3": the two numbers as the table shows them."""
    unit = now.measure.unit
    first, last = number(before.value, unit)[0], number(now.value, unit)[0]
    if first == last:
        scale, mark = (100, " %") if unit.endswith("share") else (1, "")
        first, last = from_to(scale * before.value.estimate, scale * now.value.estimate, 1 if unit == "tokens" else 2)
        first, last = first + mark, last + mark
    return f"{now.measure.name} {first} → {last}"


def change_sentences(
    changed: Sequence[tuple[MetricValue, MetricValue]], *, of: tuple[str, str] | None = None
) -> Iterator[Sentence]:
    """Every significant change among these pairs (baseline, model): the better ones, the worse ones, and those of
    figures that have no good direction. `of`: the model and the baseline, if they are to be named."""
    kinds: tuple[tuple[Verdict, str, Tone], ...] = (
        ("better", "significantly better", "good"),
        ("worse", "significantly worse", "bad"),
        ("other", "significantly changed", ""),
    )
    for verdict, words, tone in kinds:
        found = [change_words(before, now) for before, now in changed if now.verdict == verdict]
        if found:
            than = "from" if verdict == "other" else "than"
            begins = f"{words[:1].upper()}{words[1:]}" if of is None else f"{of[0]}, {words} {than} {of[1]}"
            yield Sentence(f"{begins}: {', '.join(found)}.", tone)
