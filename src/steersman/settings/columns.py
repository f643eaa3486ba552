"""Column mapping: which column of a table holds the prompt, which the answers, which the judgement."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from pydantic import field_validator

from steersman.errors import UsageError
from steersman.settings.base import Settings


class ColumnSettings(Settings):
    """Columns of a table by what they hold. A column inside another is path.to.column.

    prompt, system, completion, chosen, rejected, label, text, messages, margin, annotator and id are also read from a
    column of their own name; "" leaves that column unread.
    """

    prompt: str | None = None
    """The prompt: a text, or chat messages."""
    system: str | None = None
    """The system message before the prompt."""
    completion: str | None = None
    """The answer of a demonstration, or the one that `label` or `rating` judges."""
    messages: str | None = None
    """A whole conversation as chat messages. The last one is the answer."""
    text: str | None = None
    """A text without a prompt, to be learned whole; with `label`, a text to classify."""
    chosen: str | None = None
    """The better of two answers."""
    rejected: str | None = None
    """The worse of two answers."""
    margin: str | None = None
    """How much better the chosen answer is: a number."""
    first: str | None = None
    """One of two answers; `preferred` or `preference` says which is better."""
    second: str | None = None
    """The other of two answers."""
    preferred: str | None = None
    """Which of first and second is better: a or b, first or second, the name of its column, or tie. Numbers are 1
    and 2."""
    preference: str | None = None
    """The probability that the first answer is better: 1, 0, or between; 0.5 is a tie."""
    answers: list[str] | None = None
    """Answers that nobody has judged: several columns, or one that holds a list of texts."""
    label: str | None = None
    """A thumb up or down for the completion (true or false, 1 or 0, up or down), or the class of a text."""
    rating: str | None = None
    """A number for the completion: how good it is."""
    solution: str | None = None
    """The right answer to the prompt, for verifiable rewards (verify:numeric)."""
    annotator: str | None = None
    """Who judged or wrote it."""
    id: str | None = None
    """The row's own name."""
    metadata: list[str] | None = None
    """Columns that the prompt keeps beside it, for scorers that read them."""

    @field_validator("answers", "metadata", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    def mapping(self) -> dict[str, Any]:
        """The columns that were given, by field."""
        return self.model_dump(exclude_none=True)


@runtime_checkable
class _Table(Protocol):
    @property
    def format(self) -> str | None: ...
    @property
    def columns(self) -> ColumnSettings | None: ...


def row_format(data: _Table) -> str | Mapping[str, Any] | None:
    """How the rows of a source are read: by a format's name, by columns, or (None) as their fields say."""
    if data.columns is None:
        return data.format
    if data.format is not None:
        raise UsageError(
            f"format={data.format} and columns both say how rows are read; give one of them (columns for a table "
            "with names of its own)"
        )
    return data.columns.mapping()
