"""Which metrics of a run are drawn together, and their usual ranges: the charts of a report and of the studio."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steersman.runs.columns import JournalColumns
from steersman.watch.health import HEALTHY, Healthy

HELD_OUT = "held-out "
NO_PICTURE = (
    "learning rate",
    "tokens per second",
    "seconds",
    "skipped",
    "optimiser steps",
    "answers so far",
    "epoch",
    "answers",
    "rows",
    "tokens",
)
"""Metrics without a chart: speeds, and counters that only go up."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Metrics that are drawn in one chart. `each` is the legend of `key`, drawn faint because it is noisy; `dots` maps
    legends to further keys."""

    title: str
    key: str
    each: str
    dots: Mapping[str, str]

    def lines(self) -> dict[str, str]:
        """The metric of each legend."""
        return {self.each: self.key, **self.dots}


IN_THE_LOOP = (
    Chart(
        "Score of an answer",
        "score",
        "each iteration",
        {"held out": "held-out score", "held out, less the KL penalty": "held-out objective"},
    ),
    Chart(
        "KL to reference, nats per answer",
        "KL to reference",
        "each iteration",
        {"held out": "held-out KL to reference"},
    ),
    Chart("Entropy, nats per token", "entropy", "each iteration", {}),
    Chart("Answer length, tokens", "answer length", "each iteration", {"held out": "held-out answer length"}),
    Chart(
        "Answers that ended with EOS",
        "ended with EOS",
        "each iteration",
        {"held out": "held-out ended with EOS"},
    ),
    Chart("Explained variance of the critic", "explained variance", "each iteration", {}),
    Chart("Clip fraction", "clip fraction", "each iteration", {}),
    Chart("KL to the old policy, nats per token", "KL to old policy", "each iteration", {}),
    Chart("Gradient norm", "gradient norm", "each iteration", {}),
)
CHECKS = ("ratio from 1, first minibatch", "engine mismatch")
"""Metrics that must be near zero. They are drawn only if they are not."""


def charts_of(journal: JournalColumns) -> tuple[Chart, ...]:
    """The charts of the most important metrics."""
    return IN_THE_LOOP if journal.in_the_loop else _charts(journal)


def other_charts(journal: JournalColumns) -> tuple[Chart, ...]:
    """A chart for each other metric that is worth one."""
    drawn = {key for chart in charts_of(journal) for key in chart.lines().values()}
    return tuple(Chart(key, key, "each step", {}) for key in keys_of(journal) if key not in drawn)


def range_of(journal: JournalColumns, key: str) -> Healthy | None:
    """The usual range of a metric; of runs that are not in the loop none is known."""
    return HEALTHY.get(key) if journal.in_the_loop else None


def compared_keys(journals: Sequence[JournalColumns]) -> list[str]:
    """Metrics that are compared between runs: held-out metrics, and a few others."""
    keys = list(dict.fromkeys(key for journal in journals for key in keys_of(journal)))
    return [key for key in keys if key.startswith(HELD_OUT)] + [
        key for key in ("score", "loss", "KL to reference", "entropy") if key in keys
    ]


def _charts(journal: JournalColumns) -> tuple[Chart, ...]:
    """The charts of runs without KL to a reference (SFT, reward models and others): every metric that was also measured
    on held-out data, and the loss."""
    keys = keys_of(journal)
    pairs = [key.removeprefix(HELD_OUT) for key in keys if key.startswith(HELD_OUT)]
    # With several loss terms, training and held-out losses have different names.
    own = {name: name if name in keys else f"loss {name}" for name in pairs}
    charts = [
        Chart(name.capitalize(), key, "each step", {"held out": HELD_OUT + name})
        for name, key in own.items()
        if not (name != "loss" and key == "loss")
    ]
    if "loss" not in pairs and "loss" in keys:
        charts.insert(0, Chart("Loss", "loss", "each step", {}))
    return tuple(charts)


def keys_of(journal: JournalColumns) -> list[str]:
    left_out = {"step", "time", *NO_PICTURE}
    return [
        name
        for name in journal.names
        if name not in left_out and not name.startswith(("seconds", "watch ")) and not name.endswith("per second")
    ]
