"""The objective of reward models against a loop that one would write on a board, through the real learner and a real
model."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from onestep import Learned, one_step
from torch import Tensor, nn

from steersman.batches import AnswerGroup, PairBatch, TokenBatch, TokenRow, pad_groups, pad_rows
from steersman.execution.learner import collate_groups
from steersman.methods.reward_model import Preference, Trainee
from steersman.models.adapters import add_lora
from steersman.models.loading import load_causal
from steersman.models.reward_model import new_reward_model
from steersman.models.tiny import write_tiny_model

CPU = torch.device("cpu")
NO_PAIRS: dict = {"first": (), "second": (), "target": (), "margin": (), "weight": ()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("reward") / "llama", "llama", hidden=16)


@pytest.fixture
def trainee(folder) -> Trainee:
    """A whole reward model in float64."""
    return Trainee(None, new_reward_model(load_causal(folder, dtype=torch.float32, device=CPU))).double()


def group(lengths: Sequence[int], *, seed: int = 0, thumbs: Sequence[float] = (), **pairs) -> AnswerGroup:
    generator = torch.Generator().manual_seed(seed)
    ids = [torch.randint(5, 300, (n,), generator=generator) for n in lengths]
    given = {**NO_PAIRS, **pairs}
    whole = {name: torch.tensor(given[name], dtype=torch.long) for name in ("first", "second")}
    real = {name: torch.tensor(given[name], dtype=torch.float32) for name in ("target", "margin", "weight")}
    return AnswerGroup(
        tuple(TokenRow(i, torch.zeros(len(i), dtype=torch.bool)) for i in ids),
        **whole,
        **real,
        thumbed=torch.zeros(len(thumbs), dtype=torch.long),
        approval=torch.tensor(thumbs, dtype=torch.float32),
    )


def pair(lengths: tuple[int, int], target: float, *, margin: float = 0.0, seed: int = 0) -> AnswerGroup:
    return group(lengths, seed=seed, first=(0,), second=(1,), target=(target,), margin=(margin,), weight=(1.0,))


def ranking(lengths: Sequence[int], ranks: Sequence[int], *, seed: int = 0) -> AnswerGroup:
    first, second = zip(*itertools.combinations(range(len(ranks)), 2), strict=True)
    target = [0.5 if ranks[i] == ranks[j] else float(ranks[i] < ranks[j]) for i, j in zip(first, second, strict=True)]
    count = len(target)
    weight, margin = (1 / count,) * count, (0.0,) * count
    return group(lengths, seed=seed, first=first, second=second, target=target, margin=margin, weight=weight)


DATA = {
    "pairs": [pair((7, 5), 1.0, seed=1), pair((3, 12), 0.0, seed=2), pair((9, 9), 1.0, seed=3)],
    "margins": [pair((7, 5), 1.0, margin=2.0, seed=1), pair((3, 12), 0.0, margin=1.0, seed=2)],
    "ties": [pair((7, 5), 0.5, seed=1), pair((3, 12), 1.0, seed=2)],
    "soft labels": [pair((7, 5), 0.8, margin=1.0, seed=1), pair((3, 12), 0.3, seed=2)],
    "rankings": [ranking((4, 9, 6, 11), (2, 1, 4, 2), seed=1), ranking((5, 3, 8), (3, 2, 1), seed=2)],
    "thumbs": [group((n,), seed=n, thumbs=(up,)) for n, up in ((6, 1.0), (4, 0.0), (9, 1.0))],
}
DATA["everything"] = [unit for units in DATA.values() for unit in units]


def plain_score(trainee: Trainee, row: TokenRow) -> Tensor:
    """By the trunk as transformers runs it: one row, no padding."""
    hidden = trainee.reward.backbone.trunk(input_ids=row.ids[None]).last_hidden_state[0, -1]
    return hidden @ trainee.reward.head.weight[0]


def minus_log_sigmoid(x: Tensor) -> Tensor:
    return torch.log(1 + torch.exp(-x))


def plain_loss(trainee: Trainee, units: Sequence[AnswerGroup], objective: Preference) -> Tensor:
    preference = centre = approval = torch.zeros((), dtype=torch.float64)
    weights = pairs = thumbs = 0.0
    for unit in units:
        scores = [plain_score(trainee, row) for row in unit.rows]
        for k in range(len(unit.first)):
            one, other = scores[unit.first[k]], scores[unit.second[k]]
            target, weight = float(unit.target[k]), float(unit.weight[k])
            margin = float(unit.margin[k]) if objective.use_margin else 0.0
            won, lost = minus_log_sigmoid(one - other - margin), minus_log_sigmoid(other - one - margin)
            preference = preference + weight * (target * won + (1 - target) * lost)
            centre = centre + (one + other) ** 2
            weights, pairs = weights + weight, pairs + 1
        for index, up in zip(unit.thumbed.tolist(), unit.approval.tolist(), strict=True):
            approval = approval + minus_log_sigmoid(scores[index] if up else -scores[index])
            thumbs += 1
    parts = [(preference, weights, 1.0), (approval, thumbs, 1.0), (centre, pairs, objective.centring)]
    return sum((c * total / count for total, count, c in parts if count), torch.zeros((), dtype=torch.float64))


def learned(
    trainee: Trainee, units: Sequence[AnswerGroup], objective: Preference, *, budget=10**6, pad_multiple=1
) -> Learned:
    return one_step(
        trainee,
        units,
        objective,
        partial(collate_groups, pad_id=1, device=CPU, pad_multiple=pad_multiple),
        budget=budget,
    )


def assert_same(found: Learned, loss: float, gradients: dict[str, Tensor], tolerance: float) -> None:
    assert found.loss == pytest.approx(loss, rel=tolerance)
    assert set(found.gradients) == set(gradients)
    largest = max(float(g.abs().max()) for g in gradients.values())
    assert largest > 1e-3, "the test would compare zeros"
    for name, gradient in gradients.items():
        assert float((found.gradients[name] - gradient).abs().max()) <= tolerance * largest, name


@pytest.mark.parametrize(
    ("name", "centring", "use_margin"),
    [
        *((name, 0.3, True) for name in DATA),
        ("everything", 0.0, True),
        ("everything", 0.3, False),
        ("margins", 0.0, False),
    ],
)
def test_loss_and_gradients_are_the_plain_ones_for_any_padding_order_and_micro_batch(
    name, centring, use_margin, trainee
):
    units, objective = DATA[name], Preference(use_margin=use_margin, centring=centring)
    loss = plain_loss(trainee, units, objective)
    parameters = dict(trainee.named_parameters())
    gradients = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
    for budget, multiple, order in ((10**6, 1, units), (1, 1, units[::-1]), (40, 16, units[1:] + units[:1])):
        found = learned(trainee, order, objective, budget=budget, pad_multiple=multiple)
        assert_same(found, float(loss.detach()), gradients, 1e-6)


def test_an_adapter_alone_learns_and_its_gradients_are_the_plain_ones(folder):
    backbone = load_causal(folder, dtype=torch.float32, device=CPU)
    add_lora(backbone, "reward", rank=2, alpha=32)
    for name, parameter in backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    trainee = Trainee(backbone, new_reward_model(backbone, adapter="reward")).double()
    units, objective = DATA["soft labels"] + DATA["thumbs"], Preference(use_margin=True, centring=0.1)
    loss = plain_loss(trainee, units, objective)
    parameters = {name: p for name, p in trainee.named_parameters() if p.requires_grad}
    assert all("lora_" in name or name == "reward.head.weight" for name in parameters)
    gradients = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
    assert_same(learned(trainee, units, objective, budget=50), float(loss.detach()), gradients, 1e-6)


def exchanged(unit: AnswerGroup) -> AnswerGroup:
    """The same answers in the other order; the label stays."""
    return replace(unit, rows=unit.rows[::-1])


@pytest.mark.parametrize("name", ["pairs", "margins", "ties", "soft labels"])
def test_a_pair_and_its_mirror_image_are_one_fact(name, trainee):
    units, objective = DATA[name], Preference(use_margin=True, centring=0.1)
    mirrored = [replace(exchanged(unit), target=1 - unit.target) for unit in units]
    straight = learned(trainee, units, objective)
    assert_same(learned(trainee, mirrored, objective), straight.loss, straight.gradients, 1e-6)


class Watched(Trainee):
    """The trainee, of which the scores it gave last are remembered."""

    def scores(self, batch: TokenBatch) -> Tensor:
        self.said = super().scores(batch)
        return self.said


def score_gradient(trainee: Trainee, unit: AnswerGroup) -> Tensor:
    """What the loss of one pair says of its answers' scores, in the order of the rows."""
    watched = Watched(None, trainee.reward)
    sums = Preference(use_margin=False, centring=0.0)(watched, pad_groups([unit], pad_id=1))
    (gradient,) = torch.autograd.grad(sums.terms["preference"].total, watched.said)
    return gradient


@pytest.mark.parametrize("unit", DATA["pairs"])
def test_exchanging_the_answers_under_the_same_label_turns_the_gradient_round(unit, trainee):
    straight, turned = score_gradient(trainee, unit), score_gradient(trainee, exchanged(unit)).flip(0)
    assert (straight.sign() == -turned.sign()).all()
    # d/ds of -log sigmoid(s - r) is sigmoid(s - r) - 1, and of -log sigmoid(r - s) it is sigmoid(s - r): one more
    assert (straight - turned).abs().tolist() == pytest.approx([1.0, 1.0], abs=1e-6)
    assert float(straight.sum()) == pytest.approx(0.0, abs=1e-9)


def test_a_ranking_is_its_pairs_each_weighing_one_of_all_but_each_answer_is_read_once(trainee):
    whole = ranking((4, 9, 6, 11, 5), (2, 1, 4, 2, 5), seed=4)
    separate = [
        AnswerGroup(
            (whole.rows[int(whole.first[k])], whole.rows[int(whole.second[k])]),
            torch.tensor([0]),
            torch.tensor([1]),
            whole.target[k : k + 1],
            whole.margin[k : k + 1],
            torch.tensor([1 / 10]),
            whole.thumbed,
            whole.approval,
        )
        for k in range(10)
    ]
    objective = Preference(use_margin=False, centring=0.1)
    assert objective.weights([whole])["preference"] == pytest.approx(1.0)
    apart = learned(trainee, separate, objective)
    assert_same(learned(trainee, [whole], objective), apart.loss, apart.gradients, 1e-6)
    assert len(pad_groups([whole], pad_id=1).tokens.lengths) == 5
    assert len(pad_groups(separate, pad_id=1).tokens.lengths) == 20


def test_a_ranking_counts_as_much_as_a_pair(trainee):
    """Two elements of one batch, whatever the number of pairs in them: (1 * loss of the pair + 1 * mean of the six) /
    2."""
    objective = Preference(use_margin=False, centring=0.0)
    one, four = pair((7, 5), 1.0, seed=1), ranking((4, 9, 6, 11), (2, 1, 4, 3), seed=2)
    alone = [float(plain_loss(trainee, [unit], objective).detach()) for unit in (one, four)]
    assert learned(trainee, [one, four], objective).loss == pytest.approx(sum(alone) / 2, rel=1e-6)


class Fixed(Trainee):
    """Scores that were written down, to work a loss out by hand."""

    def __init__(self, *scores: float) -> None:
        nn.Module.__init__(self)
        self.written = torch.tensor(scores, dtype=torch.float64)

    def scores(self, batch: TokenBatch) -> Tensor:
        return self.written


def batch_of(*units: AnswerGroup) -> PairBatch:
    return pad_groups(units, pad_id=1)


def test_golden_losses():
    one = batch_of(pair((2, 2), 1.0, margin=1.0))
    # gap 2 - 0.5 = 1.5: log(1 + e^-1.5) = 0.2014133; with the margin of 1: log(1 + e^-0.5) = 0.4740770
    for use_margin, expected in ((False, 0.2014133), (True, 0.4740770)):
        sums = Preference(use_margin=use_margin, centring=0.01)(Fixed(2.0, 0.5), one)
        assert float(sums.terms["preference"].total) == pytest.approx(expected, abs=1e-7)
        # (2 + 0.5)^2, and it is the core that multiplies it by 0.01
        assert (float(sums.terms["centring"].total), sums.terms["centring"].coefficient) == (6.25, 0.01)
    # thumbs: log(1 + e^-2) = 0.1269280 for a thumb up at 2, log(1 + e^0.5) = 0.9740770 for a thumb down at 0.5
    thumbs = batch_of(group((2,), thumbs=(1.0,)), group((2,), thumbs=(0.0,)))
    sums = Preference(use_margin=False, centring=0.01)(Fixed(2.0, 0.5), thumbs)
    assert float(sums.terms["approval"].total) == pytest.approx(0.1269280 + 0.9740770, abs=1e-6)
    assert float(sums.terms["preference"].total) == float(sums.terms["centring"].total) == 0.0
    # a tie at equal scores costs ln 2
    sums = Preference(use_margin=True, centring=0.0)(Fixed(1.0, 1.0), batch_of(pair((2, 2), 0.5)))
    assert float(sums.terms["preference"].total) == pytest.approx(math.log(2))


def test_accuracy_counts_equal_scores_half_and_ties_not_at_all():
    batch = batch_of(pair((2, 2), 0.0), pair((2, 2), 0.0), pair((2, 2), 0.2), pair((2, 2), 0.5), pair((2, 2), 0.0))
    # right, wrong, equal, (a tie), equal: 1 + 0 + 0.5 + 0.5 of 4
    sums = Preference(use_margin=False, centring=0.0)(Fixed(1, 2, 3, 1, 1, 1, 5, 0, 4, 4), batch)
    assert sums.metrics["accuracy"] == (2.0, 4.0)
    # |-1| + |2| + 0 + |5| + 0 over 5 pairs; all scores 1+2+3+1+1+1+5+0+4+4
    assert sums.metrics["gap"] == (8.0, 5.0)
    assert sums.metrics["score"] == (22.0, 10.0)


def test_steps_and_heads_are_scored_by_the_model_itself(trainee):
    generator = torch.Generator().manual_seed(4)
    rows = [TokenRow(torch.randint(5, 300, (n,), generator=generator), torch.arange(n) % 3 == 2) for n in (7, 4)]
    batch, weight = pad_rows(rows, pad_id=1), trainee.reward.head.weight[0]
    expected = []
    for row in rows:
        hidden = trainee.reward.backbone.trunk(input_ids=row.ids[None]).last_hidden_state[0]
        expected += [hidden[place] @ weight for place in row.loss_mask.nonzero()[:, 0]]
    torch.testing.assert_close(trainee.step_logits(batch), torch.stack(expected), check_dtype=False)
    last = torch.stack([plain_score(trainee, row) for row in rows])
    torch.testing.assert_close(trainee.scores_by_head(batch)[:, 0], last, check_dtype=False)
    torch.testing.assert_close(trainee.scores(batch), last, check_dtype=False)
