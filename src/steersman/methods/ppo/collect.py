"""Stage 1: prompts -> samples. The engine samples the answers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from steersman.data.order import epoch_order
from steersman.methods.ppo.episodes import Playing, play
from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.records import Sample
from steersman.records import Prompt
from steersman.reward.scorer import Item
from steersman.rollout.batch import Rollout
from steersman.rollout.engine import Engine, Sampling, TellsOfEach, sample_seed
from steersman.rollout.language import Language
from steersman.settings.ppo import PpoSettings


@dataclass(frozen=True)
class Asking:
    """How answers are sampled at one point of a run. `purpose` separates the seeds of training from those of
    evaluation."""

    sampling: Sampling
    samples: int
    run_seed: int
    purpose: str
    environment: Playing | None = None


def next_prompts(prompts: Sequence[Prompt], settings: PpoSettings, memory: Memory) -> list[Prompt]:
    """The prompts that the iteration asks."""
    size = settings.prompts_per_iteration
    start = memory.iteration * size + memory.redrawn
    return [prompts[i] for i in prompts_at(len(prompts), range(start, start + size), seed=settings.run.seed)]


def further_prompts(prompts: Sequence[Prompt], settings: PpoSettings, memory: Memory, *, count: int) -> list[Prompt]:
    """The prompts after those of the iteration, for `redraw`."""
    start = (memory.iteration + 1) * settings.prompts_per_iteration + memory.redrawn
    return [prompts[i] for i in prompts_at(len(prompts), range(start, start + count), seed=settings.run.seed)]


def prompts_of_iteration(count: int, size: int, *, seed: int, iteration: int) -> list[int]:
    """The numbers of an iteration's prompts: the next `size` of an endless sequence of shuffled epochs. So all
    iterations have the same size, also with few prompts, and each prompt comes as often as the others."""
    return prompts_at(count, range(iteration * size, (iteration + 1) * size), seed=seed)


def prompts_at(count: int, places: range, *, seed: int) -> list[int]:
    """The numbers of the prompts at these places of the endless sequence."""
    orders = {epoch: epoch_order(count, seed, epoch) for epoch in {place // count for place in places}}
    return [int(orders[place // count][place % count]) for place in places]


def collect(
    prompts: Sequence[Prompt],
    engine: Engine,
    language: Language,
    asking: Asking,
    *,
    iteration: int,
    ahead: Callable[[Sequence[Item]], None] | None = None,
) -> list[Sample]:
    """`asking.samples` answers to each prompt. An answer's seed depends on its place in the run, not on its batch.
    `ahead` is called with each answer while others are sampled (`reward.scorer.WorksAhead`)."""
    ids = [tuple(language.encode(prompt)) for prompt in prompts]
    seeds = [
        sample_seed(asking.run_seed, iteration, f"{asking.purpose}/{place}/{prompt.id}", number)
        for place, prompt in enumerate(prompts)
        for number in range(asking.samples)
    ]
    if asking.environment is not None:
        each = [seeds[place * asking.samples : (place + 1) * asking.samples] for place in range(len(prompts))]
        return play(prompts, engine, language, asking.environment, asking.sampling, each)
    with telling(engine, ahead, lambda rollout: (prompts[rollout.prompt], language.text_of(rollout))):
        rollouts = engine.generate(ids, asking.sampling, samples=asking.samples, seeds=seeds)
    return [
        Sample(prompts[rollout.prompt], rollout, language.text_of(rollout), row)
        for rollout, row in zip(rollouts, rollouts.rows, strict=True)
    ]


@contextmanager
def telling(
    engine: Engine, ahead: Callable[[Sequence[Item]], None] | None, item_of: Callable[[Rollout], Item]
) -> Iterator[None]:
    """Context manager: `ahead` is called with each answer as soon as it is finished, if the engine reports them."""
    if ahead is None or not isinstance(engine, TellsOfEach):
        yield
        return
    engine.on_answer = lambda rollout: ahead([item_of(rollout)])
    try:
        yield
    finally:
        engine.on_answer = None
