"""Everything that PPO's loop is given: models, engine, scorer, learner, prompts, and what keeps the run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from steersman.batches import TokenRow
from steersman.methods.ppo.collect import Asking
from steersman.methods.ppo.forward import ForwardSetup
from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.records import ExperienceBatch, Unit
from steersman.methods.ppo.roles import Actors
from steersman.methods.ppo.score import Scoring
from steersman.methods.ppo.watched import Watch
from steersman.parallel.world import World
from steersman.records import Prompt
from steersman.reward.scorer import Scorer
from steersman.rollout.engine import Engine
from steersman.rollout.language import Language
from steersman.settings.ppo import PpoSettings
from steersman.train.checkpoint import Snapshot
from steersman.train.core import Learner


@runtime_checkable
class PpoKeeper(Protocol):
    """What writes the run to disk: journal, checkpoints, samples (compare `train.loop.Keeper`)."""

    def journal(self, row: Mapping[str, Any]) -> None: ...
    def save(self, step: int, snapshot: Snapshot) -> None: ...
    def save_best(self, step: int, snapshot: Snapshot, measure: str, value: float) -> None: ...
    def save_believed(self, step: int, snapshot: Snapshot) -> None:
        """Keep these weights until the watch believes others to be better."""
        ...

    def mark_best_again(self, step: int, measure: str, value: float) -> None: ...
    def best_weights(self, step: int) -> Mapping[str, Any] | None: ...
    def stop_requested(self) -> bool: ...
    def save_due(self) -> bool: ...
    def show(self, step: int, numbers: Mapping[str, float]) -> None: ...
    def notice(self, words: str) -> None: ...
    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def held_out_answers(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def findings(self, rows: Sequence[Mapping[str, Any]]) -> None: ...


@dataclass(frozen=True)
class Parts:
    """Everything that the loop is given. Each part may be replaced."""

    actors: Actors
    engine: Engine
    scorer: Scorer
    language: Language
    learner: Learner[Unit, ExperienceBatch]
    forward: ForwardSetup
    prompts: Sequence[Prompt]
    held_out: Sequence[Prompt]
    pretraining: Callable[[int], Sequence[TokenRow]] | None
    asking: Asking
    keeper: PpoKeeper
    world: World
    watch: Watch | None = None

    def scoring(self, settings: PpoSettings, memory: Memory) -> Scoring:
        """How answers are scored now; the watch may have made the scorer more conservative."""
        return Scoring(
            scorer=self.scorer if self.watch is None else self.watch.paying(self.scorer, memory.watch),
            actors=self.actors,
            language=self.language,
            forward=self.forward,
            settings=settings.score,
            kl=settings.kl,
            longest=settings.sampling.max_new_tokens,
        )
