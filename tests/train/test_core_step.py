"""One step of the core in numbers worked by hand, and what it does when something is wrong."""

import math
from collections.abc import Mapping
from types import SimpleNamespace

import pytest
import torch
from line import TWO, Line, Point, Squares, line_learner
from torch import nn

from steersman.errors import NotFinite
from steersman.parallel.world import World
from steersman.train import core
from steersman.train.core import BAD_STEPS_IN_A_ROW, out_of_memory
from steersman.train.objective import Sums, Term


def test_a_step_goes_down_the_mean_gradient_of_all_points():
    learner = line_learner()
    report = learner.step(TWO, Squares())
    # see line.py: loss 4, gradient -6, step 0.1
    assert learner.model.get_parameter("weight").item() == pytest.approx(0.6)
    assert (report.loss, dict(report.terms)) == (pytest.approx(4.0), {"square": pytest.approx(4.0)})
    assert report.gradient_norm == pytest.approx(6.0)
    assert report.learning_rate == pytest.approx(0.1)
    assert (report.tokens, report.padding_share, report.skipped) == (2, 0.0, False)
    assert report.seconds > 0
    assert learner.progress.step == 1
    assert learner.model.weight.grad is None, "gradients are not held between steps"


@pytest.mark.parametrize("budget", [1, 2])
def test_gradients_of_the_step_before_do_not_leak_into_the_next(budget: int):
    learner = line_learner(budget=budget)
    learner.step(TWO, Squares())
    learner.model.weight.grad = torch.tensor(100.0)
    learner.step(TWO, Squares())
    # at weight 0.6: mean of 2 (0.6 - 2) 1 = -2.8 and 2 (1.2 - 2) 2 = -3.2 is -3.0, so 0.6 + 0.3
    assert learner.model.get_parameter("weight").item() == pytest.approx(0.9)


class InfiniteSlope(Squares):
    """A loss of 0 whose gradient is infinite: the square root at 0."""

    def __call__(self, model, batch):
        return Sums({"square": Term(model(batch.x).sum().sqrt(), 1.0)}, {})


def test_a_gradient_that_is_not_finite_never_reaches_the_optimiser_though_the_loss_is():
    notices: list[str] = []
    learner = line_learner(notices=notices)
    for count in range(1, BAD_STEPS_IN_A_ROW):
        report = learner.step([Point(1.0, 0.0)], InfiniteSlope())
        assert (report.skipped, report.loss) == (True, 0.0)
        assert not math.isfinite(report.gradient_norm)
        assert learner.progress.bad_in_a_row == count
    assert learner.model.get_parameter("weight").item() == 0.0
    assert learner.progress.step == BAD_STEPS_IN_A_ROW - 1, (
        "a skipped step counts as one, so that its rows are left behind"
    )
    assert notices[0] == "step 1 skipped: loss 0.0, gradient norm inf; the weights are untouched"
    with pytest.raises(NotFinite, match=r"5 steps in a row .*the weights are those of step 0\. Lower"):
        learner.step([Point(1.0, 0.0)], InfiniteSlope())


def test_the_weights_that_a_failing_run_names_are_those_of_its_last_good_step():
    learner = line_learner()
    learner.step(TWO, Squares())
    learner.model.weight.data.zero_()  # pyright: ignore[reportCallIssue]
    for _ in range(BAD_STEPS_IN_A_ROW - 1):
        learner.step([Point(1.0, 0.0)], InfiniteSlope())
    with pytest.raises(NotFinite, match=r"the weights are those of step 1\."):
        learner.step([Point(1.0, 0.0)], InfiniteSlope())


def test_each_group_keeps_its_own_rate_under_the_schedule():
    class TwoLines(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slow, self.fast = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return (self.slow + self.fast) * x

    def two_rates(model):
        return torch.optim.SGD([{"params": [model.slow], "lr": 0.1}, {"params": [model.fast], "lr": 0.2}])

    learner = line_learner(TwoLines(), two_rates, rate_at=lambda step: 0.5)
    report = learner.step(TWO, Squares())
    # each has the gradient -6; half of 0.1 and half of 0.2
    assert learner.model.get_parameter("slow").item() == pytest.approx(0.3)
    assert learner.model.get_parameter("fast").item() == pytest.approx(0.6)
    assert report.learning_rate == pytest.approx(0.05)


class Apart(Squares):
    """A second term that is asked for after the first one's gradients; each is a mean over its own number of things."""

    def weights(self, units):
        return {"square": float(len(units)), "size": 4.0, "nothing": 0.0}

    def __call__(self, model, batch):
        first = super().__call__(model, batch)
        later = Sums({"size": Term(3.0 * model.weight * len(batch.x), 0.5)}, {"points": (float(len(batch.x)), 1.0)})
        nothing = {"nothing": Term(0.0 * model.weight, 1.0)}
        return Sums({**first.terms, **nothing}, first.metrics, lambda: later)


@pytest.mark.parametrize("budget", [1, 100])
def test_terms_that_come_later_are_learned_and_reported_like_the_others(budget: int):
    learner = line_learner(budget=budget)
    learner.model.weight.data.fill_(1.0)  # pyright: ignore[reportCallIssue]
    report = learner.step(TWO, Apart())
    # at weight 1: squares (1 + 0) / 2 = 0.5, gradient (2 (1 - 2) 1 + 0) / 2 = -1
    # size: 3 * 1 * 2 / 4 = 1.5, of which half counts: gradient 0.5 * 3 * 2 / 4 = 0.75; together -0.25
    assert dict(report.terms) == {"square": pytest.approx(0.5), "size": pytest.approx(1.5)}, (
        "a term of nothing is left out"
    )
    assert report.loss == pytest.approx(0.5 + 0.5 * 1.5)
    assert learner.model.get_parameter("weight").item() == pytest.approx(1.025)
    # one pair (points, 1) a micro-batch: two batches of 1, or one of 2
    assert report.metrics == {"points": 1.0 if budget == 1 else 2.0}


def test_a_step_trains_and_a_measurement_does_not():
    learner = line_learner()
    seen: list[tuple[bool, bool]] = []

    class Watching(Squares):
        def __call__(self, model, batch):
            seen.append((model.training, torch.is_grad_enabled()))
            return super().__call__(model, batch)

    found = learner.measure(TWO, Watching())
    learner.step(TWO, Watching())
    assert seen == [(False, False), (True, True)]
    assert found == {"square": pytest.approx(4.0)}


def test_padding_is_counted_as_a_share_of_what_is_computed():
    class Wide(Point):
        @property
        def lengths(self):
            return (3,) if self.x > 1 else (1,)

    class Padded:
        def __init__(self, points):
            self.x, self.y = (torch.tensor([getattr(p, name) for p in points]) for name in "xy")
            self.positions = 3 * len(points)

    learner = line_learner(collate=Padded)
    report = learner.step([Wide(1.0, 2.0), Wide(2.0, 2.0)], Squares())
    # two rows of three places hold 1 + 3 tokens
    assert (report.tokens, report.padding_share) == (4, pytest.approx(1 - 4 / 6))


class Greedy(Squares):
    """Memory for one point at a time."""

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, model, batch):
        if len(batch.x) > self.most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return super().__call__(model, batch)


def test_memory_that_runs_out_halves_the_micro_batch_until_it_fits():
    notices: list[str] = []
    learner = line_learner(budget=5, notices=notices)
    learner.step(TWO, Greedy(1))
    # 5 holds both, so does 2; 1 does not
    assert learner.progress.token_budget == 1
    assert learner.requested_budget == 5
    assert [words.split(";")[0] for words in notices] == [
        "out of memory: micro-batches now hold 2 tokens",
        "out of memory: micro-batches now hold 1 tokens",
    ]
    assert learner.model.get_parameter("weight").item() == pytest.approx(0.6)


def test_a_gpu_gives_its_unused_memory_back_before_the_step_is_repeated(monkeypatch):
    emptied: list[int] = []
    learner = line_learner(budget=2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(learner.progress.token_budget))
    learner.step(TWO, Greedy(1))
    assert emptied == [2]


class Beside(World):
    """One of two processes that work on the same rows; the other has a micro-batch more."""

    def max(self, value: int) -> int:
        return value + 1 if value > 0 else value

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        return {name: value if name.startswith("coefficient") else value / 2 for name, value in values.items()}


def test_a_process_with_fewer_micro_batches_runs_one_that_counts_nothing():
    seen: list[int] = []

    class Counting(Squares):
        def __call__(self, model, batch):
            seen.append(len(batch.x))
            assert len(seen) < 3 or batch.x.tolist() == [1.0], "the first row of the step"
            return super().__call__(model, batch)

    learner = line_learner(budget=1)
    learner._world = Beside(0, 1, torch.device("cpu"), None)
    report = learner.step(TWO, Counting())
    assert seen == [1, 1, 1]
    assert report.gradient_norm == pytest.approx(6.0), "as with the two points alone"
    assert (report.tokens, report.padding_share) == (1, 0.0), "half of two, of each process"


def test_memory_too_small_for_one_point_is_an_error():
    learner = line_learner(budget=4)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        learner.step(TWO, Greedy(0))
    assert learner.progress.token_budget == 1


def test_what_counts_as_out_of_memory():
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(RuntimeError("can't allocate memory: 5 bytes"))
    assert not out_of_memory(RuntimeError("shapes do not match"))


def test_a_model_that_is_learning_is_not_switched_to_it_again():
    class Counting(Line):
        switched = 0

        def train(self, mode=True):
            type(self).switched += mode
            return super().train(mode)

    learner = line_learner(Counting())
    learner.model.eval()
    learner.step(TWO, Squares())
    learner.step(TWO, Squares())
    assert Counting.switched == 1


def test_a_step_s_seconds_are_those_it_took(monkeypatch):
    clock = iter([10.0, 10.5])
    monkeypatch.setattr("steersman.train.core.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert line_learner().step(TWO, Squares()).seconds == 0.5


def test_parameters_that_were_added_without_a_rate_are_noticed():
    learner = line_learner()
    learner.optimiser.add_param_group({"params": [nn.Parameter(torch.zeros(()))]})
    with pytest.raises(ValueError, match="shorter"):
        learner.step(TWO, Squares())


class Shares(Squares):
    """Weights below 1, as those of a few pairs of a long ranking, and a metric of which there is nothing."""

    def weights(self, units):
        return {"square": 0.25 * len(units)}

    def __call__(self, model, batch):
        share = Term(0.25 * (model(batch.x) - batch.y).square().sum(), 1.0)
        return Sums({"square": share}, {"nothing": (0.0, 0.0), "share": (0.125 * len(batch.x), 0.25 * len(batch.x))})


def test_weights_below_one_are_weights_all_the_same():
    learner = line_learner()
    report = learner.step(TWO, Shares())
    assert (report.loss, report.gradient_norm) == (pytest.approx(4.0), pytest.approx(6.0))
    assert report.metrics == {"nothing": 0.0, "share": 0.5}


def test_a_single_token_is_no_padding():
    assert line_learner().step(TWO[:1], Squares()).padding_share == 0.0


def test_a_process_of_several_cannot_make_its_micro_batches_smaller_alone():
    learner = line_learner(budget=4)
    learner._world = World(0, 2, torch.device("cpu"), None)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        learner.step([*TWO, *TWO], Greedy(1))
    assert learner.progress.token_budget == 4


def test_what_was_learned_before_memory_ran_out_is_forgotten_and_its_memory_given_back(monkeypatch):
    gradients: list[object] = []
    monkeypatch.setattr(core, "give_back_memory", lambda: gradients.append(learner.model.get_parameter("weight").grad))

    class SecondFails(Squares):
        """The second micro-batch does not fit; by then the first has left its gradient."""

        calls = 0

        def __call__(self, model, batch):
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
            return super().__call__(model, batch)

    plain, learner = line_learner(budget=2), line_learner(budget=2)
    plain.step([*TWO, *TWO], Squares())
    learner.step([*TWO, *TWO], SecondFails())
    assert learner.model.get_parameter("weight").item() == pytest.approx(plain.model.get_parameter("weight").item())
    assert gradients == [None], "given back once, after the gradients were let go"
