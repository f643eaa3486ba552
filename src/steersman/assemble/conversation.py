"""Talking with a model: one conversation, its words streamed as they come. Plain generation through transformers."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from steersman.assemble.device import resolve_device
from steersman.assemble.language_model import LanguageModel, base_of, model_path
from steersman.errors import DataError
from steersman.models.adapters import load_adapter
from steersman.models.loading import fit_vocabulary, load_causal
from steersman.records import Message, Prompt
from steersman.text.template import encode_prompt
from steersman.text.tokeniser import end_ids, give_pad, load_tokeniser


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
    backbone.eval()
    return LanguageModel(backbone, tokeniser, None if base == path else "policy", False)


class Conversation:
    """What was said so far, and how the next answer is drawn."""

    def __init__(
        self,
        model: LanguageModel,
        *,
        system: str | None,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
        seed: int,
    ) -> None:
        self._model = model
        self._opening = (Message("system", system),) if system else ()
        self.messages: tuple[Message, ...] = self._opening
        self._sampling = (temperature, top_p, max_new_tokens)
        self._seed = seed

    def forget(self) -> None:
        self.messages = self._opening

    def say(self, words: str, on_words: Callable[[str], None]) -> str:
        """The model's answer to these words; `on_words` is given its pieces as they come."""
        if not words.strip():
            raise DataError("there is nothing to answer: the message is empty")
        asked = (*self.messages, Message("user", words))
        answer = self._generate(Prompt(messages=asked), on_words)
        self.messages = (*asked, Message("assistant", answer))
        return answer

    def _generate(self, prompt: Prompt, on_words: Callable[[str], None]) -> str:
        from transformers import GenerationConfig

        tokeniser, backbone = self._model.tokeniser, self._model.backbone
        temperature, top_p, most = self._sampling
        ids = torch.tensor([encode_prompt(tokeniser, prompt)], device=backbone.device)
        room = (backbone.context_length or 10**9) - ids.shape[1]
        if room < 1:
            raise DataError(
                f"the conversation has {ids.shape[1]} tokens and the model reads {backbone.context_length}; begin anew"
            )
        sampling = (
            {"do_sample": True, "temperature": temperature, "top_p": top_p} if temperature > 0 else {"do_sample": False}
        )
        config = GenerationConfig(
            max_new_tokens=min(most, room),
            eos_token_id=list(end_ids(tokeniser, backbone.hf.generation_config)),
            pad_token_id=tokeniser.pad_token_id,
            **sampling,
        )
        torch.manual_seed(self._seed + len(self.messages))
        streamer = _Pieces(tokeniser, on_words)
        with torch.no_grad():
            backbone.hf.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config, streamer=streamer)
        return streamer.text.strip()


class _Pieces:
    """Turns tokens into words as they come; a piece is held back while it may end inside a character."""

    def __init__(self, tokeniser: object, on_words: Callable[[str], None]) -> None:
        self._tokeniser = tokeniser
        self._on_words = on_words
        self._ids: list[int] | None = None
        self.text = ""

    def put(self, ids: torch.Tensor) -> None:
        if self._ids is None:  # the first call brings the prompt
            self._ids = []
            return
        self._ids += ids.flatten().tolist()
        text = self._tokeniser.decode(self._ids, skip_special_tokens=True)  # type: ignore[attr-defined]
        if not text.endswith("\ufffd") and len(text) > len(self.text):
            self._on_words(text[len(self.text) :])
            self.text = text

    def end(self) -> None:
        return
