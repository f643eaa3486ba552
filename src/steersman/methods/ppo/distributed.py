"""Collecting and scoring in several processes: each rank does its share, and all hold the whole batch afterwards.

Engine and scorer have the interface of those they wrap, so that the loop contains no code for processes. An answer
depends on its seed alone, not on the rank that samples it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from steersman.errors import DataError
from steersman.models.backbone import Backbone
from steersman.parallel.shard import whole
from steersman.parallel.world import World
from steersman.reward.scorer import Item, Score, Scorer
from steersman.rollout.batch import RolloutBatch
from steersman.rollout.engine import Engine, OnToken, Sampling, check_request, seeds_for
from steersman.rollout.native import NativeEngine
from steersman.train.optim import trainable


class SplitEngine:
    """An engine in each process, of which each answers every n-th prompt."""

    def __init__(self, engine: Engine, world: World) -> None:
        self.engine, self._world = engine, world

    @property
    def version(self) -> int:
        return self.engine.version

    def load_weights(self, state: Mapping[str, Tensor], version: int) -> None:
        self.engine.load_weights(state, version)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        samples: int = 1,
        seeds: Sequence[int] | int,
        on_token: OnToken | None = None,
    ) -> RolloutBatch:
        """The answers of all ranks. `on_token` is called with the tokens that this rank samples."""
        check_request(prompts, samples, None, None)
        every = seeds_for(seeds, len(prompts), samples)
        mine = range(self._world.rank, len(prompts), self._world.size)

        def answer() -> bytes:
            if not mine:
                return RolloutBatch.of([]).to_bytes()
            found = self.engine.generate(
                [prompts[i] for i in mine],
                sampling,
                samples=samples,
                seeds=[every[i * samples + number] for i in mine for number in range(samples)],
                on_token=None if on_token is None else _with_global_numbers(on_token, mine),
            )
            return replace(found, prompts=torch.tensor(mine)[found.prompts]).to_bytes()

        return RolloutBatch.joined(map(RolloutBatch.from_bytes, self._world.together("answering", answer)))


class DistributedEngine:
    """Each rank answers every n-th prompt. The native engine inside needs whole weights: it has a copy of the model,
    into which `refresh` gathers the sharded weights of the one that is trained."""

    def __init__(self, engine: NativeEngine, learning: Backbone, world: World) -> None:
        self.engine, self._learning = engine, learning
        self._split = SplitEngine(engine, world)
        self.generate, self.load_weights = self._split.generate, self._split.load_weights

    @property
    def version(self) -> int:
        return self.engine.version

    def refresh(self, version: int) -> None:
        """Gather the trained weights. All ranks call this together."""
        places = self.engine.backbone.hf.state_dict()
        with torch.no_grad():
            # One after the other: a second whole copy would be in memory otherwise.
            for name, parameter in trainable(self._learning.hf):
                places[name].copy_(whole(parameter))
        self.engine.refresh(version)

    def release(self) -> None:
        self.engine.release()


class DistributedScorer:
    """Each rank scores every n-th answer."""

    def __init__(self, scorer: Scorer, world: World) -> None:
        self._scorer, self._world = scorer, world

    @property
    def name(self) -> str:
        return self._scorer.name

    def score(self, items: Sequence[Item]) -> list[Score]:
        mine = items[self._world.rank :: self._world.size]
        parts = self._world.together("scoring", lambda: checked_scores(self._scorer, mine) if mine else [])
        return [parts[i % self._world.size][i // self._world.size] for i in range(len(items))]


def checked_scores(scorer: Scorer, items: Sequence[Item]) -> list[Score]:
    """The scorer's scores, one for each item. `Score` itself refuses numbers that are not finite."""
    found = scorer.score(items)
    if len(found) != len(items):
        raise DataError(
            f"the scorer {scorer.name!r} gave {len(found)} scores for {len(items)} answers; expected one for each, "
            "in their order"
        )
    return found


def _with_global_numbers(on_token: OnToken, mine: Sequence[int]) -> Callable[[int, int, int, float], None]:
    return lambda prompt, sample, token, log_prob: on_token(mine[prompt], sample, token, log_prob)
