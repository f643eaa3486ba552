"""Steps of an answer as targets: their last tokens, what is cut, and process rewards by hand."""

import math
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn

from steersman.batches import StepRow, TokenBatch, TokenRow
from steersman.methods.process_reward import ProcessReward, StepBatch, collate
from steersman.models.tiny import tiny_tokeniser
from steersman.parallel.world import World
from steersman.records import Message, Prompt
from steersman.reward.steps import scored_row, step_row, steps_in
from steersman.text.tokeniser import decode
from steersman.train.core import Learner
from steersman.train.optim import Optimisation
from steersman.train.plan import Batching
from steersman.train.precision import autocast

TOKENISER = tiny_tokeniser()
ASKED = Prompt((Message("user", "2 + 2?"),))
ANSWER = "Two and two.\nThat is four.\n\nSo: 4"


def test_lines_are_steps():
    assert [ANSWER[a:b] for a, b in steps_in(ANSWER)] == ["Two and two.", "That is four.", "So: 4"]
    assert steps_in("one") == [(0, 3)]
    assert steps_in("") == [(0, 0)]


@pytest.mark.parametrize("prompt", [ASKED, Prompt(text="2 + 2?")])
def test_a_step_is_read_at_its_last_token(prompt):
    row, kept = step_row(TOKENISER, (prompt, ANSWER), steps_in(ANSWER), limit=999)
    assert kept == [0, 1, 2]
    before = [decode(TOKENISER, row.ids[: place + 1].tolist()) for place in row.loss_mask.nonzero()[:, 0].tolist()]
    assert all(text.rstrip().endswith(end) for text, end in zip(before, ("two.", "four.", ": 4"), strict=True))


def test_steps_beyond_the_cut_are_left_out():
    # the prompt is cut first, to one token at least, and then the answer's end
    asked = Prompt(text="?")
    whole, _ = step_row(TOKENISER, (asked, ANSWER), steps_in(ANSWER), limit=999)
    seen = set[int]()
    for limit in range(2, len(whole.ids) + 1):
        row, kept = step_row(TOKENISER, (asked, ANSWER), steps_in(ANSWER), limit=limit)
        assert kept == list(range(len(kept)))
        places = row.loss_mask.nonzero()[:, 0].tolist()
        assert len(places) == len(kept)
        assert all(int(row.ids[place]) in whole.ids[whole.loss_mask].tolist() for place in places)
        seen.add(len(kept))
    assert seen == {0, 1, 2, 3}


def test_an_answer_without_words_is_read_at_its_last_token():
    row = scored_row(TOKENISER, (ASKED, ""), limit=99)
    assert row.loss_mask.nonzero().tolist() == [[len(row.ids) - 1]]


class Logits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.given = nn.Parameter(torch.tensor([2.0, -1.0, 0.5]))

    def step_logits(self, batch: TokenBatch) -> Tensor:
        places = torch.cat([torch.arange(int(row.sum())) for row in batch.loss_mask])
        return self.given[places]


@pytest.mark.parametrize("budget", [1, 10**6])
def test_the_loss_by_hand(budget):
    # one answer right, wrong, right and one right: -log s(2), -log s(1), -log s(0.5), -log s(2): mean over four steps
    ids, mask = torch.arange(5), torch.tensor([False, True, True, False, True])
    first = StepRow(TokenRow(ids, mask), torch.tensor([1.0, 0.0, 1.0]))
    second = StepRow(TokenRow(ids[:2], mask[:2]), torch.tensor([1.0]))
    model = Logits()
    learner = Learner(
        model,
        Optimisation(torch.optim.SGD(model.parameters(), lr=1e-12), rate_at=lambda step: 1.0, max_grad_norm=1e9),
        Batching(lambda units: collate(units, pad_id=0, device=torch.device("cpu")), budget),
        World.alone(),
        precision=autocast("fp32", torch.device("cpu")),
        notice=print,
    )
    report = learner.step([first, second], ProcessReward())
    by_hand = sum(math.log(1 + math.exp(-x)) for x in (2.0, 1.0, 0.5, 2.0)) / 4
    assert report.loss == pytest.approx(by_hand, abs=1e-6)
    assert report.metrics["accuracy"] == 1.0
    assert report.metrics["said to be right"] == 0.75


def test_a_step_is_said_to_be_right_above_even_odds_and_right_where_its_label_is_above_one_half():
    class Given(nn.Module):
        def step_logits(self, batch):
            return torch.tensor([-0.5, 0.5, 2.0, -3.0])

    batch = Mock(spec=StepBatch, tokens=Mock(spec=TokenBatch), labels=torch.tensor([0.0, 1.0, 0.0, 1.0]))
    # said: wrong, right, right, wrong; the labels: wrong, right, wrong, right
    metrics = ProcessReward()(Given(), batch).metrics
    assert metrics == {"accuracy": (2.0, 4.0), "said to be right": (2.0, 4.0)}
