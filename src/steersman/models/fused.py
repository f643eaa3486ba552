"""Replaces the forward of Llama-style decoder layers of a loaded model by a fused one for the CPU (fused_layer.py).

A layer's parameters and their names stay the same; only its `forward` is replaced. The fused forward falls back to
transformers for everything it does not support: generation, hooks, quantised or half-precision weights, autocast,
sharding. Whether both give the same hidden states is tried when a model is loaded (`trials.find_unpadded`).
"""

from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from steersman.models.fused_layer import LayerShape, Weights, layer
from steersman.models.fused_lora import PRODUCTS, Adapter, factors_of, parts_of
from steersman.models.row_attention import RowLayout

# transformers' layer classes with this structure
KINDS = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer")


def fuse(trunk: nn.Module) -> int:
    """Replace the forward of every supported layer by the fused one; returns their number."""
    layers = [module for module in trunk.modules() if type(module).__name__ in KINDS]
    for module in layers:
        module.forward = MethodType(partial(_forward, last=module is layers[-1]), module)
    return len(layers)


def unfuse(trunk: nn.Module) -> None:
    """Restore the layers' own forward."""
    for module in trunk.modules():
        if type(module).__name__ in KINDS:
            module.__dict__.pop("forward", None)


def _forward(module: Any, hidden_states: Tensor, *, last: bool, rows: RowLayout | None = None, **rest: Any) -> Tensor:
    """The fused forward, with a fallback to the layer's own.

    The last layer returns only the positions that are needed.
    """
    without_cache = rows is not None and rest.get("past_key_values") is None
    parameters = weights_of(module, hidden_states) if without_cache else None
    if rows is None:
        return type(module).forward(module, hidden_states, **rest)
    if parameters is None:
        every = type(module).forward(module, hidden_states, rows=rows, **rest)
        return every if rows.query_positions is None or not last else every[:, rows.query_positions]
    weights, adapter = parameters
    cos, sin = rest["position_embeddings"]
    attention = module.self_attn
    size: int = attention.head_dim
    # transformers repeats each angle for the two halves of a head; a complex number needs it once
    rotation = torch.complex(cos[0, :, None, : size // 2], sin[0, :, None, : size // 2])
    shape = LayerShape(
        heads=weights.query.shape[0] // size,
        key_heads=weights.key.shape[0] // size,
        size=size,
        scale=float(attention.scaling),
        epsilon=float(module.input_layernorm.variance_epsilon),
        rows=rows if last else rows.with_all_queries,
    )
    compute = partial(layer, rotation=rotation, shape=shape, weights=weights, adapter=adapter)
    if module.gradient_checkpointing and module.training:
        # transformers does gradient checkpointing inside the forward that is replaced here
        return module._gradient_checkpointing_func(compute, hidden_states[0])[None]
    return compute(hidden_states[0])[None]


def weights_of(module: Any, hidden: Tensor) -> tuple[Weights, Adapter | None] | None:
    """The layer's weights and active adapter, or None if the fused forward does not support the layer's state."""
    plain = hidden.dtype == torch.float32 and hidden.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    # a sharded layer has another class, and gathers its weights with hooks of its own
    if not plain or type(module).__name__ not in KINDS:
        return None
    attention, feed_forward = module.self_attn, module.mlp
    norms = [module.input_layernorm, module.post_attention_layernorm]
    heads_norms = [getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)]
    linears = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    linears += [feed_forward.gate_proj, feed_forward.up_proj, feed_forward.down_proj]
    adapter = {
        name: factors
        for name, product in zip(PRODUCTS, linears, strict=True)
        if (factors := factors_of(product)) is not None and not any(map(_hooked, parts_of(product)))
    }
    products = [
        product.base_layer if name in adapter else _without_adapter(product)
        for name, product in zip(PRODUCTS, linears, strict=True)
    ]
    biases = [product.bias for product in products[:3]]
    own_norms = [norm for norm in (*norms, *heads_norms) if norm is not None]
    supported = (
        all(type(product) is nn.Linear for product in products)
        and all(product.bias is None for product in products[3:])
        and len({bias is None for bias in biases}) == 1
        and len(own_norms) in (2, 4)
        and len({(type(norm), norm.variance_epsilon) for norm in own_norms}) == 1
        and type(feed_forward.act_fn).__name__ in ("SiLU", "SiLUActivation")
        and not (module.training and attention.attention_dropout)
        and not any(_hooked(part) for part in (attention, feed_forward, feed_forward.act_fn, *own_norms, *products))
    )
    if not supported:
        return None
    before, between = (norm.weight for norm in norms)
    query, key, value, output, gate, up, down = (product.weight for product in products)
    head_weights = [None if norm is None else norm.weight for norm in heads_norms]
    weights = Weights(before, query, key, value, output, between, gate, up, down, *head_weights, *biases)
    return (weights, adapter or None) if _uniformly_trained(weights, adapter, hidden) else None


def _without_adapter(product: Any) -> Any:
    """The base linear layer, if no adapter on it is active (the reference's pass); else the layer as it is."""
    if not hasattr(product, "base_layer") or product.merged or _hooked(product):
        return product
    off = product.disable_adapters or not any(
        name in getattr(product, "lora_A", ()) for name in product.active_adapters
    )
    return product.base_layer if off else product


def _hooked(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in module.__dict__
    )


def _uniformly_trained(weights: Weights, adapter: Adapter, hidden: Tensor) -> bool:
    """Whether the weights are float32 parameters that are all trained, all frozen, or frozen under a trained adapter.

    A layer of which only some weights are trained is left to autograd.
    """
    present = [weight for weight in weights if weight is not None]
    if any(type(weight) is not nn.Parameter or weight.dtype != torch.float32 for weight in present):
        return False
    if not torch.is_grad_enabled():
        return True
    trained = {weight.requires_grad for weight in present}
    if adapter:
        return trained == {False} and all(lora.a.requires_grad and lora.b.requires_grad for lora in adapter.values())
    return len(trained) == 1 and (True in trained or not hidden.requires_grad)
