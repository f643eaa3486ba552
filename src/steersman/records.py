"""The nouns that people and files deal in: messages, prompts, answers and what was thought of them. No torch.

Every record is frozen, and each has one form as a plain dictionary (`to_dict`, `from_dict`), which is what Steersman's
own JSONL files hold: a `kind` beside the fields, so that a file tells what it is and loses nothing.
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
    """Sixteen hex digits that name a value by its content."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Document:
    """Plain text to be modelled whole, with no prompt."""

    text: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked. `text` instead of messages means: continue this very text, without a chat template."""

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
        """The prompt as one string for people: the text, or the last user's words."""
        if self.text is not None:
            return self.text
        return next((m.content for m in reversed(self.messages) if m.role == "user"), self.messages[-1].content)


@dataclass(frozen=True, slots=True)
class SpanReward:
    """A reward for a stretch of the answer, in characters, for tokenisers differ. It is paid when the stretch ends."""

    start: int
    end: int
    reward: float


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer to a prompt, with what made it, as far as it is known. `spans` are rewards within it, beside its scores."""

    text: str
    model: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seed: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    id: str = ""
    spans: tuple[SpanReward, ...] = ()


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt and the answer that a person wrote or approved; earlier assistant turns stand in the prompt."""

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
    """Two answers to one prompt and what somebody thought.

    `preference` is the probability that `first` is the better: 1, 0, 0.5 for a tie, or between for a soft label.
    `margin` is how much better (0 and up), if it was said. `shown` says which stood first before the judge: "first" or
    "second". `both_bad` is a tie in which neither was acceptable.
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
                f"a ranking needs a rank for each of two or more answers; seen {len(self.completions)} and {len(self.ranks)}"
            )


@dataclass(frozen=True, slots=True)
class Label:
    """One answer judged by itself: a thumb up or down, or ratings by attribute, or both."""

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
    """An answer in steps, each right or wrong (process supervision)."""

    prompt: Prompt
    steps: tuple[str, ...]
    labels: tuple[bool, ...]
    id: str = ""

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.labels):
            raise DataError(f"each step needs one label; seen {len(self.steps)} steps and {len(self.labels)} labels")


@dataclass(frozen=True, slots=True)
class ClassifiedText:
    """A text and the class that somebody gave it, for training classifiers."""

    text: str
    label: str
    annotator: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Principle:
    """One rule of a constitution, with how to ask for a critique and a revision by it."""

    name: str
    text: str
    critique_request: str = ""
    revision_request: str = ""


@dataclass(frozen=True, slots=True)
class Critique:
    """A model's answer, what was wrong with it by one principle, and the answer revised."""

    prompt: Prompt
    original: Completion
    principle: str
    critique: str
    revision: Completion
    id: str = ""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A row that could not be read: where it stood, why, and its beginning. Counted and shown, never dropped in silence."""

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
    """A record as a plain dictionary; fields at their default are left out."""
    return {"kind": KIND_OF[type(record)], **_plain(record)}


def from_dict(row: Mapping[str, Any]) -> Record:
    """The record that `to_dict` wrote; anything else is a DataError that says what was wrong."""
    kind = row.get("kind")
    if kind not in KINDS:
        raise DataError(f"a row of kind {kind!r}; expected one of {', '.join(KINDS)}")
    return _build(KINDS[kind], {key: value for key, value in row.items() if key != "kind"}, kind)


_HINTS: dict[type, dict[str, Any]] = {}


def _build(cls: Any, row: Any, where: str) -> Any:
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: expected an object, seen {type(row).__name__}")
    given = cast(Mapping[str, Any], row)
    hints = _HINTS.get(cls) or _HINTS.setdefault(cls, get_type_hints(cls))
    unknown = sorted(set(given) - set(hints))
    if unknown:
        raise DataError(f"{where}: unknown field {unknown[0]!r}; expected {', '.join(hints)}")
    missing = [
        f.name
        for f in dataclasses.fields(cls)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in given
    ]
    if missing:
        raise DataError(f"{where}: the field {missing[0]!r} is missing")
    return cls(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in given.items()})


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
