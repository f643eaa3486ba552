"""One Llama-style decoder layer as a single autograd node for the CPU, with a hand-written forward and backward.

    middle = hidden + attention(rotate(norm(hidden) Wq), rotate(norm(hidden) Wk), norm(hidden) Wv) Wo
    result = middle + (silu(norm(middle) Wgate) * (norm(middle) Wup)) Wdown

Compared with transformers' modules it saves the work between the large matrix products: dozens of passes over memory
and of autograd nodes. Queries, keys and values are one product, and so are their gradients. Residuals are added by the
products. Rotary embedding (arXiv 2104.09864) is one complex multiplication; for it the weights' rows are arranged in
pairs. A layer with an adapter is the same with the adapter added to the weights (fused_lora.py). fused.py decides
whether a layer is supported. Shapes: T tokens of all rows, R tokens whose result is needed (fewer than T in the last
layer only), H hidden, P rows of the joined projection, F feed-forward, A heads of queries and keys, S head size.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from steersman.models.fused_lora import Adapter, LayerGradients, flatten_factors, merged, unflatten_factors
from steersman.models.row_attention import RowLayout, attend_rows, attend_rows_backward

Scales = tuple[float | None, ...] | None


class Weights(NamedTuple):
    """The layer's parameters. `before` and `between` are the norms before attention and before the feed-forward part.

    Query and key norms (Qwen 3) and projection biases (Qwen 2) are None in other families.
    """

    before: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    between: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor
    query_norm: Tensor | None = None
    key_norm: Tensor | None = None
    query_bias: Tensor | None = None
    key_bias: Tensor | None = None
    value_bias: Tensor | None = None


class LayerShape(NamedTuple):
    """Head counts, head size, attention scale, norm epsilon and row layout."""

    heads: int
    key_heads: int
    size: int
    scale: float
    epsilon: float
    rows: RowLayout


def layer(
    hidden: Float[Tensor, "tokens hidden"],
    rotation: Complex[Tensor, "tokens 1 pairs"],
    shape: LayerShape,
    weights: Weights,
    adapter: Adapter | None = None,
) -> Float[Tensor, "read hidden"]:
    """The layer over concatenated rows; `rotation` is cos + i sin of each token's position.

    Tokens whose result is not needed give only keys and values. With an adapter, only the adapter gets gradients.
    """
    compute = cast(Callable[..., Tensor], _Layer.apply)
    scales, factors = flatten_factors(adapter)
    return compute(hidden, rotation, shape, scales, *weights, *factors)


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_TH: Tensor, rotation: Tensor, shape: LayerShape, scales: Scales, *parameters: Tensor | None
    ) -> Tensor:
        weights, _ = _with_adapter(scales, parameters)
        normed_TH, scale_T1 = _normalised(hidden_TH, shape.epsilon)
        joined_PH, bias_P = _joined(weights, shape)
        input_TH = normed_TH * weights.before
        projected_TP = input_TH @ joined_PH.T if bias_P is None else torch.addmm(bias_P, input_TH, joined_PH.T)
        rotated_TAS = _rotated_part(projected_TP, shape)
        heads: tuple[Tensor, ...] = ()
        if weights.query_norm is not None:
            heads = _normalised(rotated_TAS, shape.epsilon)
            torch.mul(heads[0], _head_norms(weights, shape), out=rotated_TAS)
        _in_pairs(rotated_TAS).mul_(rotation)
        places = shape.rows.query_positions
        read_RH = hidden_TH if places is None else hidden_TH.index_select(0, places)
        attended_RH = hidden_TH.new_empty(len(read_RH), shape.heads * shape.size)
        tensors = _heads_of(projected_TP, shape)
        kept = attend_rows(*tensors, shape.rows, _by_head(attended_RH, shape.size))
        middle_RH = torch.addmm(read_RH, attended_RH, weights.output.T)

        between_RH, between_scale_R1 = _normalised(middle_RH, shape.epsilon)
        mlp_input_RH = between_RH * weights.between
        gate_RF, up_RF = mlp_input_RH @ weights.gate.T, mlp_input_RH @ weights.up.T
        result_RH = torch.addmm(middle_RH, torch.nn.functional.silu(gate_RF).mul_(up_RF), weights.down.T)
        ctx.shape, ctx.scales, ctx.rows, ctx.parameters = shape, scales, len(kept), len(parameters)
        ctx.save_for_backward(
            *(rotation, normed_TH, scale_T1, projected_TP, attended_RH, between_RH, between_scale_R1),
            *(gate_RF, up_RF, *parameters, *kept, *heads),
        )
        return result_RH

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        saved: tuple[Any, ...] = ctx.saved_tensors
        rotation, normed_TH, scale_T1, projected_TP, attended_RH, between_RH, between_scale_R1 = saved[:7]
        end = 9 + ctx.parameters
        kept, heads = saved[end : end + ctx.rows], saved[end + ctx.rows :]
        weights, adapter = _with_adapter(ctx.scales, saved[9:end])
        shape: LayerShape = ctx.shape
        gradients = LayerGradients(adapter)
        grads = gradients.own

        grad_RH = grad_outputs[0].contiguous()
        grad_input_RH = _feed_forward_backward(grad_RH, between_RH, saved[7:9], weights, gradients)
        grad_RH, grads["between"] = _norm_backward(
            grad_input_RH, between_RH, between_scale_R1, weights.between, grad_RH
        )

        gradients.product("output", grad_RH, attended_RH)
        by_projected_TP = torch.empty_like(projected_TP)
        _attention_backward(grad_RH @ weights.output, projected_TP, attended_RH, kept, by_projected_TP, shape)
        rotated_TAS = _rotated_part(by_projected_TP, shape)
        _in_pairs(rotated_TAS).mul_(rotation.conj())
        if heads:
            _head_norms_backward(rotated_TAS, heads, weights, shape, grads)
        joined_PH, _ = _joined(weights, shape)
        _projections_backward(by_projected_TP, normed_TH * weights.before, weights, shape, gradients)
        if not ctx.needs_input_grad[0]:
            # the first layer of a frozen base: nothing before it needs a gradient
            return None, None, None, None, *gradients.in_order(Weights._fields)
        places = shape.rows.query_positions
        residual_TH = grad_RH if places is None else torch.zeros_like(normed_TH).index_copy_(0, places, grad_RH)
        grad_TH, grads["before"] = _norm_backward(
            by_projected_TP @ joined_PH, normed_TH, scale_T1, weights.before, residual_TH
        )
        return grad_TH, None, None, None, *gradients.in_order(Weights._fields)


def _with_adapter(scales: Scales, parameters: tuple[Tensor | None, ...]) -> tuple[Weights, Adapter | None]:
    """The weights, with the adapter added to them if there is one."""
    count = len(Weights._fields)
    weights, adapter = Weights(*cast(Any, parameters[:count])), unflatten_factors(scales, parameters[count:])
    if adapter is None:
        return weights, None
    return weights._replace(
        **{name: merged(getattr(weights, name), factors) for name, factors in adapter.items()}
    ), adapter


def _feed_forward_backward(
    grad_RH: Tensor,
    between_RH: Tensor,
    inner: tuple[Tensor, Tensor],
    weights: Weights,
    gradients: LayerGradients,
) -> Tensor:
    gate_RF, up_RF = inner
    # recomputed: it costs next to nothing, and saving it would take a sixth of what a layer saves
    sigmoid_RF = torch.sigmoid(gate_RF)
    silu_RF = gate_RF * sigmoid_RF
    # the derivative of x s(x) is s + x s (1 - s): one exponential serves both
    slope_RF = torch.lerp(silu_RF, silu_RF.new_ones(1), sigmoid_RF, out=sigmoid_RF)
    by_product_RF = grad_RH @ weights.down
    gradients.product("down", grad_RH, silu_RF * up_RF)
    by_up_RF = silu_RF.mul_(by_product_RF)
    by_gate_RF = by_product_RF.mul_(up_RF).mul_(slope_RF)
    input_RH = between_RH * weights.between
    gradients.product("gate", by_gate_RF, input_RH)
    gradients.product("up", by_up_RF, input_RH)
    return (by_gate_RF @ weights.gate).addmm_(by_up_RF, weights.up)


def _attention_backward(
    by_attended_RH: Tensor,
    projected_TP: Tensor,
    attended_RH: Tensor,
    kept: tuple[Tensor, ...],
    into_TP: Tensor,
    shape: LayerShape,
) -> None:
    """Write the gradients of queries, keys and values into `into_TP`."""
    tensors = (*_heads_of(projected_TP, shape), _by_head(attended_RH, shape.size))
    targets = _parts(into_TP, shape)
    groups = shape.heads // shape.key_heads
    # With grouped queries (GQA) a key's gradient is the sum over its query heads.
    own = (
        targets[0] if shape.rows.query_positions is None else torch.empty_like(tensors[0]),
        *(
            torch.empty_like(tensor) if groups > 1 else part
            for tensor, part in zip(tensors[1:3], targets[1:], strict=True)
        ),
    )
    grad = _by_head(by_attended_RH, shape.size)
    attend_rows_backward(grad, tensors, kept, shape.rows, own)
    if shape.rows.query_positions is not None:
        targets[0].zero_().index_copy_(1, shape.rows.query_positions, own[0])
    if groups > 1:
        for whole, target in zip(own[1:], targets[1:], strict=True):
            torch.sum(whole.unflatten(0, (shape.key_heads, groups)), dim=1, out=target)


def _normalised(values: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """RMSNorm (arXiv 1910.07467) over the last axis, without its weight, and the factor on the values."""
    length = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
    scale = length.square_().div_(values.shape[-1]).add_(epsilon).rsqrt_()
    return values * scale, scale


def _norm_backward(
    grad_TH: Tensor, normed_TH: Tensor, scale_T1: Tensor, weight_H: Tensor, residual_TH: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of the norm's input (plus the residual's) and of its weight. `grad_TH` is overwritten."""
    by_weight_TH = grad_TH * normed_TH
    mean_T1 = torch.mv(by_weight_TH, weight_H).div_(normed_TH.shape[1])[:, None]
    inner_TH = grad_TH.mul_(weight_H).addcmul_(normed_TH, mean_T1, value=-1)
    return torch.addcmul(residual_TH, inner_TH, scale_T1), by_weight_TH.sum(0)


def _head_norms(weights: Weights, shape: LayerShape) -> Tensor:
    """Weights of query and key norms in the order of the joined projection, [A, S]; the scale is in the queries'."""
    query, key = (_pair_rows(cast(Tensor, norm), shape.size) for norm in (weights.query_norm, weights.key_norm))
    return torch.cat([(query * shape.scale).expand(shape.heads, -1), key.expand(shape.key_heads, -1)])


def _head_norms_backward(
    grad_TAS: Tensor, kept: tuple[Tensor, ...], weights: Weights, shape: LayerShape, grads: dict[str, Tensor | None]
) -> None:
    """In place: `grad_TAS`, the gradient of the head norms' outputs, becomes that of their inputs."""
    normed_TAS, scale_TA1 = kept
    weight_AS = _head_norms(weights, shape)
    by_weight_TAS = grad_TAS * normed_TAS
    by_weight_AS = by_weight_TAS.sum(0)
    mean_TA1 = by_weight_TAS.mul_(weight_AS).mean(-1, keepdim=True)
    grad_TAS.mul_(weight_AS).addcmul_(normed_TAS, mean_TA1, value=-1).mul_(scale_TA1)
    query, key = by_weight_AS.split((shape.heads, shape.key_heads))
    grads["query_norm"] = _unpair_rows(query.sum(0), shape.size).mul_(shape.scale)
    grads["key_norm"] = _unpair_rows(key.sum(0), shape.size)


def _pair_rows(weight: Tensor, size: int) -> Tensor:
    """Put each head's rows i and i + size/2 side by side: the rotary embedding rotates them together."""
    return weight.view(-1, 2, size // 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def _unpair_rows(weight: Tensor, size: int) -> Tensor:
    return weight.view(-1, size // 2, 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def _joined(weights: Weights, shape: LayerShape) -> tuple[Tensor, Tensor | None]:
    """The concatenated weights of the projections, and their biases if any; rows of queries and keys are in pairs.

    The attention scale is in the queries' part, or in their norm if they have one.
    """
    scale = _query_scale(weights, shape)

    def join(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return torch.cat([_pair_rows(query, shape.size) * scale, _pair_rows(key, shape.size), value])

    biases = (weights.query_bias, weights.key_bias, weights.value_bias)
    return join(weights.query, weights.key, weights.value), None if biases[0] is None else join(*cast(Any, biases))


def _query_scale(weights: Weights, shape: LayerShape) -> float:
    return shape.scale if weights.query_norm is None else 1.0


def _projections_backward(
    by_projected_TP: Tensor, input_TH: Tensor, weights: Weights, shape: LayerShape, gradients: LayerGradients
) -> None:
    """Gradients of the projections' weights and biases, or of their adapters."""
    widths = (len(weights.query), len(weights.key), len(weights.value))
    scale, grads = _query_scale(weights, shape), gradients.own
    if gradients.adapter is not None:
        query, key, value = by_projected_TP.split(widths, dim=1)
        gradients.product("query", query, input_TH, lambda b: _pair_rows(b, shape.size) * scale)
        gradients.product("key", key, input_TH, lambda b: _pair_rows(b, shape.size))
        gradients.product("value", value, input_TH)
        gradients.put_back("query", lambda by_b: _unpair_rows(by_b, shape.size) * scale)
        gradients.put_back("key", lambda by_b: _unpair_rows(by_b, shape.size))
        return
    joined_grads = {"": by_projected_TP.T @ input_TH}
    if weights.query_bias is not None:
        joined_grads["_bias"] = by_projected_TP.sum(0)
    for kind, joined in joined_grads.items():
        query, key, value = joined.split(widths)
        grads[f"query{kind}"] = _unpair_rows(query, shape.size).mul_(scale)
        grads[f"key{kind}"] = _unpair_rows(key, shape.size)
        grads[f"value{kind}"] = value.clone()  # a view would keep all three in memory


def _rotated_part(projected_TP: Tensor, shape: LayerShape) -> Tensor:
    """Queries and keys: [T, A, S]."""
    rotated = shape.heads + shape.key_heads
    return projected_TP[:, : rotated * shape.size].unflatten(1, (rotated, shape.size))


def _in_pairs(rotated_TAS: Tensor) -> Tensor:
    return torch.view_as_complex(rotated_TAS.unflatten(2, (-1, 2)))


def _parts(projected_TP: Tensor, shape: LayerShape) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, as [heads, T, S] views."""
    queries, keys = shape.heads * shape.size, shape.key_heads * shape.size
    query, key, value = projected_TP.split((queries, keys, keys), dim=1)
    return _by_head(query, shape.size), _by_head(key, shape.size), _by_head(value, shape.size)


def _heads_of(projected_TP: Tensor, shape: LayerShape) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values with one key and value per query head, and only the queries whose result is needed."""
    query, key, value = _parts(projected_TP, shape)
    if shape.rows.query_positions is not None:
        query = query.index_select(1, shape.rows.query_positions)
    groups = shape.heads // shape.key_heads
    if groups == 1:
        return query, key, value
    return query, key.repeat_interleave(groups, dim=0), value.repeat_interleave(groups, dim=0)


def _by_head(tokens: Tensor, size: int) -> Tensor:
    return tokens.unflatten(1, (-1, size)).transpose(0, 1)
