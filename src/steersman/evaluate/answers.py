"""A model's answers to the prompts with their measurements: the input of every table of `evaluate`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

FILE_NAMES = {"finish_reason": "finish"}
"""Attributes with another name in files."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One generated answer to a prompt: text, number of tokens, why it ended, and the seed it was sampled with."""

    text: str
    tokens: int
    finish_reason: str
    seed: int

    @property
    def cut_off(self) -> bool:
        """Whether it reached max_new_tokens or the model's context before it ended."""
        return self.finish_reason == "length"


@dataclass(slots=True)
class MeasuredAnswer:
    """An answer with its measurements. Log-probs and entropy are sums over its tokens, in nats.

    Values are None without a reference, or if the tokenisers of the two models differ. `reference_tokens` is the number
    of tokens of the answer under the reference's tokeniser.
    """

    drawn: Answer
    log_prob: float
    entropy: float
    kl: float | None
    reference_log_prob: float | None
    reference_tokens: int
    scores: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        numbers = asdict(self)
        drawn: dict[str, Any] = numbers.pop("drawn")
        return {**{FILE_NAMES.get(name, name): value for name, value in drawn.items()}, **numbers}

    @staticmethod
    def from_dict(kept: Mapping[str, Any]) -> "MeasuredAnswer":
        numbers = dict(kept)
        drawn = {field.name: numbers.pop(FILE_NAMES.get(field.name, field.name)) for field in fields(Answer)}
        return MeasuredAnswer(Answer(**drawn), **numbers)


@dataclass(slots=True)
class DocumentLogProb:
    """A held-out text: its log-prob under a model, and its size in tokens and in bytes."""

    log_prob: float
    tokens: int
    bytes: int


@dataclass(slots=True)
class ModelAnswers:
    """One model's results.

    `grid` has a row of answers per prompt; all models have the same prompts in the same order.
    """

    name: str
    path: str
    grid: list[list[MeasuredAnswer]]
    corpus: list[DocumentLogProb]
    choices: list[tuple[bool, bool]]
    """Per question: whether the likeliest choice is right, and whether the likeliest per character is."""
    exam: list[bool]
    notes: list[str]

    @property
    def answers(self) -> list[MeasuredAnswer]:
        return [answer for row in self.grid for answer in row]

    def scores(self, name: str) -> Float[ndarray, "prompts answers"]:
        return np.array([[answer.scores[name] for answer in row] for row in self.grid], dtype=np.float64)

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "path": self.path,
            "grid": [[answer.as_dict() for answer in row] for row in self.grid],
            "corpus": [[text.log_prob, text.tokens, text.bytes] for text in self.corpus],
            "choices": [list(choice) for choice in self.choices],
            "exam": self.exam,
            "notes": self.notes,
        }

    @staticmethod
    def from_dict(kept: Mapping[str, Any]) -> "ModelAnswers":
        return ModelAnswers(
            kept["name"],
            kept["path"],
            [[MeasuredAnswer.from_dict(answer) for answer in row] for row in kept["grid"]],
            [DocumentLogProb(*text) for text in kept["corpus"]],
            [(bool(one), bool(other)) for one, other in kept["choices"]],
            [bool(right) for right in kept["exam"]],
            list(kept["notes"]),
        )


def per_prompt(model: ModelAnswers, value: Any) -> Float[ndarray, " prompts"]:
    """Mean of a value over the answers to each prompt. Prompts, not answers, are the independent observations."""
    rows: Sequence[Sequence[MeasuredAnswer]] = model.grid
    return np.array([np.mean([float(value(answer)) for answer in row]) for row in rows], dtype=np.float64)
