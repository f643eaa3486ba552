"""DPO on the enumerable task, by its own objective and the real learner: from exact Bradley-Terry judgements to the
known optimum.

Judgements are soft labels p = sigmoid(r(y) - r(y')), which is what infinitely many people would say. DPO's optimum is
then that of PPO, pi* = ref exp(r / beta) / Z. Where only neighbours are compared, every gap is free to rest where its
own loss is lowest."""

import pytest
import torch
from torch import Tensor
from toy import Problem, Tabular, policy_log_probs, rows_of

from steersman.batches import AnswerGroup, TokenBatch
from steersman.maths.direct_preference import smoothed
from steersman.methods.dpo import DirectPreference, JudgedBatch, JudgedGroup, collate
from steersman.parallel.world import World
from steersman.settings.base import check
from steersman.settings.dpo import DpoSettings
from steersman.train.core import Learner
from steersman.train.optim import Optimisation
from steersman.train.plan import Batching
from steersman.train.precision import autocast

CPU = torch.device("cpu")
EPSILON = 0.1


class Policy(Tabular):
    """A table over prefixes, asked as DPO asks a backbone."""

    def log_probs(self, batch: TokenBatch) -> tuple[Tensor, None]:
        return self.policy(batch, temperature=1.0, with_entropy=False)[0], None


def judged(problem: Problem, first: Tensor, second: Tensor, target: Tensor) -> JudgedGroup:
    """All answers of the task to its one prompt, with these pairs of them."""
    rows = tuple(rows_of(problem))
    none = torch.zeros(0)
    weight = torch.full((len(first),), 1 / len(first))
    group = AnswerGroup(rows, first, second, target.float(), target.float() * 0, weight, none.long(), none)
    steps = problem.reference_logits.log_softmax(-1)[problem.prefix_index(problem.sequences)]
    return JudgedGroup(group, steps.gather(-1, problem.sequences[..., None])[..., 0].reshape(-1))


def learned(problem: Problem, unit: JudgedGroup, *, steps: int, **settings: object) -> Tensor:
    """The log-ratio of every answer to the reference after learning."""
    s = check(DpoSettings, {"model": {"path": "x"}, "data": {"source": "y"}, "run": {"out": "z"}, **settings})
    policy = Policy(problem, critic=False)
    learner: Learner[JudgedGroup, JudgedBatch] = Learner(
        policy,
        Optimisation(
            torch.optim.Adam(policy.parameters(), lr=0.1),
            rate_at=lambda step: (1 - step / steps) ** 2,
            max_grad_norm=1e9,
        ),
        Batching(lambda units: collate(units, pad_id=0, device=CPU), 10**6),
        World.alone(),
        precision=autocast("fp32", CPU),
        notice=print,
    )
    for _ in range(steps):
        learner.step([unit], DirectPreference(s))
    return policy_log_probs(problem, policy) - problem.sequence_log_probs(problem.reference_logits)


@pytest.mark.slow
@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_on_all_exact_pairs_dpo_reaches_the_optimum_of_the_task(beta):
    problem = Problem(4, 3, 0)
    first, second = torch.triu_indices(len(problem.sequences), len(problem.sequences), offset=1)
    target = torch.sigmoid(problem.reward[first] - problem.reward[second])
    ratio = learned(problem, judged(problem, first, second, target), steps=200, beta=beta)
    found = ratio + problem.sequence_log_probs(problem.reference_logits)
    distance = float((found.exp() * (found - problem.optimum(beta)[2])).sum())
    print(f"\nbeta {beta}: KL from the optimum {distance:.2e}")
    assert distance < 0.002
    assert problem.judge(found, beta)[0] >= 0.995 * problem.optimum(beta)[0]


def logit(p: Tensor) -> Tensor:
    return torch.log(p / (1 - p))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dpo", "cdpo", "robust", "ipo"])
def test_every_gap_comes_to_rest_where_its_loss_is_lowest(name):
    problem, beta = Problem(3, 2, 0), 0.5
    first = torch.arange(len(problem.sequences) - 1)
    # beyond one and a half a judgement is so sure that its loss is flat, and rest is far off
    target = torch.sigmoid((problem.reward[first] - problem.reward[first + 1]).clamp(-1.5, 1.5))
    settings: dict[str, object] = {"loss": "dpo" if name == "cdpo" else name, "beta": beta}
    seen = target
    if name in ("cdpo", "robust"):
        settings["label_smoothing"] = EPSILON
    if name == "robust":
        # what is seen of people whose every tenth label is wrong; the correction finds what they meant
        seen = smoothed(target, EPSILON)
    rest = {
        "dpo": logit(target) / beta,
        "cdpo": logit(smoothed(target, EPSILON)) / beta,
        "robust": logit(target) / beta,
        "ipo": (2 * target - 1) / (2 * beta),
    }[name]
    ratio = learned(problem, judged(problem, first, first + 1, seen), steps=350, **settings)
    gaps = ratio[first] - ratio[first + 1]
    assert float((gaps - rest).abs().max()) < 0.02
