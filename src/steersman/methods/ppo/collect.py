"""Stage 1: prompts -> samples. The engine answers; nothing is judged yet."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from steersman.data.order import epoch_order
from steersman.methods.ppo.records import Sample
from steersman.records import Prompt
from steersman.reward.scorer import Item
from steersman.rollout.batch import Rollout
from steersman.rollout.engine import Engine, Sampling, TellsOfEach, sample_seed
from steersman.rollout.language import Language
from steersman.settings.ppo import PpoSettings


@dataclass(frozen=True)
class Asking:
    """What is asked of the engine at one point of a run. `purpose` keeps the random numbers of training, evaluation and
    anything else apart."""

    sampling: Sampling
    samples: int
    run_seed: int
    purpose: str


def next_prompts(prompts: Sequence[Prompt], settings: PpoSettings, *, iteration: int) -> list[Prompt]:
    """The prompts that the iteration asks."""
    size, seed = settings.prompts_per_iteration, settings.run.seed
    return [prompts[i] for i in prompts_of_iteration(len(prompts), size, seed=seed, iteration=iteration)]


def prompts_of_iteration(count: int, size: int, *, seed: int, iteration: int) -> list[int]:
    """Which of the prompts an iteration asks: the next ones of an endless row of shuffled epochs. So every iteration is
    equally large, few prompts are asked several times in one, and each comes as often as the others."""
    places = range(iteration * size, (iteration + 1) * size)
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
    """`samples` answers to each prompt. Each answer's seed follows from where it stands in the run, not from its batch.
    `ahead` is told of each answer while others are drawn (`reward.scorer.WorksAhead`)."""
    ids = [tuple(language.encode(prompt)) for prompt in prompts]
    seeds = [
        sample_seed(asking.run_seed, iteration, f"{asking.purpose}/{place}/{prompt.id}", number)
        for place, prompt in enumerate(prompts)
        for number in range(asking.samples)
    ]
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
    """Each answer is told on as soon as it is done, if the engine can and somebody wants to know."""
    if ahead is None or not isinstance(engine, TellsOfEach):
        yield
        return
    engine.on_answer = lambda rollout: ahead([item_of(rollout)])
    try:
        yield
    finally:
        engine.on_answer = None
