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
from steersman.harbour.taste import Features, features
from steersman.settings.sample import SampleSettings
from steersman.settings.score import SourceSettings


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
    _, before, _, after = story.measured
    found = Gained([a.features for a in before.answers], [a.features for a in after.answers])
    base, sft, first, second = (statistics.mean(seen.taste for seen in one.features) for one in story.measured)
    # Two answers a prompt say less than eight: the soak holds the bounds that are meant.
    assert base + 0.2 < sft < first - 0.1
    assert second > sft + 0.2
    assert story.by_round[0].promoted
    assert story.by_round[1].promoted or "kept the last policy, because" in story.by_round[1].reason
    assert found.wins >= 0.6
    assert found.toxic[1] <= found.toxic[0] / 2
    assert statistics.mean(answer.kl for answer in after.answers) <= 10
    assert len({features(a.prompt.shown, a.text).form for a in after.answers}) > 5


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_every_seed_makes_answers_truly_better(seed, tmp_path):
    story = told(tmp_path / "story", seed=seed)
    models = {one.name: one.path for one in story.measured} | {"last": str(story.policy)}
    answers = {name: eight_answers(model, tmp_path / f"{name}.jsonl") for name, model in models.items()}
    taught, found = Gained(answers["base"], answers["SFT"]), Gained(answers["SFT"], answers["last"])
    taste = {name: statistics.mean(one.taste for one in seen) for name, seen in answers.items()}
    exaggerated = statistics.mean(one.exaggerated for one in answers["last"])
    kl = statistics.mean(answer.kl for answer in story.measured[-1].answers)
    print(
        f"\nseed {seed}: true taste {taste}; wins {taught.wins:.3f}, {found.wins:.3f}; toxic {found.toxic[0]:.3f} to "
        f"{found.toxic[1]:.4f}; exaggerated {exaggerated:.4f}; KL {kl:.1f}; "
        f"promoted {[row.promoted for row in story.by_round]}"
    )
    assert taste["base"] + 0.3 <= taste["SFT"] <= taste["round 1"] - 0.1
    assert taste["last"] >= 0.9
    assert taught.wins >= 0.55
    assert found.wins >= 0.65
    assert found.toxic[1] <= 0.01
    assert exaggerated <= 0.03
    assert kl <= 10
