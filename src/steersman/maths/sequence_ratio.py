"""One probability ratio for a whole answer, in place of one for each token.

GSPO (Zheng et al. 2025, arXiv 2507.18071, equation 7) takes the geometric mean of the answer's token ratios; the plain
importance weight of an answer is their product, as in RLOO with a clipped ratio.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

Tokens = Float[Tensor, " tokens"]


def summed_over_answers(values: Tokens, lengths: Int[Tensor, " answers"]) -> Float[Tensor, " answers"]:
    """The sum of `values` over each answer; the tokens are flat, answer after answer."""
    # with the size of the result given, a GPU is not asked for it
    owners = torch.arange(len(lengths), device=values.device).repeat_interleave(lengths, output_size=len(values))
    return values.new_zeros(len(lengths)).index_add(0, owners, values)


def log_probs_of_answers(
    log_probs: Tokens, old_log_probs: Tokens, lengths: Int[Tensor, " answers"], *, mean: bool
) -> Tokens:
    """Log-probs whose ratio to the old ones is the answer's for each of its tokens: the geometric mean of the token
    ratios (`mean`), or their product.

    The gradient of each stays that of its own token (GSPO-token, equation 14), so tokens may have advantages of their
    own. Where all tokens of an answer have the same advantage, the sum's gradient is that of the answer's ratio.
    """
    old_log_probs, lengths = old_log_probs.detach(), lengths.to(log_probs.device)
    log_ratio = summed_over_answers(log_probs.detach() - old_log_probs, lengths)
    if mean:
        log_ratio = log_ratio / lengths
    return (
        old_log_probs
        + log_ratio.repeat_interleave(lengths, output_size=len(log_probs))
        + (log_probs - log_probs.detach())
    )
