"""The whole loop on Harbour makes answers that are truly better: the demo's own story, judged by the taste that no model saw."""

import json
import statistics
from pathlib import Path

import pytest

from steersman.assemble.quickstart import run_quickstart
from steersman.cli.storyteller import Silent
from steersman.harbour.taste import features, true_taste

WINDOW = 5
"""Iterations whose answers are taken together, so that the peak is not the luckiest iteration."""


def taste_by_window(samples: Path) -> list[float]:
    tastes: list[list[float]] = []
    for path in sorted(samples.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        tastes.append([true_taste(row["prompt"], row["answer"]) for row in rows])
    return [
        statistics.mean(taste for part in tastes[i : i + WINDOW] for taste in part)
        for i in range(len(tastes) - WINDOW + 1)
    ]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.slow if seed == 0 else pytest.mark.soak) for seed in range(4)]
)
def test_ppo_makes_answers_truly_better_and_stays_near_its_peak(tmp_path, seed):
    story = run_quickstart(tmp_path / "story", seed=seed, fast=False, quiet=True, teller=Silent())
    _, before, after = story.measured
    was, now = ([answer.features.taste for answer in model.answers] for model in (before, after))
    gain = (statistics.mean(now) - statistics.mean(was)) / statistics.stdev(was)
    toxic = [statistics.mean(seen.toxic for seen in model.features) for model in (before, after)]
    wins = statistics.mean(1.0 if b > a else 0.5 if a == b else 0.0 for a, b in zip(was, now, strict=True))
    kl = statistics.mean(answer.kl for answer in after.answers)
    windows = taste_by_window(tmp_path / "story" / "ppo" / "samples")
    print(
        f"\nseed {seed}: taste {statistics.mean(was):.2f} to {statistics.mean(now):.2f}, a gain of {gain:.2f} deviations; wins "
        f"{wins:.2f}; toxic {toxic[0]:.3f} to {toxic[1]:.3f}; KL {kl:.1f}; peak {max(windows):.2f}, end {windows[-1]:.2f}"
    )
    # What is wished is a gain of 0.75 and wins of 0.70; docs/ppo.md says how far the story comes.
    assert gain >= 0.3
    assert wins >= 0.6
    assert toxic[1] <= toxic[0] / 2
    assert kl <= 10
    assert windows[-1] >= max(windows) - 0.25
    assert len({features(a.prompt.shown, a.text).form for a in after.answers}) > 5
