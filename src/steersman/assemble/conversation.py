"""Opening a model to answer, and talking with it: one conversation, its words streamed as they come."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from steersman.assemble.engines import engine_of
from steersman.assemble.language_model import base_of, model_path
from steersman.errors import DataError
from steersman.execution.machine import resolve_device
from steersman.models.adapters import load_adapter
from steersman.models.language_model import LanguageModel
from steersman.models.loading import fit_vocabulary, load_causal
from steersman.models.q_heads import load_guide
from steersman.records import Message, Prompt
from steersman.rollout.engine import Sampling, sample_seed
from steersman.rollout.stops import answer_text
from steersman.text.template import encode_prompt
from steersman.text.tokeniser import decode, give_pad, load_tokeniser


def open_model(name: str, *, device: str, revision: str | None = None) -> LanguageModel:
    """A model to talk with, from a folder, a run, an adapter folder, a hub id, harbour:base or tiny:<family>."""
    with TemporaryDirectory() as scratch:
        path = model_path(name, Path(scratch))
        base = base_of(path)
        tokeniser = load_tokeniser(path, revision=revision)
        where = resolve_device(device)
        dtype = torch.bfloat16 if where.type == "cuda" else torch.float32
        backbone = load_causal(base, dtype=dtype, device=where, revision=revision if base == path else None)
        give_pad(tokeniser)
        fit_vocabulary(backbone, tokeniser)
        if base != path:
            load_adapter(backbone, "policy", path)
        guide = load_guide(backbone, path)
    backbone.eval()
    return LanguageModel(backbone, tokeniser, None if base == path else "policy", False, guide)


class Conversation:
    """What was said so far, and how the next answer is drawn."""

    def __init__(self, model: LanguageModel, *, system: str | None, sampling: Sampling, seed: int) -> None:
        self._tokeniser = model.tokeniser
        self._engine = engine_of(model)
        self._opening = (Message("system", system),) if system else ()
        self.messages: tuple[Message, ...] = self._opening
        self._sampling = sampling
        self._seed = seed

    def forget(self) -> None:
        self.messages = self._opening

    def say(self, words: str, on_words: Callable[[str], None]) -> str:
        """The model's answer to these words; `on_words` is given its pieces as they come."""
        if not words.strip():
            raise DataError("there is nothing to answer: the message is empty")
        asked = (*self.messages, Message("user", words))
        pieces = _Pieces(self._tokeniser, on_words)
        seed = sample_seed(self._seed, 0, "chat", len(self.messages))
        (rollout,) = self._engine.generate(
            [encode_prompt(self._tokeniser, Prompt(messages=asked))], self._sampling, seeds=[seed], on_token=pieces.add
        )
        answer = answer_text(self._tokeniser, rollout, self._sampling.stop).strip()
        self.messages = (*asked, Message("assistant", answer))
        return answer


class _Pieces:
    """Turns tokens into words as they come; a piece is held back while it may end inside a character."""

    def __init__(self, tokeniser: Any, on_words: Callable[[str], None]) -> None:
        self._tokeniser = tokeniser
        self._on_words = on_words
        self._ids: list[int] = []
        self._told = ""

    def add(self, prompt: int, sample: int, token: int, log_prob: float) -> None:
        self._ids.append(token)
        text = decode(self._tokeniser, self._ids)
        if not text.endswith("\ufffd") and len(text) > len(self._told):
            self._on_words(text[len(self._told) :])
            self._told = text
