"""Stage 4 by hand: losses, what is counted, when an update ends."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import pytest
import torch
from byhand import experience
from torch import Tensor, nn

from steersman.batches import TokenBatch, TokenRow
from steersman.methods.ppo.records import collate
from steersman.methods.ppo.update import PpoObjective, minibatches, update
from steersman.parallel.world import World
from steersman.settings.policy_update import UpdateSettings
from steersman.settings.prompts import SamplingSettings
from steersman.settings.shaping import KlSettings
from steersman.train.core import Learner, StepReport
from steersman.train.optim import Optimisation
from steersman.train.plan import Batching
from steersman.train.precision import autocast

CPU = torch.device("cpu")
PLAIN_KL = KlSettings()


class Given(nn.Module):
    """Actors whose answers are written down: position t of every answer has the t-th number."""

    def __init__(self, log_probs: Sequence[float], values: Sequence[float], entropies: Sequence[float] = ()) -> None:
        super().__init__()
        self.log_probs = nn.Parameter(torch.tensor(log_probs))
        self.values = nn.Parameter(torch.tensor(values))
        self.entropies = nn.Parameter(torch.tensor(entropies or [0.0] * len(values)))
        self.text = nn.Parameter(torch.tensor(-2.0))

    def policy(self, batch: TokenBatch, *, temperature: float, with_entropy: bool):
        places = torch.cat([torch.arange(int(row.sum())) for row in batch.loss_mask])
        return self.log_probs[places], self.entropies[places] if with_entropy else None, self.values[places]

    def reference(self, batch: TokenBatch, *, temperature: float) -> Tensor:
        raise AssertionError("an update does not ask the reference: its log-probabilities are in the experience")

    def exact_kl(self, batch: TokenBatch, *, temperature: float, top_k: int | None) -> Tensor:
        raise AssertionError("an update takes no exact KL")

    def pretraining(self, batch: TokenBatch) -> Tensor:
        return self.text.expand(int(batch.loss_mask.sum()))


def learner_of(actors: nn.Module, *, budget: int = 10**6, rate: float = 0.0, norm: float = 1e9) -> Learner:
    return Learner(
        actors,
        Optimisation(
            torch.optim.SGD(actors.parameters(), lr=rate or 1e-12), rate_at=lambda step: 1.0, max_grad_norm=norm
        ),
        Batching(lambda units: collate(units, pad_id=0, device=CPU, pad_multiple=1), budget),
        World.alone(),
        precision=autocast("fp32", CPU),
        notice=print,
    )


def objective(kl: KlSettings = PLAIN_KL, **settings) -> PpoObjective:
    return PpoObjective(UpdateSettings(**settings), kl, SamplingSettings(max_new_tokens=8))


def step(actors, units, aim: PpoObjective, **options):
    return learner_of(actors, **options).step(units, aim)


def test_a_value_of_1_23_with_a_return_of_1_87_loses_0_2048():
    # 0.5 * (1.87 - 1.23)^2 = 0.5 * 0.4096
    one = experience(advantages=[0.0], returns=[1.87], values=[1.23], old=[-1.0])
    report = step(Given([-1.0], [1.23]), [one], objective(value_coefficient=0.1, value_clip=None))
    assert report.terms["value"] == pytest.approx(0.2048, abs=1e-6)
    assert report.loss == pytest.approx(0.02048, abs=1e-7)


def test_a_value_that_left_its_old_one_by_more_than_the_clip_is_judged_at_the_clip_if_that_is_worse():
    # old 0, new 1, clip 0.2, return 1: max((1 - 1)^2, (0.2 - 1)^2) / 2 = 0.32
    one = experience(advantages=[0.0], returns=[1.0], values=[0.0], old=[-1.0])
    report = step(Given([-1.0], [1.0]), [one], objective(value_clip=0.2))
    assert report.terms["value"] == pytest.approx(0.32)
    assert report.metrics["value clip fraction"] == 1.0


def test_the_policy_loss_is_the_clipped_one_token_by_token():
    # ratios exp(0.5) = 1.6487 (A = 1, held at 1.2) and exp(-0.5) = 0.6065 (A = -1, held at 0.8), and 1 (A = 0.5)
    # losses -1.2, 0.8, -0.5: mean -0.3
    one = experience(advantages=[1.0, -1.0, 0.5], returns=[0.0] * 3, values=[0.0] * 3, old=[-1.5, -0.5, -1.0])
    report = step(Given([-1.0, -1.0, -1.0], [0.0] * 3), [one], objective())
    assert report.terms["policy"] == pytest.approx(-0.3, abs=1e-6)
    assert report.metrics["clip fraction"] == pytest.approx(2 / 3)
    assert report.metrics["ratio"] == pytest.approx((math.exp(0.5) + math.exp(-0.5) + 1) / 3)
    # with more room upwards only the token that fell is held: losses -1.6487, 0.8, -0.5
    report = step(Given([-1.0, -1.0, -1.0], [0.0] * 3), [one], objective(clip_high=1.0))
    assert report.terms["policy"] == pytest.approx((-math.exp(0.5) + 0.8 - 0.5) / 3, abs=1e-6)


def test_dual_clip_bounds_what_a_bad_token_that_became_likely_may_cost():
    # ratio exp(2) = 7.389 with A = -1 costs 7.389; with dual_clip=3 it costs 3
    one = experience(advantages=[-1.0], returns=[0.0], values=[0.0], old=[-3.0])
    assert step(Given([-1.0], [0.0]), [one], objective()).terms["policy"] == pytest.approx(math.exp(2), rel=1e-6)
    held = step(Given([-1.0], [0.0]), [one], objective(dual_clip=3.0))
    assert held.terms["policy"] == pytest.approx(3.0)
    assert held.metrics["clip fraction"] == 1.0


def test_importance_weights_multiply_the_policy_loss_alone():
    one = experience(advantages=[1.0, 1.0], returns=[1.0, 1.0], values=[0.0] * 2, old=[-1.0] * 2, importance=[2.0, 0.5])
    report = step(Given([-1.0, -1.0], [0.0] * 2), [one], objective(value_clip=None))
    assert report.terms["policy"] == pytest.approx(-(2.0 + 0.5) / 2)
    assert report.terms["value"] == pytest.approx(0.5)


def test_kl_in_the_loss_and_the_entropy_bonus_enter_with_their_coefficients():
    one = experience(advantages=[0.0], returns=[0.0], values=[0.0], old=[-1.0])
    # the reference says -1 too; the policy now says -0.5: k3 = exp(-0.5) - 1 + 0.5 = 0.10653; k2 = 0.125
    for estimator, expected in (("k3", math.exp(-0.5) - 0.5), ("k2", 0.125)):
        kl = KlSettings(loss_coefficient=0.4, loss_estimator=estimator)
        report = step(Given([-0.5], [0.0], [1.5]), [one], objective(kl, entropy_coefficient=0.1))
        assert report.terms["KL in loss"] == pytest.approx(expected, abs=1e-6)
        assert report.loss == pytest.approx(0.4 * expected - 0.1 * 1.5, abs=1e-6)


def three_answers() -> list:
    return [
        experience(advantages=[1.0, 2.0, 3.0], returns=[1.0] * 3, values=[0.0] * 3, old=[-1.0] * 3),
        experience(advantages=[-4.0], returns=[2.0], values=[0.0], old=[-1.0]),
        experience(advantages=[0.5] * 2, returns=[0.0] * 2, values=[0.0] * 2, old=[-1.0] * 2),
    ]


@pytest.mark.parametrize("budget", [1, 6, 10**6])
def test_means_are_over_answer_tokens_whatever_the_padding_and_the_micro_batches(budget):
    # -(1 + 2 + 3 - 4 + 0.5 + 0.5) / 6 = -0.5 at ratio 1; values (0.5 * (1, 1, 1, 4, 0, 0)).mean = 7/12
    actors = Given([-1.0] * 3, [0.0] * 3)
    report = step(actors, three_answers(), objective(value_clip=None), budget=budget)
    assert report.terms["policy"] == pytest.approx(-0.5)
    assert report.terms["value"] == pytest.approx(7 / 12)
    assert report.metrics["ratio"] == pytest.approx(1.0)
    assert report.metrics["clip fraction"] == 0.0


@pytest.mark.parametrize("budget", [1, 6, 10**6])
def test_the_share_of_clipped_values_is_over_tokens_whatever_the_micro_batches(budget):
    # The values of the first answer went from 0 to their return of 1, and are held at 0.2: 3 of 6 tokens.
    actors = Given([-1.0] * 3, [1.0] * 3)
    units = [
        experience(advantages=[0.0] * 3, returns=[1.0] * 3, values=[0.0] * 3, old=[-1.0] * 3),
        experience(advantages=[0.0], returns=[1.0], values=[1.0], old=[-1.0]),
        experience(advantages=[0.0] * 2, returns=[1.0] * 2, values=[1.0] * 2, old=[-1.0] * 2),
    ]
    report = step(actors, units, objective(value_clip=0.2), budget=budget)
    assert report.metrics["value clip fraction"] == pytest.approx(0.5)


def test_the_pretraining_mix_has_a_mean_of_its_own():
    text = TokenRow(torch.tensor([1, 2, 3, 4]), torch.tensor([False, True, True, True]))
    aim = objective(pretraining="texts", pretraining_coefficient=0.5, value_clip=None)
    report = step(Given([-1.0] * 3, [0.0] * 3), [*three_answers(), text, text], aim, budget=1)
    assert report.terms["pretraining"] == pytest.approx(2.0)
    assert report.terms["policy"] == pytest.approx(-0.5)
    assert report.loss == pytest.approx(-0.5 + 0.1 * 7 / 12 + 0.5 * 2.0)


@pytest.mark.parametrize("budget", [1, 10**6])
@pytest.mark.parametrize(
    ("mean_over", "entropy", "kl", "value"),
    [
        # entropies 1 and 3 of one answer and 1 of the other; k2 of log-ratios 0.5, 0.1 and 0.5; values that are off
        # by 1, 0 and 1: halves of their squares
        ("tokens", 5 / 3, (0.125 + 0.005 + 0.125) / 3, 1 / 3),
        ("answers", (2 + 1) / 2, (0.065 + 0.125) / 2, (0.25 + 0.5) / 2),
        # over two answers of 8 tokens at most
        ("constant", 5 / 16, 0.255 / 16, 1 / 16),
    ],
)
def test_every_term_is_a_mean_over_what_was_asked_for(mean_over, entropy, kl, value, budget):
    units = [
        experience(advantages=[0.0] * 2, returns=[1.0, 1.0], values=[0.0, 0.0], old=[-1.0, -1.0]),
        experience(advantages=[0.0], returns=[1.0], values=[0.0], old=[-1.0]),
    ]
    in_loss = KlSettings(loss_coefficient=0.4, loss_estimator="k2")
    aim = objective(in_loss, mean_over=mean_over, entropy_coefficient=0.1, value_clip=None, value_coefficient=0.5)
    report = step(Given([-0.5, -0.9], [0.0, 1.0], [1.0, 3.0]), units, aim, budget=budget)
    found = {name: pytest.approx(number) for name, number in report.terms.items()}
    assert found == {"policy": 0.0, "entropy": -entropy, "KL in loss": kl, "value": value}
    assert report.loss == pytest.approx(-0.1 * entropy + 0.4 * kl + 0.5 * value)


class Apart(nn.Module):
    """The same numbers; the critic is asked alone, when the policy's gradients are there."""

    critic_apart = True
    reference, exact_kl, pretraining = Given.reference, Given.exact_kl, Given.pretraining

    def __init__(self, log_probs: Sequence[float], values: Sequence[float], entropies: Sequence[float]) -> None:
        super().__init__()
        self.log_probs = nn.Parameter(torch.tensor(log_probs))
        self.entropies = nn.Parameter(torch.tensor(entropies))
        self.of_states = nn.Parameter(torch.tensor(values))
        self.had_gradients: list[bool] = []

    def policy(self, batch: TokenBatch, *, temperature: float, with_entropy: bool):
        raise AssertionError("policy and critic would be in memory together")

    def policy_log_probs(self, batch: TokenBatch, *, temperature: float, with_entropy: bool):
        places = torch.cat([torch.arange(int(row.sum())) for row in batch.loss_mask])
        return self.log_probs[places], self.entropies[places] if with_entropy else None

    def values(self, batch: TokenBatch) -> Tensor:
        self.had_gradients.append(self.log_probs.grad is not None)
        return self.of_states[torch.cat([torch.arange(int(row.sum())) for row in batch.loss_mask])]


@pytest.mark.parametrize("budget", [1, 10**6])
def test_a_critic_of_its_own_is_asked_after_the_policy_and_learns_the_same(budget):
    given = ([-1.2, -0.9, -1.0], [0.3, 0.6, 0.9], [1.0, 2.0, 3.0])
    apart, aim = Apart(*given), objective(entropy_coefficient=0.1)
    one = step(apart, three_answers(), aim, budget=budget)
    other = step(Given(*given), three_answers(), aim, budget=budget)
    assert apart.had_gradients == [True] * (3 if budget == 1 else 1)
    assert one.terms == pytest.approx(dict(other.terms))
    assert one.metrics == pytest.approx(dict(other.metrics))
    assert (one.loss, one.gradient_norm) == (pytest.approx(other.loss), pytest.approx(other.gradient_norm))


class Holdable(Given):
    policy_held = False


def test_while_the_policy_is_held_only_the_critic_is_taught_and_everything_is_measured():
    text = TokenRow(torch.tensor([1, 2, 3]), torch.tensor([False, True, True]))
    for actors in (Holdable([-1.0] * 3, [0.0] * 3), Given([-1.0] * 3, [0.0] * 3)):
        aim = PpoObjective(
            UpdateSettings(value_clip=None, value_coefficient=0.5, entropy_coefficient=0.1, pretraining="texts"),
            KlSettings(loss_coefficient=0.4),
            SamplingSettings(max_new_tokens=8),
            policy_held=True,
        )
        report = step(actors, [*three_answers(), text], aim)
        assert report.terms == {"value": pytest.approx(7 / 12)}
        assert report.loss == pytest.approx(0.5 * 7 / 12)
        assert {"ratio", "clip fraction", "KL to old policy"} <= set(report.metrics)
        assert getattr(actors, "policy_held", True)
        freed = step(actors, three_answers(), objective())
        assert "policy" in freed.terms
        assert not getattr(actors, "policy_held", False)


def run_update(actors, aim: PpoObjective, **options):
    learner = learner_of(actors, **options)
    stats = update(learner, three_answers(), aim, seed=0, iteration=0, pretraining=None)
    return learner, stats


@pytest.mark.parametrize("budget", [1, 10**6])
def test_optimiser_steps_are_epochs_times_minibatches_for_every_budget(budget):
    learner, stats = run_update(Given([-1.0] * 3, [0.0] * 3), objective(epochs=5, minibatches=3), budget=budget)
    assert stats.steps == learner.progress.step == 15
    assert not stats.stopped_early
    assert stats.first["ratio from 1"] == 0.0


def test_an_update_ends_early_once_the_policy_has_moved_far_enough():
    aim = objective(epochs=50, minibatches=1, target_kl=0.01)
    learner, stats = run_update(Given([-1.0] * 3, [0.0] * 3), aim, rate=0.1)
    assert stats.stopped_early
    assert 1 < stats.steps == learner.progress.step < 50
    # the last step found the policy beyond the bound, the one before did not
    _, slow = run_update(Given([-1.0] * 3, [0.0] * 3), objective(epochs=stats.steps - 1, minibatches=1), rate=0.1)
    assert slow.metrics["KL to old policy"] < 0.01


def test_a_gradient_is_really_cut_to_max_grad_norm():
    actors = Given([-1.0] * 3, [0.0] * 3)
    before = torch.cat([p.detach().flatten().clone() for p in actors.parameters()])
    report = step(actors, three_answers(), objective(), rate=1.0, norm=0.01)
    moved = torch.cat([p.detach().flatten() for p in actors.parameters()]) - before
    assert report.gradient_norm > 0.1
    assert float(moved.norm()) == pytest.approx(0.01, rel=1e-3)


def test_minibatches_hold_every_answer_once_an_epoch_in_another_order_each_time():
    settings = UpdateSettings(minibatches=4)
    first = minibatches(10, settings, seed=1, iteration=3, epoch=0)
    again = minibatches(10, settings, seed=1, iteration=3, epoch=1)
    assert sorted(chain(*first)) == sorted(chain(*again)) == list(range(10))
    assert sorted(map(len, first)) == [2, 2, 3, 3]
    assert first != again
    assert first == minibatches(10, settings, seed=1, iteration=3, epoch=0)
    assert [len(part) for part in minibatches(2, settings, seed=1, iteration=0, epoch=0)] == [1, 1]


class Moved:
    """A learner whose policy has moved by what was written down for each step."""

    def __init__(self, *moved: float) -> None:
        learner = learner_of(Given([-1.0], [0.0]))
        steps = iter(moved)

        def stepped(units, aim) -> StepReport:
            found = next(steps)
            return StepReport(1.0, {"policy": 1.0}, {"KL to old policy": found}, 2.0, 0.1, 3, 0.5, 0.0, False)

        learner.step = stepped  # type: ignore[method-assign]
        self.learner = learner

    def update(self, **settings):
        one = [experience(advantages=[0.0], returns=[0.0], values=[0.0], old=[-1.0])] * 2
        return update(self.learner, one, objective(**settings), seed=0, iteration=0, pretraining=None)


def test_an_update_ends_after_the_step_that_moved_further_than_the_target_and_not_before():
    # at the target it goes on; 0.1001 is above 0.1, and not above twice 0.1
    stats = Moved(0.05, 0.1, 0.1001, 0.0).update(epochs=2, minibatches=2, target_kl=0.1)
    assert (stats.steps, stats.stopped_early, stats.tokens) == (3, True, 9)
    assert stats.metrics["KL to old policy"] == pytest.approx((0.05 + 0.1 + 0.1001) / 3)
    assert (stats.gradient_norm, stats.learning_rate, stats.padding_share) == (2.0, 0.1, 0.5)
    ended = Moved(0.0, 0.2).update(epochs=5, minibatches=2, target_kl=0.1)
    assert (ended.steps, ended.stopped_early) == (2, True), "a step that ends an epoch ends the update too"
    free = Moved(9.0, 9.0, 9.0, 9.0).update(epochs=2, minibatches=2, target_kl=None)
    assert (free.steps, free.stopped_early) == (4, False)


def test_each_step_gets_the_texts_that_are_due_beside_its_answers():
    seen: list[tuple[int, list[int]]] = []
    learner = learner_of(Given([-1.0], [0.0]))

    def stepped(units, aim) -> StepReport:
        texts = [unit for unit in units if isinstance(unit, TokenRow)]
        seen.append((len(units) - len(texts), [int(text.ids[0]) for text in texts]))
        learner.progress.step += 1
        return StepReport(1.0, {"policy": 1.0}, {"KL to old policy": 0.0}, 2.0, 0.1, 3, 0.5, 0.0, False)

    def due(step: int) -> list[TokenRow]:
        return [TokenRow(torch.tensor([step, 9]), torch.tensor([False, True]))] * 2

    learner.step = stepped  # type: ignore[method-assign]
    update(learner, three_answers(), objective(epochs=2, minibatches=1), seed=0, iteration=0, pretraining=due)
    assert seen == [(3, [0, 0]), (3, [1, 1])]


def test_an_update_over_nothing_takes_no_step():
    stats = update(Moved().learner, [], objective(), seed=0, iteration=0, pretraining=None)
    assert (stats.steps, stats.stopped_early, stats.tokens, stats.learning_rate, dict(stats.terms)) == (
        0,
        False,
        0,
        0.0,
        {},
    )


def test_a_text_that_stands_in_for_none_counts_nothing():
    """Where a process has no text for a step, one takes its place with a weight of 0."""
    text = TokenRow(torch.tensor([1, 2, 3, 4]), torch.tensor([False, True, True, True]))
    batch = replace(collate([text], pad_id=0, device=torch.device("cpu"), pad_multiple=1), texts_count=0.0)
    aim = objective(pretraining="texts", pretraining_coefficient=0.5)
    assert aim(Given([], []), batch).terms["pretraining"].total.item() == 0.0
