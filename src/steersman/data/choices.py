"""Multiple-choice questions from files: a question, its choices, and which of them is right.

The field names of the well-known sets are understood: question or prompt or ctx; choices or options or endings, as a list or as ARC's
{"text": [...], "label": [...]}; answer or answerKey or label, as a place counted from 0, a letter, or the choice itself.
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
    """All questions; a row that is none ends the reading, for a figure over some of the questions would not be comparable."""
    found: list[Choice] = []
    for line, row in open_rows(source):
        if isinstance(row, Malformed):
            raise DataError(str(row))
        found.append(_choice(row, f"{source}:{line}"))
        if len(found) == limit:
            break
    if not found:
        raise DataError(f"{source}: no questions; expected rows with question, choices and answer")
    return found


def _choice(row: Mapping[str, Any], where: str) -> Choice:
    question, choices, answer = (_field(row, names, where) for names in (QUESTIONS, CHOICES, ANSWERS))
    labels: list[str] = []
    if isinstance(choices, Mapping):
        labels = [str(label) for label in choices.get("label", [])]
        choices = choices.get("text")
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{where}: the question should be words; seen {question!r}")
    if not isinstance(choices, list) or len(choices) < 2 or not all(str(choice).strip() for choice in choices):
        raise DataError(f"{where}: expected two or more choices, none of them empty; seen {choices!r}")
    words = [str(choice) for choice in choices]
    return Choice(Prompt(messages=(Message("user", question),)), tuple(words), _right(answer, words, labels, where))


def _field(row: Mapping[str, Any], names: tuple[str, ...], where: str) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise DataError(f"{where}: expected a field {' or '.join(names)}; seen {', '.join(row)}")


def _right(answer: Any, choices: list[str], labels: list[str], where: str) -> int:
    said = str(answer).strip()
    if said in labels:
        return labels.index(said)
    if said in choices:
        return choices.index(said)
    letter = ord(said.upper()) - ord("A") if len(said) == 1 and said.isalpha() else -1
    place = int(said) if said.isdigit() else letter
    if not 0 <= place < len(choices):
        raise DataError(
            f"{where}: the right answer {answer!r} is none of the {len(choices)} choices; expected its place from 0, its letter or its words"
        )
    return place
