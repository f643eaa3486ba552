"""Further prompts in place of those whose answers all score alike: DAPO's dynamic sampling (arXiv 2503.14476, equation
11).

The next prompts of the run's sequence are taken, so every prompt still comes as often as the others. `Memory` counts
those taken, and a resumed run goes on with the same.
"""

from collections.abc import Sequence
from dataclasses import replace

from steersman.methods.ppo.advantage import alike
from steersman.methods.ppo.collect import collect, further_prompts
from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.parts import Parts
from steersman.methods.ppo.records import Sample, Scored
from steersman.methods.ppo.score import score
from steersman.settings.ppo import PpoSettings


def redraw(parts: Parts, settings: PpoSettings, memory: Memory, scored: Sequence[Scored]) -> list[Scored]:
    """The scored answers, and those to further prompts: in each round as many as there are prompts missing."""
    found = list(scored)
    for number in range(settings.advantage.redraws):
        missing = settings.prompts_per_iteration - prompts_to_learn_from(found)
        if missing <= 0:
            break
        prompts = further_prompts(parts.prompts, settings, memory, count=missing)
        memory.redrawn += missing
        asking = replace(parts.asking, purpose=f"{parts.asking.purpose}, redraw {number + 1}")
        samples = collect(prompts, parts.engine, parts.language, asking, iteration=memory.iteration)
        samples = _numbered_from(samples, 1 + max(one.sample.rollout.prompt for one in found))
        found += score(samples, parts.scoring(settings, memory), memory.scale)
    return found


def prompts_to_learn_from(scored: Sequence[Scored]) -> int:
    """How many prompts have answers that do not all score alike."""
    same = dict(zip((one.sample.rollout.prompt for one in scored), alike(scored), strict=True))
    return len(same) - sum(same.values())


def redrawn(scored: Sequence[Scored], settings: PpoSettings) -> dict[str, float]:
    """The journal's number of prompts that were drawn in place of others; empty where none may be."""
    if not settings.advantage.redraws:
        return {}
    prompts = {one.sample.rollout.prompt for one in scored}
    return {"prompts redrawn": float(len(prompts) - settings.prompts_per_iteration)}


def _numbered_from(samples: Sequence[Sample], first: int) -> list[Sample]:
    """The samples with other numbers of their prompts, so that they are groups of their own."""
    return [replace(one, rollout=replace(one.rollout, prompt=one.rollout.prompt + first)) for one in samples]
