"""XPO and Nash-MD by hand, and Nash-MD's fixed point on a task that can be enumerated."""

import math

import pytest
import torch
from test_online_dpo import sample
from torch import Tensor, nn

from steersman.batches import AnswerGroup, TokenBatch
from steersman.methods.dpo import JudgedGroup, collate
from steersman.methods.online_opponents import Exploratory, NashMirrorDescent, against_opponent
from steersman.parallel.world import World
from steersman.settings.base import check
from steersman.settings.dpo import OnlineDpoSettings
from steersman.train.core import Learner
from steersman.train.optim import Optimisation
from steersman.train.plan import Batching
from steersman.train.precision import autocast

CPU = torch.device("cpu")


def settings(**more: object) -> OnlineDpoSettings:
    needed = {"model": {"path": "m"}, "prompts": {"source": "p"}, "scorer": {"path": "s"}, "run": {"out": "o"}}
    return check(OnlineDpoSettings, {**needed, **more})


class Table(nn.Module):
    """A policy of one token: log-probs of the tokens of each answer, by id."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def log_probs(self, batch: TokenBatch) -> tuple[Tensor, None]:
        return self.logits.log_softmax(-1)[batch.ids[batch.loss_mask]], None


def learner_of(policy: nn.Module, rate: float) -> Learner:
    return Learner(
        policy,
        Optimisation(torch.optim.SGD(policy.parameters(), lr=rate), rate_at=lambda step: 1.0, max_grad_norm=1e9),
        Batching(lambda units: collate(units, pad_id=0, device=CPU), 10**6),
        World.alone(),
        precision=autocast("fp32", CPU),
        notice=print,
    )


def unit(target: float, first: int, second: int, reference: Tensor, weight: float = 1.0) -> JudgedGroup:
    none = torch.zeros(0)
    rows = tuple(
        type(sample(0, 0).row)(torch.tensor([9, token]), torch.tensor([False, True])) for token in (first, second)
    )
    one = torch.tensor([0])
    group = AnswerGroup(
        rows, one, one + 1, torch.tensor([target]), torch.zeros(1), torch.tensor([weight]), none.long(), none
    )
    return JudgedGroup(group, reference[[first, second]])


def test_the_policys_answer_stands_first_and_the_target_is_what_the_judge_says():
    ours, theirs = [sample(i, 0) for i in range(3)], [sample(i, 1) for i in range(3)]
    scores = [1.0, 0.0, 2.0], [0.0, 0.0, 3.0]
    hard, soft = (against_opponent(ours, theirs, *scores, judge) for judge in ("hard", "soft"))
    assert [group.target.item() for group in hard] == [1.0, 0.5, 0.0]
    # sigmoid(1) = 0.731059
    assert [group.target.item() for group in soft] == pytest.approx([0.731059, 0.5, 0.268941], abs=1e-6)
    assert [group.rows[0] is one.row for group, one in zip(hard, ours, strict=True)] == [True] * 3


def test_xpo_by_hand():
    # log p = log 0.5 and log 0.2 now, log 0.25 twice before: gap = log 2 - log 0.8 = 0.916291; DPO at beta 1:
    # log(1 + exp(-0.916291)) = 0.336472; optimism 0.1 * log 0.2 = -0.160944
    now, before = torch.tensor([0.5, 0.2, 0.3]).log(), torch.tensor([0.25, 0.25, 0.5]).log()
    aim = Exploratory(settings(method="xpo", optimism=0.1, beta=1.0))
    report = learner_of(Table(now), 0.0 + 1e-12).step([unit(1.0, 0, 1, before)], aim)
    assert report.terms["preference"] == pytest.approx(math.log(1 + 0.4), abs=1e-6)
    assert report.terms["optimism"] == pytest.approx(math.log(0.2), abs=1e-6)
    assert report.loss == pytest.approx(0.336472 - 0.160944, abs=1e-5)


def test_nash_md_by_hand():
    # lead = 0.8 - 0.5 - 0.1 * log(0.5 / 0.25) = 0.230685; loss = -lead * log 0.5 = 0.159899
    now, before = torch.tensor([0.5, 0.2, 0.3]).log(), torch.tensor([0.25, 0.25, 0.5]).log()
    report = learner_of(Table(now), 1e-12).step(
        [unit(0.8, 0, 1, before)], NashMirrorDescent(settings(method="nash_md", beta=0.1))
    )
    assert report.loss == pytest.approx(0.159899, abs=1e-6)
    assert report.metrics["preferred to opponent"] == pytest.approx(0.8)


def test_nash_md_comes_to_rest_at_the_equilibrium_of_its_game():
    """The preference is no ladder: 0 beats 1, 1 beats 2, 2 beats 0, so no reward explains it. At rest
    policy(y) = reference(y) exp(P(y beats the mixture) / beta) / Z."""
    reference = torch.tensor([0.6, 0.3, 0.1]).log()
    beats = torch.tensor([[0.5, 0.9, 0.2], [0.1, 0.5, 0.95], [0.8, 0.05, 0.5]])
    beta, share = 0.4, 0.3
    policy = Table(reference.clone())
    learner, aim = learner_of(policy, 0.5), NashMirrorDescent(settings(method="nash_md", beta=beta))

    def mixture() -> Tensor:
        now = policy.logits.detach().log_softmax(-1)
        return ((1 - share) * now + share * reference).softmax(-1)

    for _ in range(300):
        now, opponent = policy.logits.detach().softmax(-1), mixture()
        # all pairs, each as often as policy and mixture would draw it
        units = [
            unit(float(beats[y, z]), y, z, reference, float(now[y] * opponent[z])) for y in range(3) for z in range(3)
        ]
        learner.step(units, aim)
    rest = (reference + beats @ mixture() / beta).softmax(-1)
    found = policy.logits.detach().softmax(-1)
    assert found.tolist() == pytest.approx(rest.tolist(), abs=2e-3)
    assert float((found - reference.exp()).abs().max()) > 0.05


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"optimism": 0.1}, "optimism=0.1 has no effect with method=online_dpo"),
        ({"method": "xpo", "mixture": 0.1}, "mixture=0.1 has no effect with method=xpo"),
        ({"method": "nash_md", "loss": "ipo"}, "loss=ipo has no effect with method=nash_md"),
        ({"method": "xpo", "samples_per_prompt": 4}, "samples_per_prompt=4; leave it at 2"),
    ],
)
def test_settings_of_another_method_are_refused(more, message):
    from steersman.errors import UsageError

    with pytest.raises(UsageError, match=message):
        settings(**more)


def test_the_margin_is_how_far_apart_the_scores_are_whoever_leads():
    ours, theirs = [sample(i, 0) for i in range(2)], [sample(i, 1) for i in range(2)]
    groups = against_opponent(ours, theirs, [1.0, 0.0], [0.5, 2.0], "soft")
    assert [group.margin.item() for group in groups] == [0.5, 2.0]
