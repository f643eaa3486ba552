"""The weights of Llama-like models for the fused decoder, with an adapter merged in, and the plans of their layers.

Families are listed, not guessed: a short probe cannot detect every difference of a family. The decoder's logits are
compared with the model's all the same (see `choose.py`).
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steersman.models.backbone import Backbone

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma3_text")
# Rotary embeddings that change with the length of the sequence have no fixed table.
_MOVING_ROTARY = ("dynamic", "longrope")


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """The shape of one layer. `rotary` names its table of rotary embeddings."""

    heads: int
    kv_heads: int
    head_dim: int
    scaling: float
    window: int | None
    rotary: str


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """Weights with the preceding norm gains and the attention scale multiplied in; norms are None where a model has
    none."""

    qkv: Float[Tensor, "qkv hidden"]
    qkv_bias: Float[Tensor, " qkv"] | None
    output: Float[Tensor, "hidden attended"]
    output_bias: Float[Tensor, " hidden"] | None
    gate_up: Float[Tensor, "gate_up hidden"]
    down: Float[Tensor, "hidden inner"]
    query_norm: Float[Tensor, " head_dim"] | None
    key_norm: Float[Tensor, " head_dim"] | None
    after_attention: Float[Tensor, " hidden"] | None
    after_feedforward: Float[Tensor, " hidden"] | None

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are not None, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def to(self, dtype: torch.dtype, *, copy: bool = False) -> "LayerWeights":
        return replace(self, **{name: one.to(dtype, copy=copy).contiguous() for name, one in self.tensors().items()})


def why_not(backbone: Backbone) -> str | None:
    """Why this model has no fused decoder, or None if it can have one."""
    text = backbone.config.get_text_config()
    if text.model_type not in FAMILIES:
        return f"the family {text.model_type!r} has none"
    if backbone.readout is None:
        return "its logits are not made from its hidden states alone"
    rotary = getattr(text, "rope_parameters", None) or {}
    kinds = [rotary] if "rope_type" in rotary else list(rotary.values())
    if any((kind or {}).get("rope_type") in _MOVING_ROTARY for kind in kinds):
        return "its rotary embeddings change with the length"
    if activation_of(text) not in ("silu", "gelu_pytorch_tanh"):
        return f"its activation is {activation_of(text)!r}"
    if getattr(text, "attn_logit_softcapping", None) or getattr(text, "use_bidirectional_attention", None):
        return "its attention scores are capped, or look ahead"
    if any(not p.is_floating_point() for p in backbone.hf.parameters()):
        return "its weights are quantised"
    if type(backbone.hf.get_input_embeddings()).__module__.startswith("peft"):
        return "an adapter changes its embedding"
    return None


def activation_of(text: Any) -> str:
    return getattr(text, "hidden_act", None) or text.hidden_activation


def layer_plans(backbone: Backbone) -> list[LayerPlan]:
    text = backbone.config.get_text_config()
    kinds: list[str] | None = getattr(text, "layer_types", None)
    window = getattr(text, "sliding_window", None)
    plans: list[LayerPlan] = []
    for i, layer in enumerate(backbone.trunk.layers):
        attention = layer.self_attn
        slides = window if kinds is None or kinds[i] == "sliding_attention" else None
        rotary = kinds[i] if kinds is not None and text.model_type == "gemma3_text" else ""
        sizes = (text.num_attention_heads, text.num_key_value_heads, attention.head_dim)
        plans.append(LayerPlan(*sizes, attention.scaling, slides, rotary))
    return plans


def layer_weights(layer: Any, plan: LayerPlan, family: str, adapter: str | None) -> LayerWeights:
    attention, mlp = layer.self_attn, layer.mlp
    gemma = family.startswith("gemma")

    def gain(norm: Any) -> Tensor:
        return norm.weight + 1 if gemma else norm.weight

    if hasattr(attention, "qkv_proj"):
        qkv, qkv_bias = merged(attention.qkv_proj, adapter)
        gate_up, _ = merged(mlp.gate_up_proj, adapter)
    else:
        parts = [merged(getattr(attention, f"{name}_proj"), adapter) for name in "qkv"]
        qkv = torch.cat([weight for weight, _ in parts])
        biases = [bias for _, bias in parts if bias is not None]
        qkv_bias = torch.cat(biases) if biases else None
        gate_up = torch.cat([merged(linear, adapter)[0] for linear in (mlp.gate_proj, mlp.up_proj)])
    qkv, query_norm = qkv * gain(layer.input_layernorm), None
    # The attention scale is multiplied into the query weights, since rotation is linear.
    if hasattr(attention, "q_norm"):
        query_norm = gain(attention.q_norm) * plan.scaling
    else:
        queries = plan.heads * plan.head_dim
        qkv[:queries] *= plan.scaling
        if qkv_bias is not None:
            qkv_bias = torch.cat([qkv_bias[:queries] * plan.scaling, qkv_bias[queries:]])
    output, output_bias = merged(attention.o_proj, adapter)
    before_mlp = layer.pre_feedforward_layernorm if gemma else layer.post_attention_layernorm
    return LayerWeights(
        qkv=qkv,
        qkv_bias=qkv_bias,
        output=output,
        output_bias=output_bias,
        gate_up=gate_up * gain(before_mlp),
        down=merged(mlp.down_proj, adapter)[0],
        query_norm=query_norm,
        key_norm=gain(attention.k_norm) if hasattr(attention, "k_norm") else None,
        after_attention=gain(layer.post_attention_layernorm) if gemma else None,
        after_feedforward=gain(layer.post_feedforward_layernorm) if gemma else None,
    )


def head_weights(backbone: Backbone, adapter: str | None) -> tuple[Tensor, Tensor | None]:
    """The output layer with the final norm multiplied in."""
    weight, bias = merged(backbone.hf.get_output_embeddings(), adapter)
    return weight * final_gain(backbone), bias


def final_gain(backbone: Backbone) -> Tensor:
    gain = backbone.trunk.norm.weight
    return gain + 1 if backbone.family.startswith("gemma") else gain


def merged(linear: Any, adapter: str | None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a layer with the adapter added; the layer itself does not change."""
    inner: nn.Linear = linear.base_layer if hasattr(linear, "base_layer") else linear
    weight = inner.weight
    if adapter is not None and hasattr(linear, "lora_A") and adapter in linear.lora_A:
        weight = weight + linear.get_delta_weight(adapter).to(weight)
    return weight, inner.bias


def rotary_tables(
    backbone: Backbone, kinds: set[str], length: int, dtype: torch.dtype
) -> dict[str, tuple[Float[Tensor, "time rotary"], Float[Tensor, "time rotary"]]]:
    """Cosines and sines for each kind of layer from the model's own module. The sines' first half is negative, so that
    rotating is x * cosine + roll(x) * sine."""
    rotary = backbone.trunk.rotary_emb
    positions = torch.arange(length, device=backbone.device)[None]
    like = torch.zeros(1, dtype=dtype, device=backbone.device)
    tables: dict[str, tuple[Tensor, Tensor]] = {}
    for kind in kinds:
        cosine, sine = rotary(like, positions, kind) if kind else rotary(like, positions)
        cosine, sine = cosine[0].clone(), sine[0].clone()
        sine[:, : sine.shape[1] // 2].neg_()
        tables[kind] = cosine, sine
    return tables
