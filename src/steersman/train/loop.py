"""The outer loop of every method that learns from a fixed set of rows: step, journal, measure, save, stop.

Which rows a step learns from is a pure function of the step's number, so the position in the data needs no state. The loop
is given its effects (journal, store, stop request); it decides nothing about files.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, runtime_checkable

from steersman.errors import ServiceError
from steersman.parallel.world import World
from steersman.train.checkpoint import Snapshot, load_weight_tensors, take_snapshot
from steersman.train.core import Learner, StepReport
from steersman.train.objective import BatchT, Objective, UnitT

Ending = Literal["finished", "early", "stopped"]


@runtime_checkable
class Keeper(Protocol):
    """What keeps a run: its journal and its checkpoints. Process 0 writes; the others keep nothing."""

    def journal(self, row: Mapping[str, Any]) -> None: ...
    def save(self, step: int, snapshot: Snapshot) -> None: ...
    def save_best(self, step: int, snapshot: Snapshot, measure: str, value: float) -> None: ...
    def best_weights(self, step: int) -> Mapping[str, Any] | None: ...
    def stop_requested(self) -> bool: ...
    def show(self, step: int, numbers: Mapping[str, float]) -> None: ...


@dataclass(frozen=True)
class TrainingLength:
    """How far the run goes and when it looks up. `measure` names the held-out number that decides what is best."""

    steps: int
    evaluate_every: int
    checkpoint_every: int
    patience: int | None
    measure: str
    higher_is_better: bool
    keep: Literal["best", "last"]


@dataclass
class Memory:
    """What the loop remembers beyond the core: it is saved with every checkpoint."""

    best_value: float | None = None
    best_step: int = 0
    measurements_since_best: int = 0
    tokens: int = 0
    last_held_out: dict[str, float] = field(default_factory=dict[str, float])
    best_held_out: dict[str, float] = field(default_factory=dict[str, float])

    def facts(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Outcome:
    """`best_step` is the step whose weights the model has at the end, and `held_out` what was measured of those."""

    ending: Ending
    step: int
    best_step: int
    held_out: Mapping[str, float]


@dataclass(frozen=True)
class TrainingData(Generic[UnitT]):
    """What is learned: the rows of a step, the rows held out, and numbers made of the held-out terms (perplexity)."""

    rows_of: Callable[[int], Sequence[UnitT]]
    held_out: Sequence[UnitT]
    derive: Callable[[Mapping[str, float]], Mapping[str, float]]
    epoch_of: Callable[[int], float]


def run_training(
    learner: Learner[UnitT, BatchT],
    objective: Objective[UnitT, BatchT],
    lesson: TrainingData[UnitT],
    course: TrainingLength,
    keeper: Keeper,
    memory: Memory,
    world: World,
) -> Outcome:
    """From the learner's present step to the end of the course, or to the first reason to stop."""
    if not memory.last_held_out and lesson.held_out:
        _measure(learner, objective, lesson, course, keeper, memory, world)
    # A run that was killed after its early end, before its model was saved, does not learn on.
    ending: Ending = "early" if _enough(memory, course) else "finished"
    while ending == "finished" and learner.progress.step < course.steps:
        try:
            rows = lesson.rows_of(learner.progress.step)
        except ServiceError:
            # Rows may be judged by a service as they are made; nothing has changed, and the run can go on from here.
            keeper.save(learner.progress.step, take_snapshot(learner, memory.facts(), world))
            raise
        report = learner.step(rows, objective)
        step = learner.progress.step
        memory.tokens += report.tokens
        row = _journal_row(step, lesson.epoch_of(step), report)
        keeper.journal(row)
        keeper.show(step, {"loss": report.loss, "tokens/s": row["tokens per second"], **_brief(memory, course)})
        last = step == course.steps
        if lesson.held_out and (step % course.evaluate_every == 0 or last):
            _measure(learner, objective, lesson, course, keeper, memory, world)
            if _enough(memory, course):
                ending = "early"
        stopped = world.any(keeper.stop_requested()) and not last and ending == "finished"
        if step % course.checkpoint_every == 0 or last or stopped or ending == "early":
            keeper.save(step, take_snapshot(learner, memory.facts(), world))
        if stopped:
            return Outcome("stopped", step, step, memory.last_held_out)
    kept, held_out = (step := learner.progress.step), memory.last_held_out
    if course.keep == "best" and memory.best_value is not None and memory.best_step != step:
        best = keeper.best_weights(memory.best_step)
        if best is not None:
            load_weight_tensors(learner.model, best)
            kept, held_out = memory.best_step, memory.best_held_out
    return Outcome(ending, step, kept, held_out)


def _enough(memory: Memory, course: TrainingLength) -> bool:
    return course.patience is not None and memory.measurements_since_best >= course.patience


def _measure(
    learner: Learner[UnitT, BatchT],
    objective: Objective[UnitT, BatchT],
    lesson: TrainingData[UnitT],
    course: TrainingLength,
    keeper: Keeper,
    memory: Memory,
    world: World,
) -> None:
    found = learner.measure(lesson.held_out, objective)
    found = {**found, **lesson.derive(found)}
    step, value = learner.progress.step, found[course.measure]
    memory.last_held_out = found
    # What is no number is never the best; nor would any later one be better than it.
    better = math.isfinite(value) and (
        memory.best_value is None
        or (value > memory.best_value if course.higher_is_better else value < memory.best_value)
    )
    if better:
        memory.best_value, memory.best_step, memory.measurements_since_best = value, step, 0
        memory.best_held_out = found
    else:
        memory.measurements_since_best += 1
    keeper.journal({"step": step, **{f"held-out {name}": number for name, number in found.items()}})
    if better and course.keep == "best":
        keeper.save_best(step, take_snapshot(learner, memory.facts(), world), course.measure, value)


def _journal_row(step: int, epoch: float, report: StepReport) -> dict[str, Any]:
    return {
        "step": step,
        "epoch": epoch,
        "loss": report.loss,
        **({} if len(report.terms) < 2 else {f"loss {name}": value for name, value in report.terms.items()}),
        **report.metrics,
        "gradient norm": report.gradient_norm,
        "learning rate": report.learning_rate,
        "tokens": report.tokens,
        "tokens per second": report.tokens / max(report.seconds, 1e-9),
        "padding share": report.padding_share,
        "seconds": report.seconds,
        "skipped": report.skipped,
    }


def _brief(memory: Memory, course: TrainingLength) -> dict[str, float]:
    value = memory.last_held_out.get(course.measure)
    return {} if value is None else {f"held-out {course.measure}": value}
