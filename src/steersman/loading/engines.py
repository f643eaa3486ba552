"""The native engine on a loaded model: it answers as the adapter that learns, or as the model beneath it."""

from dataclasses import replace
from typing import Any

import torch

from steersman.models.answer_kl import ModelView
from steersman.models.backbone import Backbone
from steersman.models.heads import ValueHead
from steersman.models.language_model import LanguageModel
from steersman.models.q_heads import Guide
from steersman.rollout.native import DecodingOptions, NativeEngine
from steersman.rollout.request import Ending
from steersman.text.rendering import end_ids
from steersman.text.tokeniser import never_drawn


def native_engine(
    voice: ModelView,
    tokeniser: Any,
    *,
    guide: Guide | None = None,
    with_token_info: bool = False,
    value_head: ValueHead | None = None,
    dtype: torch.dtype | None = None,
    options: DecodingOptions | None = None,
) -> NativeEngine:
    backbone, adapter = voice
    return NativeEngine(
        backbone,
        ending_of(backbone, tokeniser),
        acting_as=adapter,
        guide=guide,
        with_token_info=with_token_info,
        value_head=value_head,
        options=replace(options or DecodingOptions(), dtype=dtype),
    )


def ending_of(backbone: Backbone, tokeniser: Any) -> Ending:
    ends = end_ids(tokeniser, getattr(backbone.hf, "generation_config", None))
    return Ending(ends, never_drawn(tokeniser, ends), tokeniser)


def engine_of(model: LanguageModel) -> NativeEngine:
    """The engine on a saved model: with its adapter, and guided by its Q heads if it has some."""
    return native_engine((model.backbone, model.adapter), model.tokeniser, guide=model.guide)
