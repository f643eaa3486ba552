"""Decoder layers of the Llama kind that compute as one step on a processor (see fused_layer.py), put into a loaded model.

A layer's parameters, their names and its place stay as they are; only its `forward` is replaced, and it hands everything it
does not know back to transformers: generation, hooks, adapters, quantised or half-precision weights, autocast, sharding.
Whether the replacement gives the same hidden states is tried when a model is loaded (`loading.find_unpadded`).
"""

from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from steersman.models.fused_layer import Shape, Weights, layer
from steersman.models.fused_lora import PRODUCTS, Adapter, factors_of, parts_of
from steersman.models.row_attention import Rows

# transformers' layers of this kind
KINDS = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer")


def fuse(trunk: nn.Module) -> int:
    """Let every layer of a kind we know compute as one step; gives back how many there are."""
    layers = [module for module in trunk.modules() if type(module).__name__ in KINDS]
    for module in layers:
        module.forward = MethodType(partial(_forward, last=module is layers[-1]), module)
    return len(layers)


def unfuse(trunk: nn.Module) -> None:
    """Give the layers their own forward again."""
    for module in trunk.modules():
        if type(module).__name__ in KINDS:
            module.__dict__.pop("forward", None)


def _forward(module: Any, hidden_states: Tensor, *, last: bool, rows: Rows | None = None, **rest: Any) -> Tensor:
    """Takes the place of the layer's own forward, and calls that for whatever else is asked. What comes out of the last layer
    is only what is read of the rows."""
    asked = rows is not None and rest.get("past_key_values") is None
    found = weights_of(module, hidden_states) if asked else None
    if rows is None:
        return type(module).forward(module, hidden_states, **rest)
    if found is None:
        whole = type(module).forward(module, hidden_states, rows=rows, **rest)
        return whole if rows.places is None or not last else whole[:, rows.places]
    weights, adapter = found
    cos, sin = rest["position_embeddings"]
    attention = module.self_attn
    size: int = attention.head_dim
    # transformers repeats each angle for the two halves of a head; a complex number needs it once
    turn = torch.complex(cos[0, :, None, : size // 2], sin[0, :, None, : size // 2])
    shape = Shape(
        heads=weights.query.shape[0] // size,
        key_heads=weights.key.shape[0] // size,
        size=size,
        scale=float(attention.scaling),
        epsilon=float(module.input_layernorm.variance_epsilon),
        rows=rows if last else rows.read_whole,
    )
    compute = partial(layer, turn=turn, shape=shape, weights=weights, adapter=adapter)
    if module.gradient_checkpointing and module.training:
        # transformers does this within the forward that is replaced here
        return module._gradient_checkpointing_func(compute, hidden_states[0])[None]
    return compute(hidden_states[0])[None]


def weights_of(module: Any, hidden: Tensor) -> tuple[Weights, Adapter | None] | None:
    """The layer's parameters if it is as it left transformers, and in a state that one step can compute, with the adapter that is
    active on it, if there is one; else None."""
    plain = hidden.dtype == torch.float32 and hidden.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    # a sharded layer is of another class, and gathers its weights by hooks of its own
    if not plain or type(module).__name__ not in KINDS:
        return None
    attention, feed_forward = module.self_attn, module.mlp
    norms = [module.input_layernorm, module.post_attention_layernorm]
    heads_norms = [getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)]
    given = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    given += [feed_forward.gate_proj, feed_forward.up_proj, feed_forward.down_proj]
    adapter = {
        name: factors
        for name, product in zip(PRODUCTS, given, strict=True)
        if (factors := factors_of(product)) is not None and not any(map(_hooked, parts_of(product)))
    }
    products = [
        product.base_layer if name in adapter else _bare(product) for name, product in zip(PRODUCTS, given, strict=True)
    ]
    biases = [product.bias for product in products[:3]]
    own_norms = [norm for norm in (*norms, *heads_norms) if norm is not None]
    known = (
        all(type(product) is nn.Linear for product in products)
        and all(product.bias is None for product in products[3:])
        and len({bias is None for bias in biases}) == 1
        and len(own_norms) in (2, 4)
        and len({(type(norm), norm.variance_epsilon) for norm in own_norms}) == 1
        and type(feed_forward.act_fn).__name__ in ("SiLU", "SiLUActivation")
        and not (module.training and attention.attention_dropout)
        and not any(_hooked(part) for part in (attention, feed_forward, feed_forward.act_fn, *own_norms, *products))
    )
    if not known:
        return None
    before, between = (norm.weight for norm in norms)
    query, key, value, output, gate, up, down = (product.weight for product in products)
    head_weights = [None if norm is None else norm.weight for norm in heads_norms]
    found = Weights(before, query, key, value, output, between, gate, up, down, *head_weights, *biases)
    return (found, adapter or None) if _trained_as_one(found, adapter, hidden) else None


def _bare(product: Any) -> Any:
    """A linear layer itself, where no adapter around it is active: the base alone, as the reference."""
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


def _trained_as_one(weights: Weights, adapter: Adapter, hidden: Tensor) -> bool:
    """Plain float32 parameters that are all trained, or nothing is, or an adapter alone: gradients of a few of them are left to
    autograd."""
    there = [weight for weight in weights if weight is not None]
    if any(type(weight) is not nn.Parameter or weight.dtype != torch.float32 for weight in there):
        return False
    if not torch.is_grad_enabled():
        return True
    trained = {weight.requires_grad for weight in there}
    if adapter:
        return trained == {False} and all(one.a.requires_grad and one.b.requires_grad for one in adapter.values())
    return len(trained) == 1 and (True in trained or not hidden.requires_grad)
