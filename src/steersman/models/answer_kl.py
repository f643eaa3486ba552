"""How far one model is from another, in nats an answer: KL(model || other), over answers that the model itself gave.

At each token the KL of the two distributions is taken exactly, over the whole vocabulary; its sum over the answer has the same
expectation as log(p/q) of the answer, with far less noise, and is never negative.
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
"""A model, and the adapter through which it speaks (None: without one)."""


def answer_kl(
    rows: Sequence[TokenRow], model: ModelView, other: ModelView, *, pad_id: int, token_budget: int, temperature: float
) -> Float[Tensor, "rows"]:
    """The KL of each row, summed over its targets (the answer's tokens)."""
    found = torch.zeros(len(rows))
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
        found[torch.tensor(members)] = sums.cpu()
    return found


@dataclass(frozen=True)
class RowFigures:
    """Sums over each row's targets, in nats: the model's log-probability and entropy at the temperature of the answers, its KL from
    the reference there, and the reference's own log-probability at temperature 1. None without a reference."""

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
    """All figures of each row from one look at it by either model. Their tokens must be the same."""
    found = torch.zeros(4, len(rows))
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
        for place, values in enumerate(columns):
            sums = torch.zeros(len(members), device=values.device).index_add_(0, owner, values.float())
            found[place, torch.tensor(members)] = sums.cpu()
    nothing = reference is None
    return RowFigures(found[0], found[1], None if nothing else found[3], None if nothing else found[2])
