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


def optimum_under(problem: Problem, name: str, beta: float) -> Tensor:
    """log u of the policy that maximises E[r] - beta D_f(policy || reference).

    There f'(u) = (r - shift) / beta, and the shift makes the policy a distribution.
    """
    reference = problem.sequence_log_probs(problem.reference_logits).exp()

    def ratios(shift: float) -> Tensor:
        s = (problem.reward - shift) / beta
        if name == "jensen_shannon":  # log(2 u / (1 + u)) = s, which is below log 2
            return torch.where(s < 0.6931, s.exp() / (2 - s.exp()), torch.inf)
        alpha = 1.0 if name == "forward_kl" else 0.5
        base = 1 - alpha * s
        return torch.where(base > 0, base, 0) ** (-1 / alpha)

    low, high = float(problem.reward.min()) - 10 * beta, float(problem.reward.max()) + 10 * beta
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if float((reference * ratios(middle)).sum()) > 1 else (low, middle)
    return ratios(high).log()


@pytest.mark.slow
@pytest.mark.parametrize("divergence", ["forward_kl", "jensen_shannon", "alpha"])
def test_f_dpo_reaches_the_optimum_of_its_own_divergence(divergence):
    problem, beta = Problem(3, 2, 0), 1.0
    first, second = torch.triu_indices(len(problem.sequences), len(problem.sequences), offset=1)
    target = torch.sigmoid(problem.reward[first] - problem.reward[second])
    best = optimum_under(problem, divergence, beta)
    assert float((problem.sequence_log_probs(problem.reference_logits) + best).exp().sum()) == pytest.approx(1)
    ratio = learned(problem, judged(problem, first, second, target), steps=400, beta=beta, divergence=divergence)
    print(f"\n{divergence}: largest difference of log-ratios {float((ratio - best).abs().max()):.4f}")
    assert float((ratio - best).abs().max()) < 0.05
    plain = problem.optimum(beta)[2] - problem.sequence_log_probs(problem.reference_logits)
    assert float((best - plain).abs().max()) > 0.2, "which is not the optimum under the reverse KL"


@pytest.mark.parametrize(("loss", "better"), [("apo_zero", 1), ("apo_down", -1)])
def test_apo_says_which_way_each_answer_moves(loss, better):
    problem = Problem(3, 2, 0)
    order = problem.reward.argsort(descending=True)
    unit = judged(problem, order[:1], order[-1:], torch.ones(1))
    ratio = learned(problem, unit, steps=25, beta=0.5, loss=loss)
    up, down = float(ratio[order[0]]), float(ratio[order[-1]])
    assert up * better > 0 > down
    assert up > down + 0.5
