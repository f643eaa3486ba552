"""ILQL against a loop that one would write on a board, through the real learner and a real model: losses, steps, and
targets."""

import copy

import pytest
import torch
from onestep import one_step
from torch.nn.functional import cross_entropy

from steersman.batches import RewardedRow, TokenRow
from steersman.execution.learner import learner_of
from steersman.methods.ilql import QLearning, coefficients, collate
from steersman.models.loading import load_causal
from steersman.models.q_heads import QModel, heads_for
from steersman.models.tiny import write_tiny_model
from steersman.parallel.world import World
from steersman.settings.base import check
from steersman.settings.ilql import IlqlSettings
from steersman.settings.parts import OptimiserSettings
from steersman.train.core import Learner
from steersman.train.optim import Optimisation
from steersman.train.plan import Batching
from steersman.train.precision import autocast

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("ilql") / "llama", "llama", hidden=16)


@pytest.fixture
def model(folder) -> QModel:
    backbone = load_causal(folder, dtype=torch.float32, device=CPU)
    torch.manual_seed(1)
    found = QModel(backbone, heads_for(backbone)).double()
    with torch.no_grad():
        for parameter in found.heads.parameters():
            parameter.normal_(0.0, 0.2)
    found.heads.update_targets(0.5)
    return found


def settings(**more: object) -> IlqlSettings:
    return check(IlqlSettings, {"model": {"path": "x"}, "data": {"source": "y"}, "run": {"out": "z"}, **more})


def units(count: int = 5, seed: int = 0) -> list[RewardedRow]:
    """Answers of different lengths to prompts of different lengths; some earn on the way too."""
    generator = torch.Generator().manual_seed(seed)
    found: list[RewardedRow] = []
    for i in range(count):
        prompt, answer = 2 + i % 3, 1 + (5 * i) % 7
        ids = torch.randint(5, 300, (prompt + answer,), generator=generator)
        rewards = torch.randn(answer, generator=generator)
        if i % 2:
            rewards[:-1] = 0.0
        found.append(RewardedRow(TokenRow(ids, torch.arange(len(ids)) >= prompt), rewards))
    return found


def on_a_board(model: QModel, rows: list[RewardedRow], s: IlqlSettings) -> torch.Tensor:
    """One row, one token at a time; V of what follows is that of the same row's next state."""
    total, count, heads = torch.zeros((), dtype=torch.float64), 0, model.heads
    for unit in rows:
        ids = unit.row.ids
        seen = model.backbone.hf(input_ids=ids[None], output_hidden_states=True, use_cache=False)
        states, logits = seen.hidden_states[-1][0], seen.logits[0]
        times = unit.row.loss_mask.nonzero()[:, 0].tolist()
        for place, (time, reward) in enumerate(zip(times, unit.rewards.double(), strict=True)):
            state, token = states[time - 1][None], ids[time]
            last = place == len(times) - 1
            following = 0.0 if last else float(heads.value(states[times[place + 1] - 1][None])[0, 0].detach())
            wanted = float(reward) + s.discount * following
            value = heads.value(state)[0, 0]
            q = [head(state)[0] for head in heads.q_heads]
            slow = min(float(head(state)[0, token].detach()) for head in heads.target_heads)
            advantage = slow - value
            total = total + sum((each[token] - wanted) ** 2 for each in q)
            total = total + (s.expectile if float(advantage.detach()) >= 0 else 1 - s.expectile) * advantage**2
            total = total + s.conservative * sum(cross_entropy(each[None], token[None]) for each in q)
            weight = min(100.0, float(torch.exp(s.imitation_beta * advantage.detach())))
            total = total + s.imitation * weight * cross_entropy(logits[time - 1][None], token[None])
            count += 1
    return total / count


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"discount": 0.9, "expectile": 0.85, "conservative": 0.5, "imitation": 0.3, "imitation_beta": 1.0},
        {"conservative": 0.0, "imitation": 0.0},
    ],
    ids=["defaults", "all", "q alone"],
)
@pytest.mark.parametrize("budget", [16, 4096])
def test_loss_and_gradients_are_those_of_the_board(more, budget, model):
    s = settings(**more)
    other = copy.deepcopy(model)
    expected = on_a_board(other, units(), s)
    expected.backward()
    seen = one_step(model, units(), QLearning(s), lambda u: collate(u, pad_id=1, device=CPU), budget=budget)
    assert seen.loss == pytest.approx(float(expected.detach()), abs=1e-6)
    wanted = {name: p.grad for name, p in other.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert set(wanted) <= set(seen.gradients)
    for name, gradient in wanted.items():
        torch.testing.assert_close(seen.gradients[name], gradient, atol=1e-6, rtol=1e-6, msg=name)


def test_q_v_and_targets_follow_a_slow_loop(model):
    """Four steps of the learner with its hook, beside four of plain AdamW on the board's loss and an average written
    out."""
    s, steps = settings(polyak=0.2, imitation_beta=0.5, conservative=0.2), 4
    other = copy.deepcopy(model)
    rates = OptimiserSettings(learning_rate=1e-2, schedule="constant", warmup=0, max_grad_norm=1e9)
    learner = learner_of(
        model,
        rates,
        Batching(lambda u: collate(u, pad_id=1, device=CPU), 24),
        steps=steps,
        world=World.alone(),
        precision="fp32",
        notice=print,
    )
    learner.optimiser.register_step_post_hook(lambda *_: model.heads.update_targets(s.polyak))
    slow = torch.optim.AdamW(other.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(steps):
        learner.step(units(seed=step), QLearning(s))
        slow.zero_grad()
        on_a_board(other, units(seed=step), s).backward()
        slow.step()
        with torch.no_grad():
            for head, learned in zip(other.heads.target_heads, other.heads.q_heads, strict=True):
                for part in ("inner", "inner_bias", "outer", "outer_bias"):
                    average = 0.8 * getattr(head, part) + 0.2 * getattr(learned, part)
                    getattr(head, part).copy_(average)
    ours, theirs = model.state_dict(), other.state_dict()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=1e-6, rtol=1e-6, msg=name)
    moved = model.heads.target_heads[0].outer - model.heads.q_heads[0].outer
    assert float(moved.detach().abs().max()) > 1e-4


def test_what_counts_nothing_is_no_term():
    assert set(coefficients(settings())) == {"q", "value", "conservative", "imitation"}
    assert coefficients(settings(conservative=0.0, imitation=0.0)) == {"q": 1.0, "value": 1.0}
    assert QLearning(settings(imitation=0.0)).weights(units()) == dict.fromkeys(("q", "value", "conservative"), 20.0)


def test_a_batch_counts_every_place_that_is_computed():
    rows = units(3)
    longest = max(len(one.row.ids) for one in rows)
    assert collate(rows, pad_id=0, device=CPU).positions == 3 * longest
    assert collate(rows, pad_id=0, device=CPU, pad_multiple=16).positions == 3 * 16


@pytest.mark.parametrize("budget", [16, 4096])
def test_q_v_and_advantage_are_reported_as_means_over_the_answers_tokens(budget, model):
    q, v, lead = [], [], []
    for unit in units():
        seen = model.backbone.hf(input_ids=unit.row.ids[None], output_hidden_states=True, use_cache=False)
        for time in unit.row.loss_mask.nonzero()[:, 0].tolist():
            state, token = seen.hidden_states[-1][0][time - 1][None], unit.row.ids[time]
            heads = [float(head(state)[0, token].detach()) for head in model.heads.q_heads]
            slow = [float(head(state)[0, token].detach()) for head in model.heads.target_heads]
            q.append(sum(heads) / len(heads))
            v.append(float(model.heads.value(state)[0, 0].detach()))
            lead.append(min(slow) - v[-1])
    learner = Learner(
        model,
        Optimisation(torch.optim.SGD(model.parameters(), lr=1e-12), rate_at=lambda step: 1.0, max_grad_norm=1e9),
        Batching(lambda u: collate(u, pad_id=1, device=CPU), budget),
        World.alone(),
        precision=autocast("fp32", CPU),
        notice=print,
    )
    found = learner.step(units(), QLearning(settings())).metrics
    expected = {"Q": sum(q) / len(q), "V": sum(v) / len(v), "advantage": sum(lead) / len(lead)}
    assert found == {name: pytest.approx(number, abs=1e-6) for name, number in expected.items()}
