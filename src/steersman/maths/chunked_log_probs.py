"""Log-probs and entropies of target tokens from hidden states, in chunks: full `[positions, vocab]` logits never exist.

`chosen_log_probs` returns one per target. Its backward pass recomputes each chunk's logits, since the gradients of the
log-probs are known only then. A single chunk is kept instead: no more memory than the backward pass would take, and one
matrix product saved. `summed_log_probs` returns the sum: all weights are equal, so the forward pass also computes the
gradient. Shape suffixes: C positions of one chunk, V vocabulary, H hidden.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Logits in one chunk: 32 MiB in float32. With smaller chunks the matrix product is slower, since it packs the whole
# weight each time (2 cores, vocab 32000, hidden 768: 2 Mi logits 1.5 times slower); larger ones gain under 10 %.
_LOGITS_PER_CHUNK = 8 * 2**20
# On a GPU a product of a few hundred positions ends before the next kernel is launched: 256 MiB.
_LOGITS_PER_CHUNK_ON_GPU = 64 * 2**20
_FEWEST_POSITIONS = 128


def chunk_for(vocab: int, device: str = "cpu") -> int:
    """Positions per chunk for a vocabulary of this size on a device of this type."""
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
    """Log-prob of each target token, and the entropy of its distribution over the vocabulary.

    logits = cap(logit_scale * (hidden @ weight.T + bias)) / temperature, with cap(x) = softcap * tanh(x / softcap) as
    in Gemma 2. Both results are float32 (float64 if the inputs are) and differentiable; a frozen weight costs nothing.
    The matrix product runs in the autocast dtype or that of the inputs, softmax and sums in float32.
    """
    settings = _settings(hidden, weight, temperature, softcap, logit_scale, chunk)
    compute = cast(Callable[..., tuple[Tensor, Tensor | None]], _ChosenLogProbs.apply)  # pyright: ignore[reportUnknownMemberType]
    return compute(hidden, weight, bias, targets, settings, with_entropy)


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
    """The sum of `chosen_log_probs`, for losses with the same weight for each token: a quarter less computation."""
    settings = _settings(hidden, weight, temperature, softcap, logit_scale, chunk)
    compute = cast(Callable[..., Tensor], _SummedLogProbs.apply)  # pyright: ignore[reportUnknownMemberType]
    return compute(hidden, weight, bias, targets, settings)


class _LogitSettings(NamedTuple):
    """The numbers by which hidden states become log-probs."""

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
        """Derivative of the final logits with respect to the raw ones, without the softcap."""
        return self.logit_scale / self.temperature


def _settings(
    hidden: Tensor, weight: Tensor, temperature: float, softcap: float | None, logit_scale: float, chunk: int
) -> _LogitSettings:
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; expected at least 1 position. See chunk_for(vocab).")
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; logits are divided by it, so it must be above 0.")
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        product_dtype = torch.get_autocast_dtype(device)
    else:
        product_dtype = torch.promote_types(hidden.dtype, weight.dtype)
    return _LogitSettings(product_dtype, temperature, softcap, logit_scale, chunk)


class _LogitsInChunks:
    """Computes the logits of one chunk after another in the same buffer: new memory for each costs a third more."""

    def __init__(self, weight_VH: Tensor, bias_V: Tensor | None, positions: int, settings: _LogitSettings) -> None:
        self.settings = settings
        self.weight_VH = weight_VH.to(settings.product_dtype)
        self.bias_V = None if bias_V is None else bias_V.to(settings.product_dtype)
        shape = (min(settings.chunk, positions), len(weight_VH))
        self._product_CV = weight_VH.new_empty(shape, dtype=settings.product_dtype)
        same = settings.product_dtype == settings.precise
        self._logits_CV = self._product_CV if same else weight_VH.new_empty(shape, dtype=settings.precise)
        self._second_CV = weight_VH.new_empty(shape, dtype=settings.precise)

    def __call__(self, hidden_CH: Tensor) -> Tensor:
        """Final logits of the chunk: capped, scaled, divided by the temperature. Overwritten by the next call."""
        rows = len(hidden_CH)
        product_CV, logits_CV = self._product_CV[:rows], self._logits_CV[:rows]
        slope = self.settings.logit_scale / self.settings.softcap if self.settings.softcap else self.settings.slope
        hidden_CH = hidden_CH.to(self.settings.product_dtype)
        if self.bias_V is None:
            product_CV.addmm_(hidden_CH, self.weight_VH.T, beta=0, alpha=slope)
        else:
            torch.addmm(self.bias_V, hidden_CH, self.weight_VH.T, beta=slope, alpha=slope, out=product_CV)
        if logits_CV.dtype != product_CV.dtype:
            logits_CV.copy_(product_CV)
        if self.settings.softcap:
            logits_CV.tanh_().mul_(self.settings.softcap / self.settings.temperature)
        return logits_CV

    def logits_buffer(self, rows: int) -> Tensor:
        """The buffer of the logits, uninitialised."""
        return self._logits_CV[:rows]

    def second_buffer(self, rows: int) -> Tensor:
        """A second buffer of the chunk's shape."""
        return self._second_CV[:rows]

    def softcap_slope(self, logits_CV: Tensor) -> Tensor | None:
        """Derivative of softcap * tanh(x / softcap), 1 - tanh^2, from the final logits; None without a softcap."""
        if not self.settings.softcap:
            return None
        tanh_CV = logits_CV * (self.settings.temperature / self.settings.softcap)
        return tanh_CV.square_().neg_().add_(1)


class _Gradients:
    """Gradients of hidden states, output weight and bias, accumulated chunk by chunk; None where none is needed."""

    def __init__(self, needed: tuple[bool, ...], hidden: Tensor, weight_VH: Tensor, settings: _LogitSettings) -> None:
        needs_hidden, needs_weight, needs_bias = needed
        self._settings, self._inputs, self._weight_VH = settings, hidden, weight_VH
        self.hidden = hidden.new_empty(hidden.shape, dtype=settings.product_dtype) if needs_hidden else None
        # The first chunk's product overwrites: zeroing a large tensor first costs as much as a small layer.
        self._first = len(hidden) > 0
        empty = weight_VH.new_empty if self._first else weight_VH.new_zeros
        self.weight = empty(weight_VH.shape, dtype=settings.precise) if needs_weight else None
        self.bias = weight_VH.new_zeros(len(weight_VH), dtype=settings.precise) if needs_bias else None

    def add(self, span: slice, slope_CV: Tensor, row_scale_C1: Tensor) -> None:
        """Add a chunk whose gradient with respect to the raw logits is `row_scale * slope`."""
        settings = self._settings
        product_CV = slope_CV.to(settings.product_dtype)
        if self.hidden is not None:
            torch.mm(product_CV, self._weight_VH, out=self.hidden[span]).mul_(row_scale_C1)
        if self.weight is not None:
            scaled_CH = (self._inputs[span] * row_scale_C1).to(settings.product_dtype)
            if settings.product_dtype == settings.precise:
                self.weight.addmm_(product_CV.T, scaled_CH, beta=0 if self._first else 1)
            elif self._first:
                self.weight.copy_(product_CV.T @ scaled_CH)
            else:
                self.weight.add_(product_CV.T @ scaled_CH)
            self._first = False
        if self.bias is not None:
            self.bias.addmv_(slope_CV.T, row_scale_C1.squeeze(1))


class _ChosenLogProbs(torch.autograd.Function):
    """Forward saves inputs and one entropy per position; backward recomputes the logits, unless there was one chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        settings: _LogitSettings,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor | None]:
        positions = len(hidden)
        log_probs = hidden.new_empty(positions, dtype=settings.precise)
        entropies = torch.empty_like(log_probs) if with_entropy else None
        # The derivative of a softcap needs the logits themselves.
        keeps = positions <= settings.chunk and not settings.softcap and any(ctx.needs_input_grad[:3])
        kept_CV: Tensor | None = None
        with torch.autocast(hidden.device.type, enabled=False):
            make_logits = _LogitsInChunks(weight, bias, positions, settings)
            for start in range(0, positions, settings.chunk):
                span = slice(start, start + settings.chunk)
                logits_CV = make_logits(hidden[span])
                output_CV = make_logits.second_buffer(len(logits_CV))
                if entropies is None:
                    log_probs[span] = _at_targets(logits_CV, targets[span], probs_CV=output_CV)
                else:
                    torch.log_softmax(logits_CV, dim=-1, out=output_CV)
                    log_probs[span] = output_CV.gather(1, targets[span, None]).squeeze(1)
                    probs_CV = torch.exp(output_CV, out=logits_CV)
                    entropies[span] = probs_CV.mul_(output_CV).sum(dim=1).neg_()
                kept_CV = output_CV if keeps else None
        if kept_CV is not None and entropies is None:
            _subtract_one_hot(kept_CV, targets)
        ctx.settings = settings
        ctx.save_for_backward(hidden, weight, bias, targets, entropies, kept_CV)
        ctx.set_materialize_grads(False)
        return log_probs, entropies

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, entropies, kept_CV = ctx.saved_tensors
        settings: _LogitSettings = ctx.settings
        positions = len(hidden)
        grad_log_probs, grad_entropies = grad_outputs
        if grad_log_probs is None:
            grad_log_probs = hidden.new_zeros(positions, dtype=settings.precise)
        with torch.autocast(hidden.device.type, enabled=False):
            make_logits = _LogitsInChunks(weight, bias, positions, settings)
            gradients = _Gradients(ctx.needs_input_grad[:3], hidden, make_logits.weight_VH, settings)
            for start in range(0, positions, settings.chunk):
                span = slice(start, start + settings.chunk)
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
    """Forward computes the gradient together with the logits; backward only scales it, in place, so it runs once."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, settings: _LogitSettings
    ) -> Tensor:
        positions, needed = len(hidden), ctx.needs_input_grad[:3]
        log_probs = hidden.new_empty(positions, dtype=settings.precise)
        with torch.autocast(hidden.device.type, enabled=False):
            make_logits = _LogitsInChunks(weight, bias, positions, settings)
            gradients = _Gradients(needed, hidden, make_logits.weight_VH, settings)
            row_scale_C1 = hidden.new_full((min(positions, settings.chunk), 1), -settings.slope, dtype=settings.precise)
            for start in range(0, positions, settings.chunk):
                span = slice(start, start + settings.chunk)
                logits_CV = make_logits(hidden[span])
                softcap_CV = make_logits.softcap_slope(logits_CV) if any(needed) else None
                slope_CV = make_logits.second_buffer(len(logits_CV))
                log_probs[span] = _at_targets(logits_CV, targets[span], probs_CV=slope_CV)
                if any(needed):
                    _subtract_one_hot(slope_CV, targets[span])
                    if softcap_CV is not None:
                        slope_CV.mul_(softcap_CV)
                    gradients.add(span, slope_CV, row_scale_C1[: len(slope_CV)])
        ctx.gradients = _in_type_of(gradients, hidden, weight, bias)
        return log_probs.sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError(
                "the gradient of this sum was already taken; compute the sum again for a second backward"
            )
        return (*(None if grad is None else grad.mul_(grad_outputs[0]) for grad in gradients), None, None)


def _in_type_of(
    gradients: _Gradients, hidden: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor | None, ...]:
    pairs = ((gradients.hidden, hidden), (gradients.weight, weight), (gradients.bias, bias))
    return tuple(None if grad is None or like is None else grad.to(like.dtype) for grad, like in pairs)


def _at_targets(logits_CV: Tensor, targets_C: Tensor, *, probs_CV: Tensor) -> Tensor:
    """Log-prob of each target; fills `probs_CV` with the probabilities of all tokens.

    The largest logit has the largest probability, at least 1 / V, so its logarithm is exact:
    log p(target) = log p(largest) + logit(target) - logit(largest). One exponential per logit serves both passes.
    """
    torch.softmax(logits_CV, dim=-1, out=probs_CV)
    chosen_C = logits_CV.gather(1, targets_C[:, None]).squeeze(1)
    return probs_CV.amax(1).log_().add_(chosen_C.sub_(logits_CV.amax(1)))


def _subtract_one_hot(probs_CV: Tensor, targets_C: Tensor) -> None:
    """In place: p_v becomes p_v - [v = target]."""
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
    """Gradient with respect to the raw logits of a chunk, as a matrix and a factor for each of its rows.

    d log p(target) / d logit_v = [v = target] - p_v, and d entropy / d logit_v = -p_v (log p_v + entropy). A factor
    common to a row stays out of the matrix: scaling a row of hidden states is cheaper than scaling a row of logits.
    `kept_CV` is what the forward pass saved: log-probs if there are entropies, else the matrix itself.
    """
    logits_CV = make_logits(hidden_CH) if kept_CV is None else make_logits.logits_buffer(len(hidden_CH))
    softcap_CV = make_logits.softcap_slope(logits_CV)
    slope_CV = make_logits.second_buffer(len(logits_CV))
    grad_C1 = grad_log_probs_C[:, None]
    if grad_entropies_C is None or entropies_C is None:
        row_scale_C1 = -grad_C1 * make_logits.settings.slope
        if kept_CV is not None and entropies_C is None:
            return kept_CV, row_scale_C1
        if kept_CV is None:
            torch.softmax(logits_CV, dim=-1, out=slope_CV)
        else:
            torch.exp(kept_CV, out=slope_CV)
        _subtract_one_hot(slope_CV, targets_C)
    else:
        if kept_CV is None:
            torch.log_softmax(logits_CV, dim=-1, out=slope_CV)
        else:
            slope_CV.copy_(kept_CV)
        probs_CV = torch.exp(slope_CV, out=logits_CV)
        constant_C1 = grad_C1 + (grad_entropies_C * entropies_C)[:, None]
        torch.addcmul(constant_C1, slope_CV, grad_entropies_C[:, None], out=slope_CV).mul_(probs_CV)
        slope_CV.scatter_add_(1, targets_C[:, None], -grad_C1)
        row_scale_C1 = torch.full_like(grad_C1, -make_logits.settings.slope)
    if softcap_CV is not None:
        slope_CV.mul_(softcap_CV)
    return slope_CV, row_scale_C1
