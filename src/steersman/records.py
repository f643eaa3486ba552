"""Record types of training data: messages, prompts, answers, and people's judgements of answers. No torch.

Every record is frozen. `to_dict` and `from_dict` convert it to and from a plain dictionary, the row format of
Steersman's own JSONL files. Each row has a `kind` field, so a file says what it holds and nothing is lost.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from steersman.errors import DataError

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise DataError(f"a message has the role {self.role!r}; expected one of {', '.join(ROLES)}")


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
    """A prompt: chat messages, or `text`, which the model continues as it is, without a chat template."""

    messages: Messages = ()
    text: str | None = None
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if (self.text is None) == (not self.messages):
            raise DataError(
                "a prompt has either messages or a text; this one has " + ("both" if self.messages else "neither")
            )
        if not self.id:
            object.__setattr__(self, "id", digest_of([[m.role, m.content] for m in self.messages] or self.text))

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
class Principle:
    """One principle of a constitution, with its requests for a critique and for a revision (constitutional AI)."""

    name: str
    text: str
    critique_request: str = ""
    revision_request: str = ""


@dataclass(frozen=True, slots=True)
class Critique:
    """A model's answer, a critique of it by one principle, and the revised answer."""

    prompt: Prompt
    original: Completion
    principle: str
    critique: str
    revision: Completion
    id: str = ""


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


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {f.name: _plain(v) for f, v in pairs if not _is_default(f, v)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in cast(Sequence[Any], value)]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in cast(Mapping[Any, Any], value).items()}
    return value


def _is_default(fld: "dataclasses.Field[Any]", value: Any) -> bool:
    if fld.default is not dataclasses.MISSING:
        return value == fld.default
    if fld.default_factory is not dataclasses.MISSING:
        return value == fld.default_factory()
    return False


def to_dict(record: Record) -> dict[str, Any]:
    """A record as a plain dictionary, without the fields that are at their default."""
    return {"kind": KIND_OF[type(record)], **_plain(record)}


def from_dict(row: Any) -> Record:
    """The record that `to_dict` wrote. Anything else raises a DataError that says what is wrong."""
    given = dict(cast(Mapping[str, Any], row)) if isinstance(row, Mapping) else {}
    kind = given.pop("kind", None)
    if kind not in KINDS:
        raise DataError(f"a row has the kind {kind!r}; expected one of {', '.join(KINDS)}")
    return _build(KINDS[kind], given, kind)


_HINTS: dict[type, dict[str, Any]] = {}


def _build(cls: Any, row: Any, where: str) -> Any:
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: expected an object, seen {type(row).__name__}")
    values = cast(Mapping[str, Any], row)
    hints = _HINTS.get(cls) or _HINTS.setdefault(cls, get_type_hints(cls))
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise DataError(f"{where}: unknown field {unknown[0]!r}; expected {', '.join(hints)}")
    missing = [
        f.name
        for f in dataclasses.fields(cls)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in values
    ]
    if missing:
        raise DataError(f"{where}: the field {missing[0]!r} is missing")
    return cls(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if value is None and type(None) in args:
            return None
        return _value(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise DataError(f"{where}: expected a list, seen {type(value).__name__}")
        items = cast(Sequence[Any], value)
        return tuple(_value(args[0], item, f"{where}[{i}]") for i, item in enumerate(items))
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)
    if origin is not None or hint is Any:
        if not isinstance(value, Mapping):
            raise DataError(f"{where}: expected an object, seen {type(value).__name__}")
        return dict(cast(Mapping[str, Any], value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise DataError(f"{where}: expected {hint.__name__}, seen {type(value).__name__}")
    return value
