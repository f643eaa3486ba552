"""The objectives over texts, worked by hand on models whose numbers are written down."""

import math

import pytest
import torch
from torch import nn

from steersman.batches import LabelledRow, TokenRow, pad_labelled, pad_rows
from steersman.methods.classifier import TextClass
from steersman.methods.sft import NextToken, perplexity
from steersman.models.backbone import Backbone
from steersman.models.classifier import Classifier


class Written(Classifier):
    def __init__(self, logits: list[list[float]]) -> None:
        nn.Module.__init__(self)
        self.written = torch.tensor(logits)

    def logits(self, batch):
        return self.written


def test_a_text_loses_the_surprise_of_its_class_and_is_right_where_it_is_the_likeliest():
    # even odds, 3 : 1 for the second class, and 3 : 1 for the first
    model = Written([[0.0, 0.0], [0.0, math.log(3)], [math.log(3), 0.0], [math.log(3), 0.0]])
    rows = [LabelledRow(TokenRow(torch.tensor([1, 2]), torch.tensor([False, False])), label) for label in (0, 1, 0, 1)]
    sums = TextClass()(model, pad_labelled(rows, pad_id=0))
    term = sums.terms["loss"]
    # log 2, log 4/3 twice, and log 4
    assert term.total.item() == pytest.approx(math.log(2) + 2 * math.log(4 / 3) + math.log(4))
    assert term.coefficient == 1.0
    # of equal logits the first counts as the likeliest
    assert sums.metrics == {"accuracy": (3.0, 4.0)}
    assert TextClass().weights(rows) == {"loss": 4.0}


class Surprised(Backbone):
    def __init__(self, log_prob: float) -> None:
        nn.Module.__init__(self)
        self.log_prob = log_prob

    def log_prob_sum(self, batch):
        return torch.tensor(self.log_prob)


def test_demonstrations_lose_the_surprise_of_their_target_tokens():
    rows = [TokenRow(torch.arange(n), torch.arange(n) > 0) for n in (3, 5)]
    sums = NextToken()(Surprised(-12.0), pad_rows(rows, pad_id=0))
    assert (sums.terms["loss"].total.item(), sums.terms["loss"].coefficient, sums.metrics) == (12.0, 1.0, {})
    # 2 and 4 targets: the first token of each is none
    assert NextToken().weights(rows) == {"loss": 6.0}


def test_perplexity_is_the_exponential_of_the_loss_and_stays_finite():
    assert perplexity({"loss": math.log(8)}) == {"perplexity": pytest.approx(8.0)}
    assert perplexity({"loss": 1e6}) == {"perplexity": math.exp(700)}
