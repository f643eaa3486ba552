"""How far one model is from another, in nats an answer: KL(model || other), over answers that the model itself gave.

At each token the KL of the two distributions is taken exactly, over the whole vocabulary; its sum over the answer has the same
expectation as log(p/q) of the answer, with far less noise, and is never negative.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from steersman.batches import TokenRow, pad_rows
from steersman.models.adapters import acting_as
from steersman.models.backbone import Backbone
from steersman.reward.rows import micro_batches

Voice = tuple[Backbone, str | None]
"""A model, and the adapter through which it speaks (None: without one)."""


def answer_kl(
    rows: Sequence[TokenRow], model: Voice, other: Voice, *, pad_id: int, token_budget: int, temperature: float
) -> Float[Tensor, "rows"]:
    """The KL of each row, summed over its targets (the answer's tokens)."""
    found = torch.zeros(len(rows))
    for members in micro_batches([len(row.ids) for row in rows], token_budget):
        batch = pad_rows([rows[i] for i in members], pad_id=pad_id).to(model[0].device)
        with torch.no_grad():
            with acting_as(*other):
                other_hidden = other[0].hidden(batch, batch.asked)
            with acting_as(*model):
                hidden = model[0].hidden(batch, batch.asked)
            at_tokens = model[0].kl_from(hidden, other[0], other_hidden, batch, temperature=temperature, top_k=None)
        owner = batch.loss_mask.nonzero()[:, 0]
        sums = torch.zeros(len(members), device=at_tokens.device).index_add_(0, owner, at_tokens)
        found[torch.tensor(members)] = sums.cpu()
    return found
