"""The saved samples of a run in a report: those for the microscope, the worst, and the most suspicious."""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

from steersman.evaluate.numerals import numeral
from steersman.evaluate.suspicious import ScoredAnswer, suspicions
from steersman.pages.microscope import entry_of
from steersman.pages.parts import Example, Examples, Mark, Shown
from steersman.pages.word_diff import unmarked
from steersman.reports.reading import ReadRun, SampleRow

WORST, SUSPICIOUS = 3, 6
ITERATIONS, OF_EACH = 3, 3
"""For the microscope: the first, the middle and the last iteration; of each the best, the median and the worst
answer."""


def microscope_entries(run: ReadRun) -> tuple[list[dict[str, Any]], int]:
    """Some saved samples for the microscope, and the number of rows that were not complete samples."""
    gamma = float(run.recipe.get("advantage", {}).get("gamma", 1.0))
    whitened = run.recipe.get("advantage", {}).get("whiten", True)
    note = "Advantages are those of the update: whitened over the whole batch." if whitened else ""
    found: list[dict[str, Any]] = []
    bad = 0
    for kept in chosen(run.samples):
        score, prompt = kept.row.get("score"), kept.row.get("prompt")
        value = numeral(score) if isinstance(score, int | float) else "?"
        label = f"iteration {kept.step}, score {value}: {shortened(str(prompt))}"
        try:
            found.append(entry_of(kept.row, label=label, gamma=gamma, note=note))
        except ValueError:
            bad += 1
    return found, bad


def chosen(samples: Sequence[SampleRow]) -> list[SampleRow]:
    """The best, the median and the worst answer of the last, the middle and the first iteration."""
    steps = sorted({kept.step for kept in samples})
    found: list[SampleRow] = []
    for step in dict.fromkeys([steps[-1], steps[len(steps) // 2], steps[0]] if steps else []):
        of_step = sorted(_scored(samples, step), key=lambda kept: -float(kept.row["score"]))
        places = {round(i * (len(of_step) - 1) / (OF_EACH - 1)) for i in range(OF_EACH)} if of_step else set[int]()
        found += [of_step[place] for place in sorted(places)]
    return found


def latest(run: ReadRun, count: int = 4) -> Examples | None:
    """Some answers of the last saved iteration, from the best score to the lowest."""
    last = max((kept.step for kept in run.samples), default=0)
    scored = sorted(_scored(run.samples, last), key=lambda kept: -float(kept.row["score"]))
    places = {round(i * (len(scored) - 1) / max(1, count - 1)) for i in range(count)} if scored else set[int]()
    if not places:
        return None
    return Examples(tuple(_example(scored[place], None, "") for place in sorted(places)), 1, False)


def worst(run: ReadRun) -> Examples | None:
    """The answers of the last saved iteration with the lowest scores."""
    last = max((kept.step for kept in run.samples), default=0)
    lowest = sorted(_scored(run.samples, last), key=lambda kept: float(kept.row["score"]))[:WORST]
    if not lowest:
        return None
    shown = [
        _example(kept, Mark("bad", "✗", "worst of its iteration" if i == 0 else "among the worst"), "")
        for i, kept in enumerate(lowest)
    ]
    return Examples(tuple(shown), 1, False)


def suspicious(run: ReadRun) -> Examples | None:
    """Suspicious answers with high scores, from the last two saved iterations."""
    steps = sorted({kept.step for kept in run.samples})[-2:]
    recent = [kept for step in steps for kept in _scored(run.samples, step)]
    seen = [_seen(kept) for kept in recent]
    found = suspicions(seen, SUSPICIOUS)
    if not found:
        return None
    shown = [_example(recent[one.index], Mark("", "!", "look twice"), f"It {one.why}.") for one in found]
    return Examples(tuple(shown), 1, False)


def largest_steps(steps: Iterable[tuple[float, int]], *, up: int, down: int) -> list[tuple[float, int]]:
    """The `up` largest positive and the `down` largest negative steps, each with its index, by size."""
    ordered = sorted(steps, reverse=True)
    return [*[one for one in ordered if one[0] > 0][:up], *[one for one in ordered if one[0] < 0][-down:][::-1]]


def _scored(samples: Sequence[SampleRow], step: int) -> list[SampleRow]:
    return [
        kept
        for kept in samples
        if kept.step == step
        and isinstance(kept.row.get("score"), int | float)
        and isinstance(kept.row.get("answer"), str)
    ]


def _seen(kept: SampleRow) -> ScoredAnswer:
    row = kept.row
    kl: float | None = None
    with contextlib.suppress(KeyError, TypeError, ValueError):
        kl = sum(float(p) - float(q) for p, q in zip(row["log_probs"], row["reference_log_probs"], strict=True))
    return ScoredAnswer(
        str(row.get("prompt", "")), str(row["answer"]), float(row["score"]), kl, str(row.get("finish", "")), None
    )


def _example(kept: SampleRow, mark: Mark | None, why: str) -> Example:
    seen = _seen(kept)
    numbers = [f"score {numeral(seen.score)}", *([f"log-ratio {numeral(seen.kl)} nats"] if seen.kl is not None else [])]
    shown = Shown(f"iteration {kept.step}", unmarked(seen.text), mark, ", ".join(numbers))
    return Example(seen.prompt, why, (shown,))


def shortened(text: str, length: int = 70) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
