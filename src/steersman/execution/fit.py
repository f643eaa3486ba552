"""Training on rows: what SFT, reward models and every other method but PPO have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

from torch import nn

from steersman.data.order import epoch_order, steps_per_epoch
from steersman.errors import DataError
from steersman.execution.capacity import card_token_budget
from steersman.execution.context import RunContext
from steersman.execution.ending import Finish
from steersman.execution.learner import learner_of
from steersman.models.compiled import compile_layers
from steersman.models.packed_attention import use_public_attention
from steersman.settings.parts import OptimiserSettings, TrainSettings
from steersman.train.checkpoint import load_checkpoint
from steersman.train.core import Learner
from steersman.train.loop import LoopState, TrainingData, TrainingLength, run_training
from steersman.train.objective import Collate, Objective
from steersman.train.plan import Batching

RowsOfStep = Callable[[int], Sequence[Any]]
"""The rows that a step learns from, by the step's number."""
MEASURE = "loss"
"""The held-out number that decides which weights are best."""


@runtime_checkable
class Rows(Protocol):
    """Rows to learn from and rows held out."""

    @property
    def count(self) -> int: ...
    @property
    def held_out(self) -> Sequence[Any]: ...
    def by_step(self, batch_size: int, seed: int) -> RowsOfStep: ...


@dataclass(frozen=True)
class TrainingRows:
    """Rows that exist before training, each by its index. They are loaded when asked for."""

    count: int
    row: Callable[[int], Any]
    held_out: Sequence[Any]

    def by_step(self, batch_size: int, seed: int) -> RowsOfStep:
        """All rows in each epoch, in a new order."""
        order = lru_cache(maxsize=2)(lambda epoch: epoch_order(self.count, seed, epoch))
        per_epoch = steps_per_epoch(self.count, batch_size)

        def rows(step: int) -> list[Any]:
            epoch, place = divmod(step, per_epoch)
            chosen = order(epoch)[place * batch_size : (place + 1) * batch_size]
            return [self.row(int(i)) for i in chosen]

        return rows


@dataclass(frozen=True)
class RowsMadeByStep:
    """Rows that each step makes with its own weights. An epoch has `count` prompts."""

    count: int
    make: RowsOfStep
    held_out: Sequence[Any]

    def by_step(self, batch_size: int, seed: int) -> RowsOfStep:
        return self.make


@dataclass(frozen=True)
class Task:
    """What is learned: the objective, how rows are collated for it, and numbers derived from the held-out terms.

    One of those numbers is the loss: the lowest decides which weights are best.
    """

    objective: Objective[Any, Any]
    collate: Collate[Any, Any]
    derive: Callable[[Mapping[str, float]], Mapping[str, float]]


@runtime_checkable
class TrainingSettings(Protocol):
    """What the settings of every such method hold."""

    @property
    def optimiser(self) -> OptimiserSettings: ...
    @property
    def train(self) -> TrainSettings: ...


def learn(
    run: RunContext,
    settings: TrainingSettings,
    model: nn.Module,
    rows: Rows,
    task: Task,
    *,
    after_step: Callable[[], None] | None = None,
) -> Finish:
    """Train, from the last checkpoint if there is one. The model ends with the weights to keep.

    `after_step` is called after each optimiser step.
    """
    if rows.count == 0:
        raise DataError("no rows are left to learn from; see the report of rows left out, or raise data.max_length")
    train = settings.train
    per_epoch = steps_per_epoch(rows.count, train.batch_size)
    steps = train.steps or train.epochs * per_epoch
    if run.machine.compiled:
        compile_layers([model])
    if train.attention == "varlen":
        use_public_attention([model])
    learner = learner_of(
        model,
        settings.optimiser,
        Batching(task.collate, _budget(run, model, settings), packed=train.packing),
        steps=steps,
        world=run.world,
        precision=run.machine.precision,
        notice=run.notice,
    )
    if after_step is not None:
        learner.optimiser.register_step_post_hook(lambda *_: after_step())
    memory = _memory(run, learner, train)
    length = TrainingLength(
        steps=steps,
        evaluate_every=train.evaluate_every or max(1, per_epoch // 4),
        checkpoint_every=run.job.run.checkpoint_every,
        patience=train.patience,
        measure=MEASURE,
        higher_is_better=False,
        keep=train.keep,
    )
    data = TrainingData(
        rows_of=rows.by_step(train.batch_size, run.seed),
        held_out=rows.held_out,
        derive=task.derive,
        epoch_of=lambda step: step / per_epoch,
    )
    with run.folder.progress(run.job.kind, steps, done=learner.progress.step, silent=run.job.quiet):
        outcome = run_training(learner, task.objective, data, length, run.folder, memory, run.world)
    return Finish(outcome.ending, outcome.step, outcome.best_step, outcome.held_out)


def _budget(run: RunContext, model: nn.Module, settings: TrainingSettings) -> int:
    layers = (part for part in model.modules() if getattr(part, "gradient_checkpointing", False))
    again = next(layers, None) is not None
    return card_token_budget(run, model, settings.train, settings.optimiser.states, checkpointing=again)


def _memory(run: RunContext, learner: Learner[Any, Any], train: TrainSettings) -> LoopState:
    """The loop's state: new, or from the last checkpoint, which is loaded into the learner too."""
    point = run.folder.resume_point(run.world)
    if point is None:
        return LoopState()
    memory = LoopState(**load_checkpoint(point.path, learner, run.world))
    if memory.best_value is not None and train.keep == "best":
        run.folder.mark_best_again(memory.best_step, MEASURE, memory.best_value)
    return memory
