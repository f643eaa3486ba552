"""Column mapping: rows of any table, read by which column holds the prompt, which the answers, which the judgement.

The given columns decide what a row is (a comparison, a demonstration, …). A field that is not given is read from a
column of its own name. Rows are then read as TRL's dataset types are, so texts and chat messages both work.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from steersman.data.formats import classified, trl
from steersman.data.formats.fields import flag, messages_of, number, prompt_of
from steersman.data.formats.format import Format, LeftOut, Outcome, Row
from steersman.data.kinds import with_prompt
from steersman.errors import DataError, UsageError
from steersman.records import Answers, Comparison, Completion, Label, Prompt

Columns = Mapping[str, str | Sequence[str]]
"""Names of columns by field. "" leaves the column of the field's own name unread."""

OWN_NAME = (
    *("prompt", "system", "completion", "messages", "text", "chosen", "rejected", "label", "margin"),
    *("annotator", "id"),
)
"""Fields that are also read from a column of their own name."""
_BESIDE = ("system", "solution", "annotator", "id", "metadata")
"""Fields that do not decide what a row is."""
_READ = {found.name: found.read for found in (*trl.FORMATS, *classified.FORMATS)}
_FIRST = ("a", "first", "1", "left", "model_a", "response_a", "answer_a")
_SECOND = ("b", "second", "2", "right", "model_b", "response_b", "answer_b")
_TIED = ("tie", "tied", "equal", "same", "both")
_BOTH_BAD = ("neither", "none", "both bad", "bothbad", "tie (bothbad)", "both_bad")
_UP = ("up", "good", "yes", "👍")
_DOWN = ("down", "bad", "no", "-1", "👎")


@dataclass(frozen=True, slots=True)
class _Kind:
    """One thing that a row may be: the fields that it needs, those that it may have, and its reader."""

    needs: tuple[str, ...]
    may: tuple[str, ...]
    read: Callable[[dict[str, Any], Columns], list[Outcome]]


def format_of_columns(columns: Columns, sample: Sequence[Row]) -> Format:
    """The format that reads rows by these columns. Columns that no row of the sample has are an error."""
    given = {field: names for field, names in columns.items() if names}
    if not given:
        raise UsageError("no column is named; give at least one, such as columns.prompt=question")
    for field, names in given.items():
        for name in _names(names):
            if not any(_has(row, name) for row in sample):
                raise DataError(_no_column(field, name, sample))
    taken = {name for names in given.values() for name in _names(names)}
    own = {
        name: name for name in OWN_NAME if name not in columns and name not in taken and any(name in r for r in sample)
    }
    kind = _kind_of(given, own)
    fields = {**own, **given}
    needed = {name for field in kind.needs for name in _names(fields[field])}
    used = {field: names for field, names in fields.items() if field in (*kind.needs, *kind.may, *_BESIDE)}

    def read(row: Row) -> list[Outcome]:
        values = {field: _value(row, names, needed) for field, names in used.items()}
        return [_with_the_rest(one, values, used) for one in kind.read(_with_system(values), used)]

    said = ", ".join(f"{field}={'+'.join(_names(names))}" for field, names in used.items())
    return Format(f"columns {said}", "a table by its columns", tuple(needed), lambda row: True, read)


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


_MISSING = object()


def _find(row: Any, name: str) -> Any:
    """The value of a column, also inside another: path.to.column, with numbers for places in a list."""
    if isinstance(row, Mapping) and name in row:
        return row[name]
    first, dot, rest = name.partition(".")
    if not dot:
        if isinstance(row, list | tuple) and name.isdecimal() and int(name) < len(row):
            return row[int(name)]
        return _MISSING
    inner = _find(row, first)
    return _MISSING if inner is _MISSING else _find(inner, rest)


def _has(row: Row, name: str) -> bool:
    return _find(row, name) is not _MISSING


def _value(row: Row, names: str | Sequence[str], needed: set[str]) -> Any:
    """What one column holds; of several columns, a mapping from name to value. A number is its text."""
    if not isinstance(names, str):
        return {name: _value(row, name, needed) for name in names}
    value = _find(row, names)
    if names in needed and (value is _MISSING or value is None):
        raise DataError(f"missing value in the column {names!r}")
    return None if value is _MISSING else value


def _text(value: Any) -> Any:
    """Numbers as texts: a table's answer may be 42."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _no_column(field: str, name: str, sample: Sequence[Row]) -> str:
    seen = list(dict.fromkeys(str(key) for row in sample for key in row))
    by_lower = {key.lower(): key for key in seen}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    hint = f"did you mean {by_lower[near[0]]!r}?" if near else "give one of these"
    return f"there is no column {name!r} (columns.{field}); the columns are {', '.join(seen[:30])}; {hint}"


def _kind_of(given: Columns, own: Columns) -> _Kind:
    """What the rows are: the first kind that uses all given fields and whose needs are given or there."""
    deciding = [field for field in given if field not in _BESIDE]
    there = {*given, *own}
    for kind in KINDS:
        if there.issuperset(kind.needs) and set(deciding) <= {*kind.needs, *kind.may}:
            return kind
    possible = [kind for kind in KINDS if set(deciding) <= {*kind.needs, *kind.may} and set(deciding) & set(kind.needs)]
    if possible:
        lacking = [field for field in possible[0].needs if field not in there]
        ways = "; or ".join(" and ".join(f"columns.{f}" for f in k.needs if f not in there) for k in possible[1:3])
        more = f" (or {ways})" if ways else ""
        raise DataError(
            f"columns.{', columns.'.join(deciding)} {'need' if len(deciding) > 1 else 'needs'} "
            f"{' and '.join(f'columns.{f}' for f in lacking)} too{more}: name those columns"
        )
    if not deciding:
        raise DataError("the columns name no prompt, text or messages; give one of columns.prompt, .text, .messages")
    raise DataError(
        f"the columns {', '.join(f'{f}={_names(given[f])[0]}' for f in deciding)} do not go together; expected one of: "
        + "; ".join(" + ".join(kind.needs) for kind in KINDS)
    )


def _with_system(values: dict[str, Any]) -> dict[str, Any]:
    """The values, with the system message as the first of the prompt's messages."""
    values = {field: value for field, value in values.items() if value is not None}
    system, prompt = values.pop("system", None), values.get("prompt")
    for field in ("prompt", "completion", "chosen", "rejected", "text", "first", "second"):
        if field in values:
            values[field] = _text(values[field])
    if system and prompt is not None:
        asked = [{"role": "user", "content": _text(prompt)}] if not isinstance(prompt, list | tuple) else list(prompt)
        values["prompt"] = [{"role": "system", "content": _text(system)}, *asked]
    return values


def _with_the_rest(one: Outcome, values: Mapping[str, Any], used: Columns) -> Outcome:
    """The record with its annotator, id and further columns."""
    if isinstance(one, LeftOut):
        return one
    beside = {field: str(values[field]) for field in ("annotator", "id") if values.get(field) not in (None, "")}
    known = {field: value for field, value in beside.items() if hasattr(one, field) and not isinstance(one, Prompt)}
    found: Any = replace(one, **known) if known else one
    kept = {} if "metadata" not in used else {k: v for k, v in values["metadata"].items() if v is not None}
    return with_prompt(found, lambda prompt: replace(prompt, metadata={**prompt.metadata, **kept})) if kept else found


def _as(name: str) -> Callable[[dict[str, Any], Columns], list[Outcome]]:
    return lambda values, used: _READ[name](values)


def _read_label(values: dict[str, Any], used: Columns) -> list[Outcome]:
    said = values["label"]
    word = said.strip().lower() if isinstance(said, str) else said
    (name,) = _names(used["label"])
    desirable = word in _UP or (word not in (*_DOWN, -1) and flag({name: said}, name))
    return _READ["trl-unpaired"]({**values, "label": desirable})


def _read_rating(values: dict[str, Any], used: Columns) -> list[Outcome]:
    (name,) = _names(used["rating"])
    (one,) = _READ["trl-prompt-completion"](values)
    return [Label(one.prompt, one.completion, ratings={name: number({name: values["rating"]}, name)})]  # type: ignore[union-attr]


def _read_messages(values: dict[str, Any], used: Columns) -> list[Outcome]:
    messages_of(values["messages"], *_names(used["messages"]))  # the column's name in what is said of a bad one
    return _READ["trl-language-modeling"]({"messages": values["messages"]})


def _read_choice(values: dict[str, Any], used: Columns) -> list[Outcome]:
    pair = {**values, "chosen": values["first"], "rejected": values["second"]}
    (one,) = trl.read_preference(pair)
    assert isinstance(one, Comparison)
    if "preference" in used:
        (name,) = _names(used["preference"])
        preference = number({name: values["preference"]}, name)
        if not 0 <= preference <= 1:
            raise DataError(f"{name!r} should be a probability between 0 and 1: seen {preference:g}")
        return [replace(one, preference=preference)]
    said = str(_text(values["preferred"])).strip()
    first, second = (str(*_names(used[field])).lower() for field in ("first", "second"))
    word = said.lower()
    if word in (*_TIED, *_BOTH_BAD):
        return [replace(one, preference=0.5, both_bad=word in _BOTH_BAD)]
    if word in (*_FIRST, first):
        return [one]
    if word in (*_SECOND, second):
        return [replace(one, preference=0.0)]
    raise DataError(
        f"{_names(used['preferred'])[0]!r} should say which answer is better (a or b, first or second, 1 or 2, "
        f"{first}, {second}, or tie): seen {said[:60]!r}"
    )


def _read_answers(values: dict[str, Any], used: Columns) -> list[Outcome]:
    found: list[Completion] = []
    for name, value in values["answers"].items():
        if isinstance(value, list | tuple):
            found += [Completion(_answer(name, one)) for one in value]
        else:
            # where each model has a column, its name says which one answered
            found.append(Completion(_answer(name, value), model=name))
    return [Answers(prompt_of(values["prompt"]), tuple(found))]


def _answer(name: str, value: Any) -> str:
    value = _text(value)
    if not isinstance(value, str):
        raise DataError(f"the column {name!r} holds no text: seen {type(value).__name__}")
    return value


# From specific to general: the first that uses all given fields and has what it needs.
KINDS = (
    _Kind(("prompt", "first", "second", "preferred"), ("margin",), _read_choice),
    _Kind(("prompt", "first", "second", "preference"), ("margin",), _read_choice),
    _Kind(("prompt", "chosen", "rejected"), ("margin",), _as("trl-preference")),
    _Kind(("chosen", "rejected"), ("margin",), _as("trl-preference")),
    _Kind(("prompt", "answers"), (), _read_answers),
    _Kind(("prompt", "completion", "rating"), (), _read_rating),
    _Kind(("prompt", "completion", "label"), (), _read_label),
    _Kind(("prompt", "completion"), (), _as("trl-prompt-completion")),
    _Kind(("messages",), (), _read_messages),
    _Kind(("text", "label"), (), _as("classified")),
    _Kind(("text",), (), _as("trl-language-modeling")),
    _Kind(("prompt",), (), _as("trl-prompt")),
)
