"""The native engine on a loaded model: it answers as the adapter that learns, or as the model beneath it."""

from typing import Any

from steersman.evaluate.answer_kl import Voice
from steersman.rollout.native import NativeEngine
from steersman.text.tokeniser import end_ids


def native_engine(voice: Voice, tokeniser: Any) -> NativeEngine:
    backbone, adapter = voice
    ends = end_ids(tokeniser, getattr(backbone.hf, "generation_config", None))
    return NativeEngine(backbone, end_ids=ends, tokeniser=tokeniser, acting_as=adapter)
