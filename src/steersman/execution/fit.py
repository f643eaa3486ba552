"""What SFT, reward models and every other method that learns from a fixed set of rows have in common: units in, a run out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import nn

from steersman.data.order import epoch_order, steps_per_epoch
from steersman.errors import DataError
from steersman.execution.ending import Finish
from steersman.execution.kept import OpenRunFolder
from steersman.execution.learner import learner_of
from steersman.execution.machine import Machine
from steersman.parallel.world import World
from steersman.settings.parts import OptimiserSettings, TrainSettings
from steersman.train.checkpoint import load_checkpoint
from steersman.train.core import Learner
from steersman.train.loop import LoopState, TrainingData, TrainingLength, run_training
from steersman.train.objective import Collate, Objective


@dataclass(frozen=True)
class TrainingRows:
    """The rows to learn from and the rows held out, each by index; nothing is in memory until it is asked for."""

    count: int
    unit: Callable[[int], Any]
    held_out: Sequence[Any]


@dataclass(frozen=True)
class SelectionMetric:
    """Which held-out number decides, and numbers made from the held-out terms."""

    measure: str
    higher_is_better: bool
    derive: Callable[[Mapping[str, float]], Mapping[str, float]]


def learn(
    model: nn.Module,
    material: TrainingRows,
    objective: Objective[Any, Any],
    collate: Collate[Any, Any],
    *,
    optimiser: OptimiserSettings,
    train: TrainSettings,
    seed: int,
    checkpoint_every: int,
    judged: SelectionMetric,
    kept: OpenRunFolder,
    machine: Machine,
    world: World,
    label: str,
    quiet: bool,
    rows_of: Callable[[int], Sequence[Any]] | None = None,
    after_step: Callable[[], None] | None = None,
) -> Finish:
    """The whole course over the material, from its last checkpoint if there is one; the model ends with the weights to keep.
    `rows_of` makes a step's rows where they are not the material's own: of the step's number and the weights at its beginning.
    `after_step` is called whenever the weights have changed."""
    if material.count == 0:
        raise DataError("no rows are left to learn from; see the report of rows left out, or raise data.max_length")
    per_epoch = steps_per_epoch(material.count, train.batch_size)
    steps = train.steps or train.epochs * per_epoch
    learner = learner_of(
        model,
        optimiser,
        steps=steps,
        collate=collate,
        packed=train.packing,
        token_budget=machine.token_budget,
        world=world,
        precision=machine.precision,
        notice=kept.notice,
        compiled=machine.compiled,
    )
    if after_step is not None:
        learner.optimiser.register_step_post_hook(lambda *_: after_step())
    memory = _memory(kept, learner, judged, train, world)
    length = TrainingLength(
        steps=steps,
        evaluate_every=train.evaluate_every or max(1, per_epoch // 4),
        checkpoint_every=checkpoint_every,
        patience=train.patience,
        measure=judged.measure,
        higher_is_better=judged.higher_is_better,
        keep=train.keep,
    )
    data = TrainingData(
        rows_of=rows_of or _rows_of(material, train.batch_size, seed),
        held_out=material.held_out,
        derive=judged.derive,
        epoch_of=lambda step: step / per_epoch,
    )
    with kept.progress(label, steps, done=learner.progress.step, silent=quiet):
        outcome = run_training(learner, objective, data, length, kept, memory, world)
    return Finish(outcome.ending, outcome.step, outcome.best_step, outcome.held_out)


def _memory(
    kept: OpenRunFolder, learner: Learner[Any, Any], judged: SelectionMetric, train: TrainSettings, world: World
) -> LoopState:
    """What the loop remembers: nothing yet, or what the last checkpoint holds, which the learner then goes on from."""
    point = kept.resume_point(world)
    if point is None:
        return LoopState()
    memory = LoopState(**load_checkpoint(point.path, learner, world))
    if memory.best_value is not None and train.keep == "best":
        kept.mark_best_again(memory.best_step, judged.measure, memory.best_value)
    return memory


def _rows_of(material: TrainingRows, batch_size: int, seed: int) -> Callable[[int], list[Any]]:
    order = lru_cache(maxsize=2)(lambda epoch: epoch_order(material.count, seed, epoch))
    per_epoch = steps_per_epoch(material.count, batch_size)

    def rows(step: int) -> list[Any]:
        epoch, place = divmod(step, per_epoch)
        chosen = order(epoch)[place * batch_size : (place + 1) * batch_size]
        return [material.unit(int(i)) for i in chosen]

    return rows
