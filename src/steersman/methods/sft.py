"""Supervised fine-tuning (SFT) on demonstrations. Loss = -mean over target tokens of log p(token | tokens before)."""

import math
from collections.abc import Mapping, Sequence

from steersman.batches import TokenBatch, TokenRow
from steersman.models.backbone import Backbone
from steersman.train.objective import Sums, Term


class NextToken:
    """The objective of SFT. The mean is over every target token of the global batch, not over rows or micro-batches."""

    def weights(self, units: Sequence[TokenRow]) -> Mapping[str, float]:
        return {"loss": float(sum(row.targets for row in units))}

    def __call__(self, model: Backbone, batch: TokenBatch) -> Sums:
        return Sums({"loss": Term(-model.log_prob_sum(batch), 1.0)}, {})


def perplexity(held_out: Mapping[str, float]) -> Mapping[str, float]:
    return {"perplexity": math.exp(min(held_out["loss"], 700.0))}
