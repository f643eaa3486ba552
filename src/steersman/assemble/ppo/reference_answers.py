"""Answers of the starting policy, sampled and scored once, for `score.preference_over`.

They are sampled before a checkpoint is loaded, with the starting weights. A run whose file is gone samples the same
answers again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.errors import UsageError
from steersman.execution.context import RunContext
from steersman.methods.ppo.collect import Asking, collect, prompts_of_iteration
from steersman.methods.ppo.distributed import checked_scores as scores_of
from steersman.records import Prompt
from steersman.reward.preference import PreferenceScorer, prompt_key
from steersman.reward.scorer import Scorer
from steersman.rollout.engine import Engine, Sampling
from steersman.rollout.language import Language
from steersman.runs.folder import atomic_write_text
from steersman.settings.ppo import PpoSettings

FILE = "reference-answers.jsonl"
TOGETHER = 256
"""Prompts answered at once."""


@dataclass(frozen=True)
class StartingPolicy:
    """The policy before training, and how it answers."""

    engine: Engine
    language: Language
    sampling: Sampling


def against_reference(
    run: RunContext,
    settings: PpoSettings,
    scorer: Scorer,
    starting: StartingPolicy,
    prompts: Sequence[Prompt],
    held_out: Sequence[Prompt],
) -> Scorer:
    """A scorer that returns the preference over the starting policy's answers."""
    count = settings.score.preference_over
    assert count is not None
    if "conservative" in settings.watch.chosen:
        raise UsageError(
            "watch.action=conservative puts an ensemble's careful score in the place of what is paid, and "
            "score.preference_over pays a preference on another scale; give scorer.belief=pessimistic from the "
            "beginning, or choose another action"
        )
    wanted = {
        prompt_key(prompt): prompt
        for prompt in [*_prompts_to_come(settings, prompts), *held_out[: settings.evaluation.prompts]]
    }
    path = run.path / "scorer" / FILE
    there = run.world.together("reading reference answers", lambda: _read(path) if run.world.first else {})[0]
    if set(wanted) <= set(there):
        return PreferenceScorer(scorer, there)
    run.notice(
        f"drawing {count} answer{'s' if count > 1 else ''} of the starting model to each of {len(wanted):,} prompts, "
        "to compare with"
    )
    asking = Asking(starting.sampling, count, run.seed, "reference")
    rows: list[dict[str, Any]] = []
    keys = list(wanted)
    for start in range(0, len(keys), TOGETHER):
        group = [wanted[key] for key in keys[start : start + TOGETHER]]
        samples = collect(group, starting.engine, starting.language, asking, iteration=0)
        found = scores_of(scorer, [(sample.prompt, sample.text) for sample in samples])
        for key, place in zip(keys[start : start + TOGETHER], range(0, len(samples), count), strict=True):
            mine = range(place, place + count)
            rows.append(
                {
                    "asked": key,
                    "prompt": wanted[key].shown,
                    "answers": [samples[i].text for i in mine],
                    "scores": [found[i].value for i in mine],
                }
            )
    if run.world.first:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return PreferenceScorer(scorer, {row["asked"]: row["scores"] for row in rows})


def _prompts_to_come(settings: PpoSettings, prompts: Sequence[Prompt]) -> Sequence[Prompt]:
    """The prompts of the run's iterations."""
    size = settings.prompts_per_iteration
    if settings.iterations * size >= len(prompts) or settings.advantage.redraws:
        return prompts
    places = {
        place
        for iteration in range(settings.iterations)
        for place in prompts_of_iteration(len(prompts), size, seed=settings.run.seed, iteration=iteration)
    }
    return [prompts[place] for place in sorted(places)]


def _read(path: Path) -> dict[str, list[float]]:
    """The scores by prompt; empty if the file is missing or damaged."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {str(row["asked"]): [float(value) for value in row["scores"]] for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
