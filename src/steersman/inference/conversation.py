"""A conversation with a loaded model, whose answers are streamed."""

from collections.abc import Callable
from typing import Any

from steersman.errors import DataError
from steersman.inference.draw import AnsweringModel, draw
from steersman.models.language_model import LanguageModel
from steersman.records import Message, Prompt
from steersman.rollout.engine import Sampling, sample_seed
from steersman.text.tokeniser import decode


def _nowhere(piece: str) -> None:
    """Where pieces of an answer go that nobody watches."""


class Conversation:
    """The messages so far, and the sampling settings of the next answer."""

    def __init__(self, model: LanguageModel, *, system: str | None, sampling: Sampling, seed: int) -> None:
        self._model = AnsweringModel.of("chat", model)
        self._opening = (Message("system", system),) if system else ()
        self.messages: tuple[Message, ...] = self._opening
        self._sampling = sampling
        self._seed = seed

    def forget(self) -> None:
        self.messages = self._opening

    def say(self, message: str, on_text: Callable[[str], None] = _nowhere) -> str:
        """The model's answer to a message. `on_text` is called with each piece of the answer."""
        if not message.strip():
            raise DataError("there is nothing to answer: the message is empty")
        asked = (*self.messages, Message("user", message))
        pieces = _Pieces(self._model.tokeniser, on_text)
        seed = sample_seed(self._seed, 0, "chat", len(self.messages))
        prompt = Prompt(messages=asked)
        drawn = draw(self._model, [prompt], self._sampling, seeds=[seed], on_token=pieces.add)
        answer = drawn.answers[0].text.strip()
        self.messages = (*asked, Message("assistant", answer))
        return answer


class _Pieces:
    """Decodes a stream of tokens into text. Text is held back while it may end inside a character."""

    def __init__(self, tokeniser: Any, on_text: Callable[[str], None]) -> None:
        self._tokeniser = tokeniser
        self._on_text = on_text
        self._ids: list[int] = []
        self._told = ""

    def add(self, prompt: int, sample: int, token: int, log_prob: float) -> None:
        self._ids.append(token)
        text = decode(self._tokeniser, self._ids)
        if not text.endswith("\ufffd") and len(text) > len(self._told):
            self._on_text(text[len(self._told) :])
            self._told = text
