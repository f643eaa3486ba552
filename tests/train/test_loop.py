"""The training loop with held-out values written by hand: when it measures, what is best, when it stops."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from line import TWO, Point, Squares, line_learner

from steersman.errors import NotFinite, ServiceError
from steersman.parallel.world import World
from steersman.train.core import StepReport
from steersman.train.loop import LoopState, Outcome, TrainingData, TrainingLength, run_training

NAN = math.nan


class Keeper:
    """Remembers everything; asks for a stop after some step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.rows: list[dict[str, Any]] = []
        self.saved: dict[int, Any] = {}
        self.best: list[tuple[int, str, float]] = []
        self.shown: list[tuple[int, dict[str, float]]] = []
        self.stop_at = stop_at
        self.due_at: set[int] = set()
        self.step = 0

    def journal(self, row: Mapping[str, Any]) -> None:
        self.step = row["step"]
        self.rows.append(dict(row))

    def save(self, step: int, snapshot: Any) -> None:
        self.saved[step] = snapshot

    def save_best(self, step: int, snapshot: Any, measure: str, value: float) -> None:
        self.saved.setdefault(step, snapshot)
        self.best.append((step, measure, value))

    def best_weights(self, step: int) -> Mapping[str, Any] | None:
        return self.saved[step].weights if step in self.saved else None

    def save_due(self) -> bool:
        return self.step in self.due_at

    def stop_requested(self) -> bool:
        return self.stop_at is not None and self.step >= self.stop_at

    def show(self, step: int, numbers: Mapping[str, float]) -> None:
        self.shown.append((step, dict(numbers)))


class Run:
    """A course over two points, whose held-out "value" is what was written down for each measurement."""

    def __init__(
        self, values: Sequence[float], keeper: Keeper | None = None, memory: LoopState | None = None, **course: Any
    ):
        self.values = iter(values)
        self.keeper, self.memory = keeper or Keeper(), memory or LoopState()
        self.learner = line_learner()
        self.asked: list[int] = []
        self.held_out: Sequence[Point] = [Point(1.0, 1.0)]
        usual = {
            "steps": len(values) - 1,
            "evaluate_every": 1,
            "checkpoint_every": 1000,
            "patience": None,
            "measure": "value",
            "higher_is_better": False,
            "keep": "best",
        }
        self.course = TrainingLength(**{**usual, **course})

    def rows_of(self, step: int) -> Sequence[Point]:
        self.asked.append(step)
        return TWO

    def go(self) -> Outcome:
        lesson = TrainingData(
            self.rows_of, self.held_out, lambda found: {"value": next(self.values)}, lambda step: step / 2
        )
        return run_training(self.learner, Squares(), lesson, self.course, self.keeper, self.memory, World.alone())

    @property
    def measured_at(self) -> list[int]:
        return [row["step"] for row in self.keeper.rows if "held-out value" in row]

    @property
    def weight(self) -> float:
        return self.learner.model.get_parameter("weight").item()


def weight_after(steps: int) -> float:
    """The gradient of the two points is 5 w - 6 (at 0: -6; at 0.6: -3), so a step of 0.1 gives w = 0.5 w + 0.6."""
    weight = 0.0
    for _ in range(steps):
        weight = 0.5 * weight + 0.6
    return weight


def test_every_step_is_taken_once_in_order_and_the_best_weights_are_put_back():
    run = Run([5.0, 3.0, 1.0, 2.0])
    assert run.go() == Outcome("finished", 3, 2, run.memory.best_held_out)
    assert run.asked == [0, 1, 2]
    assert run.memory.best_held_out["value"] == 1.0
    assert run.memory.last_held_out["value"] == 2.0
    assert run.keeper.best == [(0, "value", 5.0), (1, "value", 3.0), (2, "value", 1.0)]
    assert run.weight == pytest.approx(weight_after(2))


def test_the_last_weights_are_kept_where_they_were_asked_for():
    run = Run([5.0, 1.0, 2.0], keep="last")
    assert run.go() == Outcome("finished", 2, 2, run.memory.last_held_out)
    assert (run.memory.best_step, run.keeper.best) == (1, [])
    assert run.weight == pytest.approx(weight_after(2))


def test_best_weights_that_are_gone_leave_the_last_ones():
    run = Run([5.0, 1.0, 2.0])
    run.keeper.best_weights = lambda step: None
    assert run.go() == Outcome("finished", 2, 2, run.memory.last_held_out)
    assert run.weight == pytest.approx(weight_after(2))


def test_more_may_be_better_and_as_good_is_not_better():
    run = Run([1.0, 2.0, 2.0, 1.0], higher_is_better=True)
    assert run.go().best_step == 1
    assert (run.memory.best_value, run.memory.measurements_since_best) == (2.0, 2)
    low = Run([2.0, 1.0, 1.0, 3.0])
    assert low.go().best_step == 1
    assert low.memory.measurements_since_best == 2


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("broken", [NAN, math.inf, -math.inf])
def test_what_is_no_number_is_never_the_best(broken: float, higher: bool):
    run = Run([broken, 2.0, broken, broken], higher_is_better=higher)
    assert run.go().best_step == 1
    assert run.memory.best_value == 2.0
    assert run.keeper.best == [(1, "value", 2.0)]


def test_a_run_in_which_nothing_was_a_number_has_not_finished():
    run = Run([NAN, NAN, NAN])
    with pytest.raises(NotFinite, match="their held-out value is nan"):
        run.go()
    assert run.memory.best_value is None
    assert run.memory.measurements_since_best == 3


def test_it_is_measured_at_the_start_every_so_often_and_at_the_end():
    run = Run([9.0, 8.0, 7.0, 6.0], steps=5, evaluate_every=2)
    run.go()
    assert run.measured_at == [0, 2, 4, 5]


def test_without_held_out_rows_nothing_is_measured():
    run = Run([], steps=2)
    run.held_out = []
    assert run.go() == Outcome("finished", 2, 2, {})
    assert run.measured_at == []
    assert list(run.keeper.saved) == [2]


def test_patience_ends_the_run_and_saves_it():
    run = Run([1.0, 2.0, 3.0, 4.0, 5.0], patience=2)
    outcome = run.go()
    assert (outcome.ending, outcome.step, outcome.best_step) == ("early", 2, 0)
    assert 2 in run.keeper.saved
    assert run.asked == [0, 1]
    assert run.weight == 0.0, "the first weights were the best"


def test_one_better_value_renews_the_patience():
    run = Run([3.0, 4.0, 2.0, 4.0, 4.0, 1.0], patience=2)
    outcome = run.go()
    assert (outcome.ending, outcome.step, outcome.best_step) == ("early", 4, 2)


def test_a_run_killed_after_its_early_end_does_not_learn_on():
    memory = LoopState(best_value=1.0, best_step=1, measurements_since_best=2, last_held_out={"value": 3.0})
    run = Run([0.0], memory=memory, patience=2, steps=5)
    run.learner.progress.step = 3
    outcome = run.go()
    assert (outcome.ending, outcome.step, run.asked) == ("early", 3, [])


def test_a_stop_asked_for_at_the_early_end_does_not_undo_it():
    run = Run([1.0, 2.0, 3.0, 4.0], Keeper(stop_at=2), patience=2, steps=9)
    outcome = run.go()
    assert (outcome.ending, outcome.step, outcome.best_step) == ("early", 2, 0)


def test_a_stop_saves_the_step_it_came_at_and_keeps_the_present_weights():
    run = Run([3.0, 1.0, 2.0, 9.0], Keeper(stop_at=2))
    assert run.go() == Outcome("stopped", 2, 2, run.memory.last_held_out)
    assert run.asked == [0, 1]
    assert 2 in run.keeper.saved
    assert run.weight == pytest.approx(weight_after(2))


def test_a_stop_asked_for_at_the_last_step_finds_the_run_finished():
    assert Run([3.0, 2.0, 1.0], Keeper(stop_at=2)).go().ending == "finished"


def test_checkpoints_are_taken_every_so_often_and_at_the_end():
    run = Run([1.0], steps=5, checkpoint_every=2, evaluate_every=1000, keep="last")
    run.held_out = []
    run.go()
    assert list(run.keeper.saved) == [2, 4, 5]
    assert [run.keeper.saved[step].state["step"] for step in (2, 4, 5)] == [2, 4, 5]


def test_checkpoints_are_taken_where_they_are_due_by_time():
    run = Run([1.0], steps=5, checkpoint_every=100, evaluate_every=1000, keep="last")
    run.held_out = []
    run.keeper.due_at = {2, 3}
    run.go()
    assert list(run.keeper.saved) == [2, 3, 5]


def test_a_resumed_run_measures_nothing_twice_and_goes_on_from_its_step():
    first = Run([5.0, 4.0, 3.0], steps=2)
    first.go()
    facts = first.keeper.saved[2].state["facts"]
    again = Run([1.0, 0.5], memory=LoopState(**facts), steps=4)
    again.learner.progress.step = 2
    again.learner.model.load_state_dict(first.learner.model.state_dict())
    outcome = again.go()
    assert (again.asked, again.measured_at, outcome.best_step) == ([2, 3], [3, 4], 4)
    assert again.memory.tokens == 8, "two tokens a step, over both parts of the run"


def test_a_service_that_fails_leaves_the_run_saved_where_it_was():
    run = Run([9.0, 8.0, 7.0, 6.0], steps=3)
    given = run.rows_of

    def failing(step: int) -> Sequence[Point]:
        if step == 1:
            raise ServiceError("nobody answers")
        return given(step)

    run.rows_of = failing  # type: ignore[method-assign]
    with pytest.raises(ServiceError):
        run.go()
    assert run.keeper.saved[1].state["step"] == 1
    assert run.keeper.saved[1].state["facts"]["tokens"] == 2


def test_a_row_of_the_journal_says_what_the_step_did():
    run = Run([5.0, 4.0])
    run.go()
    row = run.keeper.rows[1]
    times = {name: row.pop(name) for name in ("seconds", "tokens per second")}
    assert times["tokens per second"] == pytest.approx(2 / times["seconds"])
    assert row == {
        "step": 1,
        "epoch": 0.5,
        "loss": pytest.approx(4.0),
        "gradient norm": pytest.approx(6.0),
        "learning rate": pytest.approx(0.1),
        "rows": 2,
        "tokens": 2,
        "padding share": 0.0,
        "skipped": False,
    }, "a loss of one term is not written twice"
    # at weight 0.6, on (1, 1): (0.6 - 1)^2
    assert run.keeper.rows[2] == {"step": 1, "held-out square": pytest.approx(0.16), "held-out value": 4.0}


def test_what_is_shown_is_the_loss_the_speed_and_the_last_measurement():
    run = Run([5.0, 4.0, 3.0])
    run.go()
    assert [(step, numbers["held-out value"]) for step, numbers in run.keeper.shown] == [(1, 5.0), (2, 4.0)]
    assert run.keeper.shown[0][1]["loss"] == pytest.approx(4.0)
    bare = Run([], steps=1)
    bare.held_out = []
    bare.go()
    assert set(bare.keeper.shown[0][1]) == {"loss", "tokens/s"}


def test_terms_are_journaled_by_name_where_there_are_several():
    class Two(Squares):
        def weights(self, units):
            return {"square": float(len(units)), "size": 1.0}

        def __call__(self, model, batch):
            from steersman.train.objective import Sums, Term

            return Sums(
                {**super().__call__(model, batch).terms, "size": Term(model.weight + torch.tensor(2.0), 1.0)}, {}
            )

    run = Run([], steps=1)
    lesson = TrainingData(run.rows_of, [], lambda found: {}, lambda step: 0.0)
    run_training(run.learner, Two(), lesson, run.course, run.keeper, run.memory, World.alone())
    row = run.keeper.rows[0]
    assert (row["loss square"], row["loss size"], row["loss"]) == (4.0, 2.0, 6.0)


def test_the_speed_is_in_tokens_a_second_also_of_a_step_that_took_no_time():
    for seconds, speed in ((0.5, 6.0), (0.0, pytest.approx(3e9))):
        run = Run([], steps=1)
        run.held_out = []
        report = StepReport(1.0, {"square": 1.0}, {}, 2.0, 0.1, 3, 0.0, seconds, False)

        def stepped(units, objective, run=run, report=report) -> StepReport:
            run.learner.progress.step += 1
            return report

        run.learner.step = stepped  # type: ignore[method-assign]
        run.go()
        assert run.keeper.rows[0]["tokens per second"] == run.keeper.shown[0][1]["tokens/s"] == speed


def test_a_run_begins_with_nothing_measured_and_nothing_learned():
    assert LoopState().facts() == {
        "best_value": None,
        "best_step": 0,
        "measurements_since_best": 0,
        "tokens": 0,
        "last_held_out": {},
        "best_held_out": {},
    }
