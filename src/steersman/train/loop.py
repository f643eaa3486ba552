"""The training loop of every method with a fixed set of rows: step, log, evaluate, save checkpoints, stop.

The rows of a step are a pure function of the step number, so the position in the data needs no state. Effects (journal,
checkpoints, stop request) are passed in as a `Keeper`; the loop itself knows no files.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, runtime_checkable

from steersman.errors import ServiceError
from steersman.parallel.world import World
from steersman.train.checkpoint import Snapshot, load_weight_tensors, take_snapshot
from steersman.train.core import Learner, StepReport
from steersman.train.finite import check_result
from steersman.train.objective import BatchT, Objective, UnitT

Ending = Literal["finished", "early", "stopped"]


@runtime_checkable
class Keeper(Protocol):
    """Writes a run's journal and checkpoints. Rank 0 writes; on the other ranks it does nothing."""

    def journal(self, row: Mapping[str, Any]) -> None: ...
    def save(self, step: int, snapshot: Snapshot) -> None: ...
    def save_best(self, step: int, snapshot: Snapshot, measure: str, value: float) -> None: ...
    def best_weights(self, step: int) -> Mapping[str, Any] | None: ...
    def stop_requested(self) -> bool: ...
    def save_due(self) -> bool: ...
    def show(self, step: int, numbers: Mapping[str, float]) -> None: ...


@dataclass(frozen=True)
class TrainingLength:
    """Number of steps, evaluation and checkpoint intervals, and early stopping.

    `measure` names the held-out metric that selects the best checkpoint.
    """

    steps: int
    evaluate_every: int
    checkpoint_every: int
    patience: int | None
    measure: str
    higher_is_better: bool
    keep: Literal["best", "last"]


@dataclass
class LoopState:
    """The loop's state besides the learner's, saved with every checkpoint."""

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
    """How training ended. `best_step` is the step of the model's final weights, `held_out` their held-out metrics."""

    ending: Ending
    step: int
    best_step: int
    held_out: Mapping[str, float]


@dataclass(frozen=True)
class TrainingData(Generic[UnitT]):
    """The rows of each step, the held-out rows, and metrics derived from the held-out terms (perplexity)."""

    rows_of: Callable[[int], Sequence[UnitT]]
    held_out: Sequence[UnitT]
    derive: Callable[[Mapping[str, float]], Mapping[str, float]]
    epoch_of: Callable[[int], float]


def run_training(
    learner: Learner[UnitT, BatchT],
    objective: Objective[UnitT, BatchT],
    data: TrainingData[UnitT],
    length: TrainingLength,
    keeper: Keeper,
    state: LoopState,
    world: World,
) -> Outcome:
    """Train from the learner's present step to the last step, or until early stopping or a stop request."""
    if not state.last_held_out and data.held_out:
        _measure(learner, objective, data, length, keeper, state, world)
    # A run killed between early stopping and saving its model does not train further.
    ending: Ending = "early" if _patience_is_over(state, length) else "finished"
    while ending == "finished" and learner.progress.step < length.steps:
        try:
            rows = data.rows_of(learner.progress.step)
        except ServiceError:
            # Online methods score rows by a service; the weights are unchanged, so the run can be resumed from here.
            keeper.save(learner.progress.step, take_snapshot(learner, state.facts(), world))
            raise
        report = learner.step(rows, objective)
        step = learner.progress.step
        state.tokens += report.tokens
        row = _journal_row(step, data.epoch_of(step), len(rows), report)
        keeper.journal(row)
        keeper.show(step, {"loss": report.loss, "tokens/s": row["tokens per second"], **_shown_held_out(state, length)})
        last = step == length.steps
        if data.held_out and (step % length.evaluate_every == 0 or last):
            _measure(learner, objective, data, length, keeper, state, world)
            if _patience_is_over(state, length):
                ending = "early"
        stopped = world.any(keeper.stop_requested()) and not last and ending == "finished"
        # Rank 0 decides by its clock, and all ranks take the snapshot.
        due = world.any(keeper.save_due())
        if step % length.checkpoint_every == 0 or due or last or stopped or ending == "early":
            keeper.save(step, take_snapshot(learner, state.facts(), world))
        if stopped:
            return Outcome("stopped", step, step, state.last_held_out)
    kept, held_out = (step := learner.progress.step), state.last_held_out
    if length.keep == "best" and state.best_value is not None and state.best_step != step:
        best = keeper.best_weights(state.best_step)
        # Loading is a collective: all ranks load these weights, or none does.
        if not world.any(best is None) and best is not None:
            load_weight_tensors(learner.model, best)
            kept, held_out = state.best_step, state.best_held_out
    check_result(length.measure, held_out.get(length.measure), learner.progress.bad_in_a_row)
    return Outcome(ending, step, kept, held_out)


def _patience_is_over(state: LoopState, length: TrainingLength) -> bool:
    return length.patience is not None and state.measurements_since_best >= length.patience


def _measure(
    learner: Learner[UnitT, BatchT],
    objective: Objective[UnitT, BatchT],
    data: TrainingData[UnitT],
    length: TrainingLength,
    keeper: Keeper,
    state: LoopState,
    world: World,
) -> None:
    metrics = learner.measure(data.held_out, objective)
    metrics = {**metrics, **data.derive(metrics)}
    step, value = learner.progress.step, metrics[length.measure]
    state.last_held_out = metrics
    # NaN or infinity must not become the best: no later value would compare as better than NaN.
    better = math.isfinite(value) and (
        state.best_value is None or (value > state.best_value if length.higher_is_better else value < state.best_value)
    )
    if better:
        state.best_value, state.best_step, state.measurements_since_best = value, step, 0
        state.best_held_out = metrics
    else:
        state.measurements_since_best += 1
    keeper.journal({"step": step, **{f"held-out {name}": number for name, number in metrics.items()}})
    if better and length.keep == "best":
        keeper.save_best(step, take_snapshot(learner, state.facts(), world), length.measure, value)


def _journal_row(step: int, epoch: float, rows: int, report: StepReport) -> dict[str, Any]:
    return {
        "step": step,
        "epoch": epoch,
        "loss": report.loss,
        **({} if len(report.terms) < 2 else {f"loss {name}": value for name, value in report.terms.items()}),
        **report.metrics,
        "gradient norm": report.gradient_norm,
        "learning rate": report.learning_rate,
        "rows": rows,
        "tokens": report.tokens,
        "tokens per second": report.tokens / max(report.seconds, 1e-9),
        "padding share": report.padding_share,
        "seconds": report.seconds,
        "skipped": report.skipped,
    }


def _shown_held_out(state: LoopState, length: TrainingLength) -> dict[str, float]:
    value = state.last_held_out.get(length.measure)
    return {} if value is None else {f"held-out {length.measure}": value}
