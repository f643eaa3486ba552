"""The whole loop on Harbour makes answers that are truly better: the demo's own story, judged by the taste that no
model saw."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import pytest
from forked import run_command

from steersman.assemble.sample import run_sample
from steersman.cli.storyteller import Silent
from steersman.demo.quickstart import run_quickstart
from steersman.demo.story import QuickstartStory
from steersman.harbour.taste import Features, features, true_taste
from steersman.settings.sample import SampleSettings
from steersman.settings.score import SourceSettings

WINDOW = 10
"""Iterations whose answers are taken together (1,280), so that the peak is not the luckiest part of the run: of five
iterations' the mean has an error of .05, and the highest of thirty such means lies a tenth of the gain above the others
by chance alone."""


@dataclass(frozen=True)
class Gained:
    """Two models' answers to the same prompts, in the same order."""

    before: list[Features]
    after: list[Features]

    @property
    def gain(self) -> float:
        was, now = ([seen.taste for seen in model] for model in (self.before, self.after))
        return (statistics.mean(now) - statistics.mean(was)) / statistics.stdev(was)

    @property
    def wins(self) -> float:
        pairs = zip(self.before, self.after, strict=True)
        return statistics.mean(1.0 if b.taste > a.taste else 0.5 if a.taste == b.taste else 0.0 for a, b in pairs)

    @property
    def toxic(self) -> tuple[float, float]:
        return statistics.mean(s.toxic for s in self.before), statistics.mean(s.toxic for s in self.after)


def taste_by_window(samples: Path) -> list[float]:
    """The first iteration's alone, then every window's."""
    tastes: list[list[float]] = []
    for path in sorted(samples.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        tastes.append([true_taste(row["prompt"], row["answer"]) for row in rows])
    windows = [tastes[i : i + WINDOW] for i in range(len(tastes) - WINDOW + 1)]
    return [
        statistics.mean(tastes[0]),
        *(statistics.mean(taste for part in window for taste in part) for window in windows),
    ]


def eight_answers(model: str, out: Path) -> list[Features]:
    """To each held-out prompt, so that luck in sampling is a few hundredths of a deviation."""
    source = SourceSettings(source="harbour:prompts/heldout?count=206")
    run_sample(SampleSettings(model=model, prompts=source, answers=8, max_new_tokens=48, out=str(out)), quiet=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return [
        features(row["prompt"]["messages"][-1]["content"], answer["text"])
        for row in rows
        for answer in row["completions"]
    ]


def told(out: Path, *, seed: int) -> QuickstartStory:
    """By the command, in a process that checks no annotations; then once more, when everything is there already."""
    done = run_command(["quickstart", "--out", str(out), "--seed", str(seed)], timeout=3000)
    assert done.returncode == 0, done.stderr[-3000:]
    return run_quickstart(out, seed=seed, fast=False, quiet=True, reporter=Silent())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_story_makes_answers_truly_better(tmp_path):
    story = told(tmp_path / "story", seed=0)
    _, before, after = story.measured
    found = Gained([a.features for a in before.answers], [a.features for a in after.answers])
    first, *windows = taste_by_window(tmp_path / "story" / "ppo" / "samples")
    base, sft, ppo = (statistics.mean(answer.features.taste for answer in one.answers) for one in story.measured)
    # One answer a prompt says less than eight: the soak holds the bounds that are meant.
    assert base + 0.2 < sft < ppo - 0.2
    assert ppo >= 0.7
    assert found.wins >= 0.6
    assert found.toxic[1] <= found.toxic[0] / 2
    assert statistics.mean(answer.kl for answer in after.answers) <= 10
    assert windows[-1] - first >= 0.8 * (max(windows) - first)
    assert len({features(a.prompt.shown, a.text).form for a in after.answers}) > 5


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_every_seed_makes_answers_truly_better_and_stays_near_its_peak(seed, tmp_path):
    story = told(tmp_path / "story", seed=seed)
    models = {"base": "harbour:base"} | {name: str(tmp_path / "story" / name) for name in ("sft", "ppo")}
    answers = {name: eight_answers(model, tmp_path / f"{name}.jsonl") for name, model in models.items()}
    taught, found = Gained(answers["base"], answers["sft"]), Gained(answers["sft"], answers["ppo"])
    taste = {name: statistics.mean(one.taste for one in seen) for name, seen in answers.items()}
    exaggerated = statistics.mean(one.exaggerated for one in answers["ppo"])
    kl = statistics.mean(answer.kl for answer in story.measured[-1].answers)
    first, *windows = taste_by_window(tmp_path / "story" / "ppo" / "samples")
    print(
        f"\nseed {seed}: true taste {taste}; wins {taught.wins:.3f}, {found.wins:.3f}; toxic {found.toxic[0]:.3f} to "
        f"{found.toxic[1]:.4f}; exaggerated {exaggerated:.4f}; KL {kl:.1f}; end at "
        f"{(windows[-1] - first) / (max(windows) - first):.3f} of the peak's gain"
    )
    assert taste["base"] + 0.3 <= taste["sft"] <= taste["ppo"] - 0.3
    assert taste["ppo"] >= 0.9
    assert taught.wins >= 0.6
    assert found.wins >= 0.65
    assert found.toxic[1] <= 0.01
    assert exaggerated <= 0.03
    assert kl <= 10
    assert windows[-1] - first >= 0.9 * (max(windows) - first)
