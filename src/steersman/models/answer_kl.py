"""KL(model || other) per answer, in nats, over answers that the model itself generated.

At each token the KL of the two distributions is exact, over the whole vocabulary. Its sum over the answer has the same
expectation as log(p/q) of the answer, with much less variance, and is never negative.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steersman.batches import TokenRow, pad_rows
from steersman.models.acting import acting_as
from steersman.models.backbone import Backbone
from steersman.models.rows import padded_groups

ModelView = tuple[Backbone, str | None]
"""A model and its active adapter (None: without one)."""


def answer_kl(
    rows: Sequence[TokenRow], model: ModelView, other: ModelView, *, pad_id: int, token_budget: int, temperature: float
) -> Float[Tensor, "rows"]:
    """The KL of each row, summed over its targets (the answer's tokens)."""
    figures = torch.zeros(len(rows))
    for members in padded_groups([row.lengths for row in rows], token_budget):
        batch = pad_rows([rows[i] for i in members], pad_id=pad_id).to(model[0].device)
        with torch.no_grad():
            with acting_as(*other):
                other_hidden = other[0].hidden(batch, batch.needed_positions)
            with acting_as(*model):
                hidden = model[0].hidden(batch, batch.needed_positions)
            at_tokens = model[0].kl_from(hidden, other[0], other_hidden, batch, temperature=temperature, top_k=None)
        owner = batch.loss_mask.nonzero()[:, 0]
        sums = torch.zeros(len(members), device=at_tokens.device).index_add_(0, owner, at_tokens)
        figures[torch.tensor(members)] = sums.cpu()
    return figures


@dataclass(frozen=True)
class RowFigures:
    """Sums over each row's targets, in nats; the last two are None without a reference.

    The model's log-prob, its entropy and its KL from the reference are at the sampling temperature. The reference's
    log-prob is at temperature 1.
    """

    log_prob: Float[Tensor, "rows"]
    entropy: Float[Tensor, "rows"]
    kl: Float[Tensor, "rows"] | None
    reference_log_prob: Float[Tensor, "rows"] | None


def row_figures(
    rows: Sequence[TokenRow],
    model: ModelView,
    reference: ModelView | None,
    *,
    pad_id: int,
    token_budget: int,
    temperature: float,
) -> RowFigures:
    """All figures of each row, from one forward pass of each model. Both models must use the same tokeniser."""
    figures = torch.zeros(4, len(rows))
    for members in padded_groups([row.lengths for row in rows], token_budget):
        batch = pad_rows([rows[i] for i in members], pad_id=pad_id).to(model[0].device)
        owner = batch.loss_mask.nonzero()[:, 0]
        with torch.no_grad():
            with acting_as(*model):
                hidden = model[0].hidden(batch, batch.needed_positions)
                log_probs, entropies = model[0].log_probs_from(
                    hidden, batch, temperature=temperature, with_entropy=True
                )
            assert entropies is not None
            columns = [log_probs, entropies]
            if reference is not None:
                with acting_as(*reference):
                    other = reference[0].hidden(batch, batch.needed_positions)
                    columns += [reference[0].log_probs_from(other, batch)[0]]
                with acting_as(*model):
                    columns += [
                        model[0].kl_from(hidden, reference[0], other, batch, temperature=temperature, top_k=None)
                    ]
        for column, values in enumerate(columns):
            sums = torch.zeros(len(members), device=values.device).index_add_(0, owner, values.float())
            figures[column, torch.tensor(members)] = sums.cpu()
    if reference is None:
        return RowFigures(figures[0], figures[1], None, None)
    return RowFigures(figures[0], figures[1], figures[3], figures[2])
