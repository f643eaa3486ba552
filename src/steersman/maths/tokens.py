"""From hidden states to the log-probability and entropy of tokens; the only place where positions are shifted.

The `[positions, vocab]` logits never exist: they are made a chunk at a time, and made again in the backward pass. Where all
positions fit into one chunk it is kept instead: it takes no more memory than the backward pass would, and saves a product.
Legend of the shape suffixes: C positions of one chunk, V vocabulary, H hidden.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


class TargetPositions(NamedTuple):
    """Where each target token stands (row, position), and the position whose hidden state predicts it (before)."""

    row: Int[Tensor, " targets"]
    before: Int[Tensor, " targets"]
    position: Int[Tensor, " targets"]


def target_positions(loss_mask: Bool[Tensor, "batch time"]) -> TargetPositions:
    """The True entries of a mask of target tokens, row by row, each with the position before it."""
    if loss_mask.shape[1] > 0 and bool(loss_mask[:, 0].any()):
        raise ValueError(
            f"the loss mask is True at position 0 in {int(loss_mask[:, 0].sum())} of {len(loss_mask)} rows: nothing "
            "stands before the first token, so it cannot be predicted. Mask it out, or put a begin-of-text token there."
        )
    row, position = loss_mask.nonzero(as_tuple=True)
    return TargetPositions(row, position - 1, position)


def gather_at(values: Shaped[Tensor, "batch time *rest"], loss_mask: Bool[Tensor, "batch time"]) -> Tensor:
    """What stands at each target, flat: its token id, its reward, its old log-probability."""
    row, _, position = target_positions(loss_mask)
    return values[row, position]


def gather_before(values: Shaped[Tensor, "batch time *rest"], loss_mask: Bool[Tensor, "batch time"]) -> Tensor:
    """What stands just before each target, flat: the hidden state that predicts it, the value of that state."""
    row, before, _ = target_positions(loss_mask)
    return values[row, before]


def scatter_back(
    values: Shaped[Tensor, " targets"], loss_mask: Bool[Tensor, "batch time"]
) -> Shaped[Tensor, "batch time"]:
    """Undo `gather_at`: put flat values back where their targets stand, zero elsewhere."""
    row, _, position = target_positions(loss_mask)
    if len(row) != len(values):
        raise ValueError(
            f"{len(values)} values for a loss mask with {len(row)} targets. Scatter with the mask used to gather."
        )
    return values.new_zeros(loss_mask.shape).index_put((row, position), values)


# Logits in one chunk: 32 MiB in float32. Smaller chunks leave the matrix product slower, since it packs the whole
# weight each time (2 cores, vocab 32000, hidden 768: 2 Mi logits 1.5 times slower); larger ones gain under 10 %.
_LOGITS_PER_CHUNK = 8 * 2**20
_FEWEST_POSITIONS = 128


def chunk_for(vocab: int) -> int:
    """How many positions to take at a time for a vocabulary of this size."""
    return max(_FEWEST_POSITIONS, _LOGITS_PER_CHUNK // vocab)


def chosen_log_probs(
    hidden: Float[Tensor, "positions hidden"],
    weight: Float[Tensor, "vocab hidden"],
    bias: Float[Tensor, " vocab"] | None,
    targets: Int[Tensor, " positions"],
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    chunk: int,
    with_entropy: bool,
) -> tuple[Float[Tensor, " positions"], Float[Tensor, " positions"] | None]:
    """Log-probability of each target token, and the entropy of the distribution it was drawn from.

    logits = cap(logit_scale * (hidden @ weight.T + bias)) / temperature, with cap(x) = softcap * tanh(x / softcap) as
    in Gemma 2. Both results are float32 (float64 if the inputs are) and differentiable; a frozen weight costs nothing.
    The matrix product runs in the autocast type or that of the inputs, softmax and sums in float32.
    """
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}, but at least one position must be taken at a time. See chunk_for(vocab).")
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; logits are divided by it, so it must be above 0.")
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        product_dtype = torch.get_autocast_dtype(device)
    else:
        product_dtype = torch.promote_types(hidden.dtype, weight.dtype)
    how = _How(product_dtype, temperature, softcap, logit_scale, chunk, with_entropy)
    compute = cast(Callable[..., tuple[Tensor, Tensor | None]], _ChosenLogProbs.apply)  # pyright: ignore[reportUnknownMemberType]
    return compute(hidden, weight, bias, targets, how)


class _How(NamedTuple):
    """What turns hidden states into log-probabilities, besides the tensors."""

    product_dtype: torch.dtype
    temperature: float
    softcap: float | None
    logit_scale: float
    chunk: int
    with_entropy: bool

    @property
    def precise(self) -> torch.dtype:
        return torch.promote_types(self.product_dtype, torch.float32)

    @property
    def slope(self) -> float:
        """Derivative of the final logits by the raw ones, the softcap aside."""
        return self.logit_scale / self.temperature


class _LogitsInChunks:
    """Makes the logits of one chunk after another in the same memory (fresh pages for each would cost a third more)."""

    def __init__(self, weight_VH: Tensor, bias_V: Tensor | None, positions: int, how: _How) -> None:
        self.how = how
        self.weight_VH = weight_VH.to(how.product_dtype)
        self.bias_V = None if bias_V is None else bias_V.to(how.product_dtype)
        shape = (min(how.chunk, positions), len(weight_VH))
        self._product_CV = weight_VH.new_empty(shape, dtype=how.product_dtype)
        same = how.product_dtype == how.precise
        self._logits_CV = self._product_CV if same else weight_VH.new_empty(shape, dtype=how.precise)
        self._second_CV = weight_VH.new_empty(shape, dtype=how.precise)

    def __call__(self, hidden_CH: Tensor) -> Tensor:
        """Final logits of the chunk: capped, scaled, divided by the temperature. Overwritten by the next call."""
        rows = len(hidden_CH)
        product_CV, logits_CV = self._product_CV[:rows], self._logits_CV[:rows]
        slope = self.how.logit_scale / self.how.softcap if self.how.softcap else self.how.slope
        hidden_CH = hidden_CH.to(self.how.product_dtype)
        if self.bias_V is None:
            product_CV.addmm_(hidden_CH, self.weight_VH.T, beta=0, alpha=slope)
        else:
            torch.addmm(self.bias_V, hidden_CH, self.weight_VH.T, beta=slope, alpha=slope, out=product_CV)
        if logits_CV.dtype != product_CV.dtype:
            logits_CV.copy_(product_CV)
        if self.how.softcap:
            logits_CV.tanh_().mul_(self.how.softcap / self.how.temperature)
        return logits_CV

    def unmade(self, rows: int) -> Tensor:
        """The logits' memory, with whatever it holds."""
        return self._logits_CV[:rows]

    def second(self, rows: int) -> Tensor:
        """A second buffer of the chunk's shape."""
        return self._second_CV[:rows]

    def softcap_slope(self, logits_CV: Tensor) -> Tensor | None:
        """Derivative of softcap * tanh(x / softcap), which is 1 - tanh^2, from the final logits; None without one."""
        if not self.how.softcap:
            return None
        tanh_CV = logits_CV * (self.how.temperature / self.how.softcap)
        return tanh_CV.square_().neg_().add_(1)


class _ChosenLogProbs(torch.autograd.Function):
    """Forward keeps the inputs and one entropy a position; backward makes the logits again (unless one chunk held them)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, how: _How
    ) -> tuple[Tensor, Tensor | None]:
        positions = len(hidden)
        log_probs = hidden.new_empty(positions, dtype=how.precise)
        entropies = torch.empty_like(log_probs) if how.with_entropy else None
        # A softcap's slope needs the logits themselves.
        keeps = positions <= how.chunk and not how.softcap and any(ctx.needs_input_grad[:3])
        kept_CV: Tensor | None = None
        with torch.autocast(hidden.device.type, enabled=False):
            make_logits = _LogitsInChunks(weight, bias, positions, how)
            for start in range(0, positions, how.chunk):
                span = slice(start, start + how.chunk)
                logits_CV = make_logits(hidden[span])
                made_CV = make_logits.second(len(logits_CV))
                if entropies is None:
                    log_probs[span] = _at_targets(logits_CV, targets[span], probs_CV=made_CV)
                else:
                    torch.log_softmax(logits_CV, dim=-1, out=made_CV)
                    log_probs[span] = made_CV.gather(1, targets[span, None]).squeeze(1)
                    probs_CV = torch.exp(made_CV, out=logits_CV)
                    entropies[span] = probs_CV.mul_(made_CV).sum(dim=1).neg_()
                kept_CV = made_CV if keeps else None
        if kept_CV is not None and entropies is None:
            _less_targets(kept_CV, targets)
        ctx.how = how
        ctx.save_for_backward(hidden, weight, bias, targets, entropies, kept_CV)
        ctx.set_materialize_grads(False)
        return log_probs, entropies

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, entropies, kept_CV = ctx.saved_tensors
        how: _How = ctx.how
        positions = len(hidden)
        grad_log_probs, grad_entropies = grad_outputs
        if grad_log_probs is None:
            grad_log_probs = hidden.new_zeros(positions, dtype=how.precise)
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_hidden = hidden.new_empty(hidden.shape, dtype=how.product_dtype) if needs_hidden else None
        grad_weight = weight.new_zeros(weight.shape, dtype=how.precise) if needs_weight else None
        grad_bias = weight.new_zeros(len(weight), dtype=how.precise) if needs_bias else None
        with torch.autocast(hidden.device.type, enabled=False):
            make_logits = _LogitsInChunks(weight, bias, positions, how)
            for start in range(0, positions, how.chunk):
                span = slice(start, start + how.chunk)
                slope_CV, row_scale_C1 = _logit_gradient(
                    make_logits,
                    hidden[span],
                    targets[span],
                    grad_log_probs[span],
                    None if grad_entropies is None else grad_entropies[span],
                    None if entropies is None else entropies[span],
                    kept_CV,
                )
                product_CV = slope_CV.to(how.product_dtype)
                if grad_hidden is not None:
                    torch.mm(product_CV, make_logits.weight_VH, out=grad_hidden[span]).mul_(row_scale_C1)
                if grad_weight is not None:
                    scaled_CH = (hidden[span] * row_scale_C1).to(how.product_dtype)
                    if how.product_dtype == how.precise:
                        grad_weight.addmm_(product_CV.T, scaled_CH)
                    else:
                        grad_weight.add_(product_CV.T @ scaled_CH)
                if grad_bias is not None:
                    grad_bias.addmv_(slope_CV.T, row_scale_C1.squeeze(1))
        return (
            None if grad_hidden is None else grad_hidden.to(hidden.dtype),
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None,
            None,
        )


def _at_targets(logits_CV: Tensor, targets_C: Tensor, *, probs_CV: Tensor) -> Tensor:
    """Log-probability of each target, while `probs_CV` is filled with the probabilities of all tokens.

    The logits' largest entry has the largest probability, at least 1 / V, so that its logarithm is exact:
    log p(target) = log p(largest) + logit(target) - logit(largest). One exponential a logit serves both passes.
    """
    torch.softmax(logits_CV, dim=-1, out=probs_CV)
    chosen_C = logits_CV.gather(1, targets_C[:, None]).squeeze(1)
    return probs_CV.amax(1).log_().add_(chosen_C.sub_(logits_CV.amax(1)))


def _less_targets(probs_CV: Tensor, targets_C: Tensor) -> None:
    """p_v becomes p_v - [v = target]."""
    probs_CV.scatter_add_(1, targets_C[:, None], probs_CV.new_full((len(targets_C), 1), -1.0))


def _logit_gradient(
    make_logits: _LogitsInChunks,
    hidden_CH: Tensor,
    targets_C: Tensor,
    grad_log_probs_C: Tensor,
    grad_entropies_C: Tensor | None,
    entropies_C: Tensor | None,
    kept_CV: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Gradient by the raw logits of a chunk, as a matrix and a factor for each of its rows.

    d log p(target) / d logit_v = [v = target] - p_v, and d entropy / d logit_v = -p_v (log p_v + entropy). What is
    the same along a row stays out of the matrix: scaling a row of hidden states is cheaper than one of logits. `kept_CV` is
    what the forward pass kept: log-probabilities if there are entropies, else the matrix itself.
    """
    logits_CV = make_logits(hidden_CH) if kept_CV is None else make_logits.unmade(len(hidden_CH))
    softcap_CV = make_logits.softcap_slope(logits_CV)
    slope_CV = make_logits.second(len(logits_CV))
    grad_C1 = grad_log_probs_C[:, None]
    if grad_entropies_C is None or entropies_C is None:
        row_scale_C1 = -grad_C1 * make_logits.how.slope
        if kept_CV is not None and entropies_C is None:
            return kept_CV, row_scale_C1
        if kept_CV is None:
            torch.softmax(logits_CV, dim=-1, out=slope_CV)
        else:
            torch.exp(kept_CV, out=slope_CV)
        _less_targets(slope_CV, targets_C)
    else:
        if kept_CV is None:
            torch.log_softmax(logits_CV, dim=-1, out=slope_CV)
        else:
            slope_CV.copy_(kept_CV)
        probs_CV = torch.exp(slope_CV, out=logits_CV)
        constant_C1 = grad_C1 + (grad_entropies_C * entropies_C)[:, None]
        torch.addcmul(constant_C1, slope_CV, grad_entropies_C[:, None], out=slope_CV).mul_(probs_CV)
        slope_CV.scatter_add_(1, targets_C[:, None], -grad_C1)
        row_scale_C1 = torch.full_like(grad_C1, -make_logits.how.slope)
    if softcap_CV is not None:
        slope_CV.mul_(softcap_CV)
    return slope_CV, row_scale_C1
