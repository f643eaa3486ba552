"""A studio's full-fidelity rows: labels and items with all that is known of them, in JSONL and Parquet.

A row has the same columns in both files. In Parquet, columns with an inner structure hold JSON. `tie`, `policies` and
`seconds` repeat what stands elsewhere in the row, for those who read a table; they are not read back.
"""

import json
from collections.abc import Mapping
from typing import Any

from steersman.data.formats.format import Format, Outcome, Row
from steersman.errors import DataError
from steersman.records import KINDS, from_dict, to_dict

MARK = "studio"
VERSION = 1
NESTED = ("prompt", "completions", "ratings", "metadata", "record", "asked", "gold")
"""Columns with an inner structure."""
COLUMNS: dict[str, str] = {
    MARK: "int",
    "kind": "str",
    "item": "str",
    "key": "str",
    "round": "str",
    "annotator": "str",
    "role": "str",
    "adjudication": "bool",
    "prompt": "json",
    "completions": "json",
    "policies": "strs",
    "preference": "float",
    "tie": "bool",
    "both_bad": "bool",
    "margin": "float",
    "ranks": "ints",
    "desirable": "bool",
    "ratings": "json",
    "shown": "ints",
    "rationale": "str",
    "seconds": "float",
    "time": "str",
    "id": "str",
    "name": "str",
    "metadata": "json",
    "record": "json",
    "asked": "json",
    "overlap": "int",
    "turn": "float",
    "reason": "str",
    "gold": "json",
    "purpose": "str",
    "choice": "str",
}
"""All columns in their order, each with its type."""
MEANINGS: dict[str, str] = {
    MARK: "version of this table's layout",
    "kind": "what the row is: comparison, ranking, label, demonstration, or an item without a label",
    "item": "kind of task: pair, ranking, rating, thumb, demonstration, red_team; or what the item is",
    "key": "identity of the submission; an import takes each once",
    "round": "round of data collection",
    "annotator": "pseudonym",
    "role": "labeller, reviewer, admin or viewer",
    "adjudication": "a reviewer's decision, which takes the place of the item's labels",
    "prompt": "chat messages or a text, with id and metadata",
    "completions": "the answers in the order of the file, each with model, sampling, seed and scores",
    "policies": "the models that gave the answers",
    "preference": "probability that the first answer is better: 1, 0, 0.5 for a tie",
    "tie": "neither was better",
    "both_bad": "a tie in which neither was acceptable",
    "margin": "strength of the preference",
    "ranks": "rank of each answer, 1 is the best; equal ranks are ties",
    "desirable": "thumb up or down",
    "ratings": "ratings by attribute",
    "shown": "the order on the screen: places of the answers, from left or top",
    "rationale": "the annotator's reason",
    "seconds": "time spent",
    "time": "when it was judged",
    "id": "the record's id",
    "name": "tells apart several labels of one item by one annotator",
    "metadata": "everything else about the label",
    "record": "the whole record, for kinds without these columns",
    "asked": "the task, where it differs from what the record shows (an answer to edit, a red-teaming brief)",
    "overlap": "labels wanted of the task; absent if it was not handed out",
    "turn": "order of the hand-out",
    "reason": "why the task was asked",
    "gold": "the expected verdict of a gold item",
    "purpose": "gold: mixed into everybody's tasks; practice: asked before the first task",
    "choice": "how the task was chosen: random (kept to measure), disagreement, information",
}
_PLACES = {"first": [0, 1], "second": [1, 0]}
_OWN = {
    "comparison": ("preference", "both_bad", "margin", "rationale", "time", "id", "metadata"),
    "ranking": ("ranks", "shown", "time", "id", "metadata"),
    "label": ("desirable", "ratings", "time", "id", "metadata"),
    "demonstration": ("id",),
    "answers": ("id",),
    "prompt": (),
}


def columns_of(record: Any) -> dict[str, Any]:
    """The columns that follow from a record alone, in no order. `from_columns` gives the record back."""
    whole = to_dict(record)
    kind = whole["kind"]
    if kind not in _OWN:
        return {"kind": kind, "record": whole}
    found: dict[str, Any] = {"kind": kind}
    found |= {name: whole[name] for name in _OWN[kind] if name in whole}
    found |= {"annotator": whole["annotator"]} if "annotator" in whole else {}
    if kind == "prompt":
        return {**found, "prompt": {name: value for name, value in whole.items() if name != "kind"}}
    answers = _answers(whole)
    found |= {"prompt": whole["prompt"], "completions": answers}
    found |= {"policies": models} if any(models := [one.get("model", "") for one in answers]) else {}
    if kind == "comparison":
        found |= {"tie": True} if whole["preference"] == 0.5 else {}
        found |= {"shown": _PLACES[whole["shown"]]} if whole.get("shown") in _PLACES else {}
    metadata = whole.get("metadata", {})
    if isinstance(seconds := metadata.get("seconds"), int | float) and not isinstance(seconds, bool):
        found["seconds"] = float(seconds)
    if kind == "ranking" and isinstance(metadata.get("rationale"), str):
        found["rationale"] = metadata["rationale"]
    return found


def _answers(whole: Mapping[str, Any]) -> list[Any]:
    if whole["kind"] == "comparison":
        return [whole["first"], whole["second"]]
    return [whole["completion"]] if "completion" in whole else whole.get("completions", [])


def from_columns(row: Row) -> Any:
    """The record of a row."""
    kind = row.get("kind")
    if kind not in _OWN:
        return from_dict(_json(row, "record"))
    if kind == "prompt":
        return from_dict({**_json(row, "prompt"), "kind": "prompt"})
    whole: dict[str, Any] = {"kind": kind, "prompt": _json(row, "prompt")}
    whole |= {name: row[name] for name in _OWN[kind] if row.get(name) is not None and name not in NESTED}
    whole |= {name: _json(row, name) for name in _OWN[kind] if row.get(name) is not None and name in NESTED}
    whole |= {"annotator": row["annotator"]} if row.get("annotator") else {}
    answers = _json(row, "completions")
    if not isinstance(answers, list):
        raise DataError("'completions' should be a list")
    if kind == "comparison":
        if len(answers) != 2:
            raise DataError(f"a comparison has two answers; seen {len(answers)}")
        whole |= {"first": answers[0], "second": answers[1]}
        if row.get("shown"):
            whole["shown"] = "first" if list(row["shown"]) == _PLACES["first"] else "second"
    elif kind in ("label", "demonstration"):
        if len(answers) != 1:
            raise DataError(f"a {kind} has one answer; seen {len(answers)}")
        whole["completion"] = answers[0]
    else:
        whole["completions"] = answers
    return from_dict(whole)


def _json(row: Row, name: str) -> Any:
    """The value of a column with an inner structure: as it is in JSONL, as JSON in Parquet."""
    value = row.get(name)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise DataError(f"{name!r} is not JSON") from error
    if value is None:
        raise DataError(f"{name!r} is missing")
    return value


def nested_value(row: Row, name: str) -> Any:
    """The value of a column with an inner structure, or None."""
    return None if row.get(name) is None else _json(row, name)


def is_studio_row(row: Row) -> bool:
    return row.get(MARK) == VERSION and isinstance(row.get("kind"), str)


def ordered(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The columns in their order, without those that say nothing."""
    return {name: columns[name] for name in COLUMNS if columns.get(name) not in (None, "", [], {})}


def _read(row: Row) -> list[Outcome]:
    return [from_columns(row)]


def _write(record: Any) -> dict[str, Any]:
    return ordered({MARK: VERSION, **columns_of(record)})


FORMATS = (
    Format(
        "studio",
        "A studio's full-fidelity rows",
        (MARK, "kind", "prompt", "completions", "annotator"),
        is_studio_row,
        _read,
        _write,
        tuple(KINDS.values()),
    ),
)
