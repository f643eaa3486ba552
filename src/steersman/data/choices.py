"""Multiple-choice questions from files: a question, its choices, and the index of the right one.

Field names of the well-known data sets are accepted: question, prompt or ctx; choices, options or endings, as a list or
as ARC's {"text": [...], "label": [...]}; answer, answerKey or label, as an index from 0, a letter, or the choice
itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steersman.data.sources import open_rows
from steersman.errors import DataError
from steersman.records import Malformed, Message, Prompt

QUESTIONS = ("question", "prompt", "ctx")
CHOICES = ("choices", "options", "endings")
ANSWERS = ("answer", "answerKey", "label")


@dataclass(frozen=True, slots=True)
class Choice:
    prompt: Prompt
    choices: tuple[str, ...]
    right: int


def read_choices(source: str, *, limit: int | None) -> list[Choice]:
    """All questions of a source. A malformed row is an error: accuracy over part of the questions is not comparable."""
    questions: list[Choice] = []
    for line, row in open_rows(source):
        if isinstance(row, Malformed):
            raise DataError(str(row))
        questions.append(_choice(row, f"{source}:{line}"))
        if len(questions) == limit:
            break
    if not questions:
        raise DataError(f"{source}: no questions; expected rows with question, choices and answer")
    return questions


def _choice(row: Mapping[str, Any], where: str) -> Choice:
    question, choices, answer = (_field(row, names, where) for names in (QUESTIONS, CHOICES, ANSWERS))
    labels: list[str] = []
    if isinstance(choices, Mapping):
        labels = [str(label) for label in choices.get("label", [])]
        choices = choices.get("text")
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{where}: expected a question as text; seen {question!r}")
    if not isinstance(choices, list) or len(choices) < 2 or not all(str(choice).strip() for choice in choices):
        raise DataError(f"{where}: expected two or more choices, none of them empty; seen {choices!r}")
    texts = [str(choice) for choice in choices]
    return Choice(Prompt(messages=(Message("user", question),)), tuple(texts), _right(answer, texts, labels, where))


def _field(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise DataError(f"{where}: expected a field {' or '.join(names)}; seen {', '.join(row)}")


def _right(answer: Any, choices: list[str], labels: list[str], where: str) -> int:
    key = str(answer).strip()
    if key in labels:
        return labels.index(key)
    if key in choices:
        return choices.index(key)
    letter = ord(key.upper()) - ord("A") if len(key) == 1 and key.isalpha() else -1
    index = int(key) if key.isdigit() else letter
    if not 0 <= index < len(choices):
        raise DataError(
            f"{where}: the right answer {answer!r} is none of the {len(choices)} choices; expected its index from 0, "
            "its letter or its text"
        )
    return index
