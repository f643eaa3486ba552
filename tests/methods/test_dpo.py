"""The direct-preference objectives against a loop that one would write on a board, through the real learner and a real
model."""

import math
from collections.abc import Sequence
from functools import partial

import pytest
import torch
from onestep import Learned, one_step
from torch import Tensor

from steersman.batches import AnswerGroup, TokenRow
from steersman.methods.dpo import DirectPreference, JudgedGroup, KahnemanTversky, approved_answers, collate
from steersman.models.backbone import Backbone
from steersman.models.loading import load_causal
from steersman.models.tiny import write_tiny_model
from steersman.settings.base import check
from steersman.settings.dpo import DpoSettings

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("dpo") / "llama", "llama", hidden=16)


@pytest.fixture
def model(folder) -> Backbone:
    return load_causal(folder, dtype=torch.float32, device=CPU).double()


def settings(**more: object) -> DpoSettings:
    return check(DpoSettings, {"model": {"path": "x"}, "data": {"source": "y"}, "run": {"out": "z"}, **more})


def row(generator: torch.Generator, prompt: int, answer: int) -> TokenRow:
    ids = torch.randint(5, 300, (prompt + answer,), generator=generator)
    return TokenRow(ids, torch.arange(prompt + answer) >= prompt)


def unit(
    seed: int, answers: Sequence[int], pairs: Sequence[tuple[int, int, float, float]], thumbs: Sequence[float] = ()
):
    generator = torch.Generator().manual_seed(seed)
    rows = tuple(row(generator, 3, n) for n in answers)
    first, second, target, margin = zip(*pairs, strict=True) if pairs else ((), (), (), ())
    group = AnswerGroup(
        rows,
        torch.tensor(first, dtype=torch.long),
        torch.tensor(second, dtype=torch.long),
        torch.tensor(target, dtype=torch.float32),
        torch.tensor(margin, dtype=torch.float32),
        torch.full((len(pairs),), 1 / max(1, len(pairs))),
        torch.zeros(len(thumbs), dtype=torch.long),
        torch.tensor(thumbs, dtype=torch.float32),
    )
    reference = -torch.rand(sum(answers), generator=generator, dtype=torch.float64) * 6
    mismatched = (row(generator, 3, 4), float(-torch.rand(1, generator=generator)) * 20)
    return JudgedGroup(group, reference, mismatched)


UNITS = [
    unit(1, (5, 9), [(0, 1, 1.0, 2.0)]),
    unit(2, (4, 2), [(0, 1, 0.0, 0.0)]),
    unit(3, (6, 6), [(0, 1, 0.5, 0.0)]),
    unit(4, (3, 7), [(0, 1, 0.8, 1.0)]),
    unit(5, (4, 8, 3), [(0, 1, 1.0, 0.0), (0, 2, 0.5, 0.0), (1, 2, 0.0, 0.0)]),
]


def token_log_probs(model: Backbone, one: TokenRow) -> Tensor:
    """By transformers' own logits, one row, no padding."""
    logits = model.hf(input_ids=one.ids[None]).logits[0, :-1].log_softmax(-1)
    each = logits.gather(1, one.ids[1:, None]).squeeze(1)
    return each[one.loss_mask[1:]]


def log_sigmoid(x: Tensor) -> Tensor:
    return -torch.log(1 + torch.exp(-x))


def plain_pair_loss(
    s: DpoSettings, policy: list[Tensor], reference: list[Tensor], target: float, margin: float
) -> Tensor:
    """One pair's loss, spelled out; a soft label weighs both outcomes."""
    total = torch.zeros((), dtype=torch.float64)
    share = target if s.loss == "robust" else target * (1 - s.label_smoothing) + (1 - target) * s.label_smoothing
    for (won, lost), weight in (((0, 1), share), ((1, 0), 1 - share)):
        if s.loss in ("simpo", "orpo"):
            value = [p.mean() for p in policy]
        elif s.length == "mean":
            value = [(p - r).mean() for p, r in zip(policy, reference, strict=True)]
        elif s.length == "desensitised":
            shared = min(map(len, policy))
            value = [
                (p - r)[:shared].sum() + s.alpha * (p - r)[shared:].sum()
                for p, r in zip(policy, reference, strict=True)
            ]
        else:
            value = [(p - r).sum() for p, r in zip(policy, reference, strict=True)]
        if s.divergence != "reverse_kl":
            value = [plain_implicit_reward(s, v.exp()) for v in value]
        gap = value[won] - value[lost]
        if s.loss == "dpo":
            loss = -log_sigmoid(s.beta * gap - (margin if s.use_margin else 0))
        elif s.loss == "robust":
            e = s.label_smoothing
            loss = (-(1 - e) * log_sigmoid(s.beta * gap) + e * log_sigmoid(-s.beta * gap)) / (1 - 2 * e)
        elif s.loss == "ipo":
            loss = (gap - 1 / (2 * s.beta)) ** 2
        elif s.loss == "hinge":
            loss = torch.clamp(1 - s.beta * gap, min=0)
        elif s.loss == "apo_zero":
            loss = 1 - torch.sigmoid(s.beta * value[won]) + torch.sigmoid(s.beta * value[lost])
        elif s.loss == "apo_down":
            loss = torch.sigmoid(s.beta * value[won]) + 1 - torch.sigmoid(s.beta * gap)
        elif s.loss == "simpo":
            loss = -log_sigmoid(s.beta * gap - s.gamma)
        else:
            odds = [v.exp() / (1 - v.exp()) for v in value]
            loss = -log_sigmoid(torch.log(odds[won] / odds[lost]))
        total = total + weight * loss
    return total


def plain_implicit_reward(s: DpoSettings, u: Tensor) -> Tensor:
    """f'(u) of the divergence."""
    if s.divergence == "jensen_shannon":
        return torch.log(2 * u / (1 + u))
    return -1 / u if s.divergence == "forward_kl" else (1 - u**-s.divergence_alpha) / s.divergence_alpha


def plain_loss(s: DpoSettings, model: Backbone, units: Sequence[JudgedGroup]) -> Tensor:
    preference, words = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    weight = tokens = 0.0
    for each in units:
        policy = [token_log_probs(model, one) for one in each.group.rows]
        reference = list(each.reference.split([len(p) for p in policy]))
        better: set[int] = set()
        for k in range(len(each.group.first)):
            i, j, target = int(each.group.first[k]), int(each.group.second[k]), float(each.group.target[k])
            counts = float(each.group.weight[k])
            loss = plain_pair_loss(
                s, [policy[i], policy[j]], [reference[i], reference[j]], target, float(each.group.margin[k])
            )
            preference, weight = preference + counts * loss, weight + counts
            better |= {i} if target > 0.5 else {j} if target < 0.5 else set()
        words = words - sum((policy[i].sum() for i in better), torch.zeros(()))
        tokens += sum(len(policy[i]) for i in better)
    likelihood = s.likelihood or float(s.loss == "orpo")
    return preference / weight * (s.odds if s.loss == "orpo" else 1) + likelihood * words / tokens


def learned(model: Backbone, units: Sequence[JudgedGroup], objective, *, budget: int = 10**6) -> Learned:
    return one_step(model, units, objective, partial(collate, pad_id=1, device=CPU), budget=budget)


VARIANTS = {
    "dpo": {},
    "margins": {"use_margin": True},
    "cdpo": {"label_smoothing": 0.1},
    "robust": {"loss": "robust", "label_smoothing": 0.1},
    "ipo": {"loss": "ipo"},
    "hinge": {"loss": "hinge"},
    "apo_zero": {"loss": "apo_zero", "label_smoothing": 0.1},
    "apo_down": {"loss": "apo_down", "length": "mean"},
    "jensen-shannon": {"divergence": "jensen_shannon", "length": "mean"},
    "alpha": {"divergence": "alpha", "divergence_alpha": 0.3, "loss": "ipo", "length": "mean"},
    "forward KL": {"divergence": "forward_kl", "length": "mean"},
    "simpo": {"loss": "simpo", "beta": 2.0},
    "orpo": {"loss": "orpo"},
    "rpo": {"likelihood": 0.7},
    "length-normalised": {"length": "mean", "beta": 1.0},
    "length-desensitised": {"length": "desensitised", "alpha": 0.3},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_loss_and_gradients_are_those_of_a_plain_loop_whatever_the_micro_batches(model, name):
    s = settings(**VARIANTS[name])
    slow = plain_loss(s, model, UNITS)
    model.zero_grad()
    slow.backward()
    wanted = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    largest = max(float(g.abs().max()) for g in wanted.values())
    assert largest > 1e-4, "the test would compare zeros"
    for budget in (10**6, 20):
        found = learned(model, UNITS, DirectPreference(s), budget=budget)
        loss, gradients = found.loss, found.gradients
        assert loss == pytest.approx(float(slow.detach()), rel=1e-6)
        for n, gradient in wanted.items():
            assert float((gradients[n] - gradient).abs().max()) <= 1e-6 * largest, n


def test_accuracy_and_margin_are_counted_over_decided_pairs(model):
    learner_sums = DirectPreference(settings())(model, collate(UNITS[:3], pad_id=1, device=CPU))
    gaps = []
    for each in UNITS[:2]:
        policy = [float(token_log_probs(model, one).detach().sum()) for one in each.group.rows]
        reference = [float(r.sum()) for r in each.reference.split([one.targets for one in each.group.rows])]
        gaps.append((policy[0] - reference[0]) - (policy[1] - reference[1]))
    right = (gaps[0] > 0) + (gaps[1] < 0)
    assert learner_sums.metrics["accuracy"] == (right, 2.0)
    assert learner_sums.metrics["margin"][0] == pytest.approx(0.1 * (gaps[0] - gaps[1]), rel=1e-6)


def told(group: AnswerGroup) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    answers, liked = approved_answers(group)
    return tuple(answers.tolist()), tuple(liked.tolist())


def test_kto_is_a_plain_loop_with_the_baseline_of_the_whole_batch(model):
    s = settings(loss="kto", undesirable_weight=1.5)
    units = [*UNITS[:4], unit(7, (5,), [], thumbs=(1.0,)), unit(8, (6,), [], thumbs=(0.0,))]
    strange = [
        float(token_log_probs(model, u.mismatched[0]).detach().sum()) - u.mismatched[1] for u in units if u.mismatched
    ]
    z = max(0.0, sum(strange) / len(strange))
    total, count = torch.zeros((), dtype=torch.float64), 0
    for each in units:
        policy = [token_log_probs(model, one).sum() for one in each.group.rows]
        reference = [r.sum() for r in each.reference.split([one.targets for one in each.group.rows])]
        for answer, liked in zip(*told(each.group), strict=True):
            lead = s.beta * (policy[answer] - reference[answer] - z)
            total = total + (1 - torch.sigmoid(lead) if liked else 1.5 * (1 - torch.sigmoid(-lead)))
            count += 1
    model.zero_grad()
    (total / count).backward()
    wanted = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    def baseline(seen: Sequence[JudgedGroup]) -> float:
        assert len(seen) == len(units)
        return sum(strange) / len(strange)

    for budget in (10**6, 20):
        found = learned(model, units, KahnemanTversky(s, baseline), budget=budget)
        loss, gradients = found.loss, found.gradients
        assert loss == pytest.approx(float(total.detach()) / count, rel=1e-6)
        largest = max(float(g.abs().max()) for g in wanted.values())
        assert all(float((gradients[n] - g).abs().max()) <= 1e-6 * largest for n, g in wanted.items())


def test_of_a_pair_kto_learns_one_up_and_one_down_and_of_a_tie_nothing():
    assert told(UNITS[0].group) == ((0, 1), (True, False))
    assert told(UNITS[1].group) == ((0, 1), (False, True))
    assert told(UNITS[2].group) == ((), ())
    assert told(unit(8, (6,), [], thumbs=(0.0,)).group) == ((0,), (False,))


@pytest.mark.parametrize(("loss", "smoothing"), [("dpo", 0.0), ("dpo", 0.2), ("ipo", 0.0)])
def test_on_exact_preferences_the_policy_comes_to_its_fixed_point(loss, smoothing):
    """Every pair of 6 answers, labelled by Bradley-Terry on known rewards (a soft label is its expectation). DPO's
    optimum is reference * exp(reward / beta); with smoothing or IPO every gap rests where its own loss is lowest, as
    far as 6 logits can fit 15 gaps: for these we check the gradient's zero and IPO's ordering."""
    from steersman.maths.direct_preference import dpo_loss, ipo_loss, smoothed

    beta = 0.5
    reward = torch.tensor([0.0, 0.4, 0.9, 1.3, -0.5, 0.2], dtype=torch.float64)
    reference = torch.tensor([0.3, -0.2, 0.1, 0.5, 0.0, -0.7], dtype=torch.float64).log_softmax(0)
    logits = reference.clone().requires_grad_()
    first, second = torch.triu_indices(6, 6, offset=1)
    target = torch.sigmoid(reward[first] - reward[second])
    optimiser = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure():
        optimiser.zero_grad()
        ratio = logits.log_softmax(0) - reference
        gap = ratio[first] - ratio[second]
        if loss == "ipo":
            value = ipo_loss(gap, target, beta=beta).mean()
        else:
            value = dpo_loss(gap, smoothed(target, smoothing), beta=beta, margin=target * 0).mean()
        value.backward()
        return value

    optimiser.step(closure)
    found = logits.detach().log_softmax(0)
    if loss == "dpo" and not smoothing:
        best = (reference + reward / beta).log_softmax(0)
        assert float((found.exp() * (found - best)).sum()) < 1e-6
        return
    ratio = found - reference
    if loss == "ipo":
        # least squares of gaps towards (2 p - 1) / (2 beta): each answer's mean wanted lead over the others
        wanted = (2 * torch.sigmoid(reward[:, None] - reward[None, :]) - 1) / (2 * beta)
        assert torch.allclose(ratio - ratio.mean(), wanted.mean(1), atol=1e-5)
        return
    best = (reference + reward / beta).log_softmax(0)
    assert float((found.exp() * (found - best)).sum()) > 0.01, "smoothing must hold the policy back"
    assert torch.equal(ratio.argsort(), reward.argsort())
    assert math.isclose(float(closure().detach()), float(closure().detach()))


def test_a_batch_counts_every_place_that_is_computed():
    # answers of 2 and 4 tokens and of 1, each after a prompt of 3: three rows of 7
    two, one = unit(0, [2, 4], [(0, 1, 1.0, 0.0)]), unit(1, [1], [], [1.0])
    batch = collate([two, one], pad_id=0, device=CPU)
    assert batch.positions == 21
    assert collate([two], pad_id=0, device=CPU, pad_multiple=8).positions == 16
    assert (two.lengths, one.lengths) == ((5, 7), (4,))
    assert batch.reference.tolist() == [*two.reference.tolist(), *one.reference.tolist()]


class ByHand:
    """A policy whose log-prob of each target is -0.1 times its id."""

    def log_probs(self, batch):
        return -0.1 * batch.ids[batch.loss_mask].float(), None


def test_orpos_likelihood_may_count_the_prompt_as_trl_does():
    # the prompt 1 2, the preferred answer 3 4, the other one 5
    rows = (
        TokenRow(torch.tensor([1, 2, 3, 4]), torch.tensor([False, False, True, True])),
        TokenRow(torch.tensor([1, 2, 5]), torch.tensor([False, False, True])),
    )
    none = torch.zeros(0)
    group = AnswerGroup(
        *(rows, torch.tensor([0]), torch.tensor([1]), torch.ones(1), torch.zeros(1), torch.ones(1)), none.long(), none
    )
    unit = JudgedGroup(group, torch.zeros(3))
    batch = collate([unit], pad_id=0, device=torch.device("cpu"))
    found = {}
    for over, tokens, likelihood in (("answer", 2, 0.7), ("prompt_and_answer", 3, 0.9)):
        settings = check(
            DpoSettings,
            {
                "model": {"path": "x"},
                "data": {"source": "y"},
                "run": {"out": "z"},
                "loss": "orpo",
                "likelihood_over": over,
            },
        )
        objective = DirectPreference(settings)
        assert objective.weights([unit]) == {"preference": 1.0, "likelihood": float(tokens)}
        sums = objective(ByHand(), batch)
        # 0.3 + 0.4 of the answer; with the prompt's second token 0.2 more, its first follows nothing
        assert float(sums.terms["likelihood"].total) == pytest.approx(likelihood)
        found[over] = float(sums.terms["preference"].total)
    assert found["answer"] == found["prompt_and_answer"]
