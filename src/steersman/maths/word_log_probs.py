"""From hidden states to the log-probability and entropy of tokens, without the `[positions, vocab]` logits ever existing.

They are made a chunk at a time. `chosen_log_probs` gives one a token and makes the chunks again in its backward pass, since
only then is it known how much each token counts; where all positions fit into one chunk it is kept instead: it takes no more
memory than the backward pass would, and saves a product. `summed_log_probs` gives their sum, in which each counts alike, so that
the gradient is made with the logits and no product is done twice.
Legend of the shape suffixes: C positions of one chunk, V vocabulary, H hidden.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Logits in one chunk: 32 MiB in float32. Smaller chunks leave the matrix product slower, since it packs the whole
# weight each time (2 cores, vocab 32000, hidden 768: 2 Mi logits 1.5 times slower); larger ones gain under 10 %.
_LOGITS_PER_CHUNK = 8 * 2**20
# On a GPU a product of a few hundred positions is over before the next is asked for: 256 MiB.
_LOGITS_PER_CHUNK_ON_GPU = 64 * 2**20
_FEWEST_POSITIONS = 128


def chunk_for(vocab: int, device: str = "cpu") -> int:
    """How many positions to take at a time for a vocabulary of this size on a device of this kind."""
    return max(_FEWEST_POSITIONS, (_LOGITS_PER_CHUNK_ON_GPU if device == "cuda" else _LOGITS_PER_CHUNK) // vocab)


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
    how = _how(hidden, weight, temperature, softcap, logit_scale, chunk)
    compute = cast(Callable[..., tuple[Tensor, Tensor | None]], _ChosenLogProbs.apply)  # pyright: ignore[reportUnknownMemberType]
    return compute(hidden, weight, bias, targets, how, with_entropy)


def summed_log_probs(
    hidden: Float[Tensor, "positions hidden"],
    weight: Float[Tensor, "vocab hidden"],
    bias: Float[Tensor, " vocab"] | None,
    targets: Int[Tensor, " positions"],
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    chunk: int,
) -> Float[Tensor, ""]:
    """The sum of `chosen_log_probs`, for losses in which each token counts alike: a quarter less to compute."""
    how = _how(hidden, weight, temperature, softcap, logit_scale, chunk)
    compute = cast(Callable[..., Tensor], _SummedLogProbs.apply)  # pyright: ignore[reportUnknownMemberType]
    return compute(hidden, weight, bias, targets, how)


class _How(NamedTuple):
    """What turns hidden states into log-probabilities, besides the tensors."""

    product_dtype: torch.dtype
    temperature: float
    softcap: float | None
    logit_scale: float
    chunk: int

    @property
    def precise(self) -> torch.dtype:
        return torch.promote_types(self.product_dtype, torch.float32)

    @property
    def slope(self) -> float:
        """Derivative of the final logits by the raw ones, the softcap aside."""
        return self.logit_scale / self.temperature


def _how(
    hidden: Tensor, weight: Tensor, temperature: float, softcap: float | None, logit_scale: float, chunk: int
) -> _How:
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}, but at least one position must be taken at a time. See chunk_for(vocab).")
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; logits are divided by it, so it must be above 0.")
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        product_dtype = torch.get_autocast_dtype(device)
    else:
        product_dtype = torch.promote_types(hidden.dtype, weight.dtype)
    return _How(product_dtype, temperature, softcap, logit_scale, chunk)


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


class _Gradients:
    """The gradients by hidden states, output weight and bias, gathered a chunk at a time; None for what needs none."""

    def __init__(self, needed: tuple[bool, ...], hidden: Tensor, weight_VH: Tensor, how: _How) -> None:
        needs_hidden, needs_weight, needs_bias = needed
        self._how, self._inputs, self._weight_VH = how, hidden, weight_VH
        self.hidden = hidden.new_empty(hidden.shape, dtype=how.product_dtype) if needs_hidden else None
        # The first chunk's product is written, not added: clearing a large tensor before costs as much as a small layer.
        self._first = len(hidden) > 0
        empty = weight_VH.new_empty if self._first else weight_VH.new_zeros
        self.weight = empty(weight_VH.shape, dtype=how.precise) if needs_weight else None
        self.bias = weight_VH.new_zeros(len(weight_VH), dtype=how.precise) if needs_bias else None

    def add(self, span: slice, slope_CV: Tensor, row_scale_C1: Tensor) -> None:
        """A chunk whose gradient by the raw logits is `row_scale * slope`."""
        how = self._how
        product_CV = slope_CV.to(how.product_dtype)
        if self.hidden is not None:
            torch.mm(product_CV, self._weight_VH, out=self.hidden[span]).mul_(row_scale_C1)
        if self.weight is not None:
            scaled_CH = (self._inputs[span] * row_scale_C1).to(how.product_dtype)
            if how.product_dtype == how.precise:
                self.weight.addmm_(product_CV.T, scaled_CH, beta=0 if self._first else 1)
            elif self._first:
                self.weight.copy_(product_CV.T @ scaled_CH)
            else:
                self.weight.add_(product_CV.T @ scaled_CH)
            self._first = False
        if self.bias is not None:
            self.bias.addmv_(slope_CV.T, row_scale_C1.squeeze(1))


class _ChosenLogProbs(torch.autograd.Function):
    """Forward keeps the inputs and one entropy a position; backward makes the logits again (unless one chunk held them)."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, how: _How, with_entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        positions = len(hidden)
        log_probs = hidden.new_empty(positions, dtype=how.precise)
        entropies = torch.empty_like(log_probs) if with_entropy else None
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
        with torch.autocast(hidden.device.type, enabled=False):
            make_logits = _LogitsInChunks(weight, bias, positions, how)
            gradients = _Gradients(ctx.needs_input_grad[:3], hidden, make_logits.weight_VH, how)
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
                gradients.add(span, slope_CV, row_scale_C1)
        return (*_in_type_of(gradients, hidden, weight, bias), None, None, None)


class _SummedLogProbs(torch.autograd.Function):
    """Forward makes the gradient with the logits; backward only scales it, in place and therefore once."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, how: _How) -> Tensor:
        positions, needed = len(hidden), ctx.needs_input_grad[:3]
        log_probs = hidden.new_empty(positions, dtype=how.precise)
        with torch.autocast(hidden.device.type, enabled=False):
            make_logits = _LogitsInChunks(weight, bias, positions, how)
            gradients = _Gradients(needed, hidden, make_logits.weight_VH, how)
            row_scale_C1 = hidden.new_full((min(positions, how.chunk), 1), -how.slope, dtype=how.precise)
            for start in range(0, positions, how.chunk):
                span = slice(start, start + how.chunk)
                logits_CV = make_logits(hidden[span])
                softcap_CV = make_logits.softcap_slope(logits_CV) if any(needed) else None
                slope_CV = make_logits.second(len(logits_CV))
                log_probs[span] = _at_targets(logits_CV, targets[span], probs_CV=slope_CV)
                if any(needed):
                    _less_targets(slope_CV, targets[span])
                    if softcap_CV is not None:
                        slope_CV.mul_(softcap_CV)
                    gradients.add(span, slope_CV, row_scale_C1[: len(slope_CV)])
        ctx.gradients = _in_type_of(gradients, hidden, weight, bias)
        return log_probs.sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        made, ctx.gradients = ctx.gradients, None
        if made is None:
            raise RuntimeError("the gradient of this sum was already taken; compute the sum again to take it twice")
        return (*(None if one is None else one.mul_(grad_outputs[0]) for one in made), None, None)


def _in_type_of(
    gradients: _Gradients, hidden: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor | None, ...]:
    pairs = ((gradients.hidden, hidden), (gradients.weight, weight), (gradients.bias, bias))
    return tuple(None if made is None or like is None else made.to(like.dtype) for made, like in pairs)


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
