"""Record types of training data: messages, prompts, answers, and people's judgements of answers. No torch.

Every record is frozen. `to_dict` and `from_dict` convert it to and from a plain dictionary, the row format of
Steersman's own JSONL files. Each row has a `kind` field, so a file says what it holds and nothing is lost.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from steersman.dataclass_rows import build, plain
from steersman.errors import DataError

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise DataError(f"a message has the role {self.role!r}; expected one of {', '.join(ROLES)}")
        if not isinstance(self.content, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DataError(f"a message of the role {self.role!r} is {self.content!r}; expected a text")


Messages = tuple[Message, ...]


def digest_of(value: object) -> str:
    """First sixteen hex digits of the SHA-256 of a value's JSON form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Document:
    """Plain text without a prompt: every token is a training target."""

    text: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt: chat messages, or a plain `text`.

    A model with a chat template reads a plain text as a user message; a model without one continues it. `continued`
    says that the text is to be continued by every model.
    """

    messages: Messages = ()
    text: str | None = None
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    continued: bool = False

    def __post_init__(self) -> None:
        if (self.text is None) == (not self.messages):
            raise DataError(
                "a prompt has either messages or a text; this one has " + ("both" if self.messages else "neither")
            )
        if not self.id:
            object.__setattr__(self, "id", digest_of([[m.role, m.content] for m in self.messages] or self.text))

    def to_be_continued(self) -> "Prompt":
        """The same prompt, marked as a text that every model continues as it is. Chat messages stay as they are."""
        return self if self.text is None or self.continued else dataclasses.replace(self, continued=True)

    @property
    def shown(self) -> str:
        """The prompt as one string for display: the text, or the last user message."""
        if self.text is not None:
            return self.text
        return next((m.content for m in reversed(self.messages) if m.role == "user"), self.messages[-1].content)


@dataclass(frozen=True, slots=True)
class SpanReward:
    """A reward for a span of the answer, given to its last token. Positions are in characters: tokenisers differ."""

    start: int
    end: int
    reward: float


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer to a prompt, and what made it, where known. `scores` are of the whole answer, `spans` of its parts."""

    text: str
    model: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seed: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    id: str = ""
    spans: tuple[SpanReward, ...] = ()


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt and an answer that a person wrote or approved. Earlier assistant turns are part of the prompt."""

    prompt: Prompt
    completion: Completion
    annotator: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """Several answers to one prompt, not yet judged: what `sample` writes and `label`, `score` and `evaluate` read."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    id: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two answers to one prompt and an annotator's preference between them.

    `preference` is the probability that `first` is the better: 1, 0, 0.5 for a tie, or between for a soft label.
    `margin` is how much better (0 and up), if the annotator said so. `shown` is the answer that the annotator saw
    first: "first" or "second". `both_bad` marks a tie in which neither answer was acceptable.
    """

    prompt: Prompt
    first: Completion
    second: Completion
    preference: float
    margin: float | None = None
    both_bad: bool = False
    annotator: str = ""
    shown: str = ""
    rationale: str = ""
    time: str = ""
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if not 0.0 <= self.preference <= 1.0:
            raise DataError(f"a preference is a probability between 0 and 1; seen {self.preference}")

    @property
    def tied(self) -> bool:
        return self.preference == 0.5

    @property
    def chosen(self) -> Completion:
        return self.first if self.preference >= 0.5 else self.second

    @property
    def rejected(self) -> Completion:
        return self.second if self.preference >= 0.5 else self.first


@dataclass(frozen=True, slots=True)
class Ranking:
    """K answers to one prompt, each with its rank: 1 is the best, equal ranks are ties."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    ranks: tuple[int, ...]
    annotator: str = ""
    shown: tuple[int, ...] = ()
    time: str = ""
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if len(self.completions) != len(self.ranks) or len(self.ranks) < 2:
            raise DataError(
                f"a ranking needs two or more answers and a rank for each; seen {len(self.completions)} answers and "
                f"{len(self.ranks)} ranks"
            )


@dataclass(frozen=True, slots=True)
class Label:
    """One answer judged by itself: thumbs up or down, ratings by attribute, or both."""

    prompt: Prompt
    completion: Completion
    desirable: bool | None = None
    ratings: Mapping[str, float] = field(default_factory=dict[str, float])
    annotator: str = ""
    time: str = ""
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Steps:
    """An answer split into steps, each labelled right or wrong (process supervision)."""

    prompt: Prompt
    steps: tuple[str, ...]
    labels: tuple[bool, ...]
    id: str = ""

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.labels):
            raise DataError(f"each step needs one label; seen {len(self.steps)} steps and {len(self.labels)} labels")


@dataclass(frozen=True, slots=True)
class ClassifiedText:
    """A text and its class label, for training classifiers."""

    text: str
    label: str
    annotator: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class PrincipleExample:
    """A worked example of a principle: an answer that breaks it, the critique, and the revised answer."""

    prompt: str
    answer: str
    critique: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Principle:
    """One principle of a constitution: its requests for a critique and a revision, its question for a comparison.

    `text` states it in a sentence. `weight` is how often it is drawn, against the others. `kinds` are the kinds of
    prompts that it is for; none means all. `rating_best` is "high", or "low" where a high rating means a bad answer.
    """

    name: str
    text: str
    critique_request: str = ""
    revision_request: str = ""
    comparison_question: str = ""
    rating_question: str = ""
    rating_best: str = "high"
    weight: float = 1.0
    kinds: tuple[str, ...] = ()
    examples: tuple[PrincipleExample, ...] = ()


@dataclass(frozen=True, slots=True)
class Critique:
    """A model's answer, a critique of it by one principle, and the revised answer.

    `model` wrote the critique and the revision. `round` counts from 1: later rounds criticise the revision before.
    `final` marks the row whose revision is what the rounds have led to. `status` is "" for a usable row; else it says
    what is wrong, such as "critique: empty". `seed` is that of the critique; the revision's is with the revision.
    """

    prompt: Prompt
    original: Completion
    principle: str
    critique: str
    revision: Completion
    id: str = ""
    principle_hash: str = ""
    constitution: str = ""
    model: str = ""
    round: int = 1
    final: bool = True
    seed: int | None = None
    status: str = ""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A row that could not be read, with file, line and reason. Malformed rows are counted and reported."""

    source: str
    line: int
    reason: str
    row: str = ""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.reason}"


Record = (
    Document
    | Prompt
    | Demonstration
    | Answers
    | Comparison
    | Ranking
    | Label
    | Steps
    | ClassifiedText
    | Principle
    | Critique
)

KINDS: dict[str, type] = {
    "document": Document,
    "prompt": Prompt,
    "demonstration": Demonstration,
    "answers": Answers,
    "comparison": Comparison,
    "ranking": Ranking,
    "label": Label,
    "steps": Steps,
    "classified": ClassifiedText,
    "principle": Principle,
    "critique": Critique,
}
KIND_OF = {cls: kind for kind, cls in KINDS.items()}


def to_dict(record: Record) -> dict[str, Any]:
    """A record as a plain dictionary, without the fields that are at their default."""
    return {"kind": KIND_OF[type(record)], **plain(record)}


def from_dict(row: Any) -> Record:
    """The record that `to_dict` wrote. Anything else raises a DataError that says what is wrong."""
    given = dict(cast(Mapping[str, Any], row)) if isinstance(row, Mapping) else {}
    kind = given.pop("kind", None)
    if kind not in KINDS:
        raise DataError(f"a row has the kind {kind!r}; expected one of {', '.join(KINDS)}")
    return build(KINDS[kind], given, kind)
