"""Label Studio: tasks with `data` and `annotations`; the Pairwise, Ranker, Choices, Rating and TextArea tags.

The names of a task's data depend on the project's template, so answers are found by their usual names. The Pairwise tag
has no tie: a Choices tag named "tie" marks one, both when writing and when reading.
"""

from collections.abc import Mapping
from typing import Any

from steersman.data.formats import extras
from steersman.data.formats.argilla import BAD, BOTH_BAD, GOOD, PROMPT_FIELDS, RATIONALE, TIES, prompt_content
from steersman.data.formats.fields import listed, mapping, need, write_messages
from steersman.data.formats.format import Format, LeftOut, Outcome, Row
from steersman.errors import DataError
from steersman.records import Comparison, Demonstration, Label, Ranking

_PAIRS = (
    ("answer1", "answer2"),
    ("answer_1", "answer_2"),
    ("response1", "response2"),
    ("response_1", "response_2"),
    ("response_a", "response_b"),
    ("answer_a", "answer_b"),
    ("output_1", "output_2"),
    ("completion_1", "completion_2"),
    ("text1", "text2"),
    ("left", "right"),
    ("first", "second"),
    ("option_a", "option_b"),
    ("chosen", "rejected"),
)
_ANSWERS = ("answer", "response", "output", "completion", "generation", "text")
_LISTS = ("items", "answers", "responses", "completions")


def _read(row: Row) -> list[Outcome]:
    data = mapping(row, "data")
    packed = extras.unpack(data.get(extras.FIELD))
    outcomes: list[Outcome] = []
    for annotation in listed(row, "annotations"):
        if not isinstance(annotation, dict):
            raise DataError("an annotation should be an object with 'result'")
        if annotation.get("was_cancelled") or not annotation.get("result"):
            outcomes.append(LeftOut("a task that its annotator skipped"))
            continue
        content = _content_of(data, annotation["result"], bool(packed))
        content |= {"annotator": _annotator(annotation)} if _annotator(annotation) else {}
        if annotation.get("created_at") and content["kind"] in ("comparison", "ranking", "label"):
            content["time"] = annotation["created_at"]
        outcomes.append(extras.whole(packed, content))
    return outcomes or [LeftOut("a task without annotations")]


def _annotator(annotation: Row) -> str:
    who = annotation.get("completed_by")
    if isinstance(who, Mapping):
        who = who.get("email") or who.get("username") or who.get("id")
    return "" if who is None else str(who)


def _content_of(data: Row, results: list[Any], ours: bool) -> dict[str, Any]:
    """One annotation as a record's dictionary."""
    prompt_key = "messages" if "messages" in data else next((key for key in PROMPT_FIELDS if key in data), None)
    if prompt_key is None:
        raise DataError(
            f"no prompt in the task's data: seen {', '.join(data)}; expected one of {', '.join(PROMPT_FIELDS)}"[:300]
        )
    content: dict[str, Any] = {"prompt": prompt_content(data[prompt_key], ours=ours)}
    values: dict[str, Any] = {}
    names = ""
    for result in results:
        kind = str(need(result, "type"))
        value = mapping(result, "value")
        if kind in ("pairwise", "ranker"):
            names = str(result.get("to_name", ""))
            values[kind] = value.get("selected") if kind == "pairwise" else value.get("ranker")
        elif kind in value:
            values[str(result.get("from_name", kind))] = value[kind]
        elif kind == "textarea":
            values[str(result.get("from_name", kind))] = "\n".join(value.get("text") or [])
    words = {
        k: str(v[0] if isinstance(v, list) and v else v) for k, v in values.items() if k not in ("pairwise", "ranker")
    }
    if "ranker" in values:
        return content | _ranked(data, values["ranker"])
    tie = next((w.lower() for k, w in words.items() if k not in RATIONALE and w.lower() in TIES + BOTH_BAD), None)
    if "pairwise" in values or tie:
        rationale = next((w for k, w in words.items() if k in RATIONALE), "")
        content |= _pair(data, names, values.get("pairwise"), tie)
        return content | ({"rationale": rationale} if rationale else {})
    return content | _single(data, prompt_key, values, words)


def _pair(data: Row, names: str, selected: Any, tie: str | None) -> dict[str, Any]:
    keys = tuple(name.strip() for name in names.split(","))
    if len(keys) != 2 or not all(isinstance(data.get(key), str) for key in keys):
        keys = next((pair for pair in _PAIRS if all(isinstance(data.get(key), str) for key in pair)), ())
    if len(keys) != 2:
        raise DataError(
            f"no two answers in the task's data: seen {', '.join(data)}; expected for example answer1 and answer2"[:300]
        )
    if not tie and selected not in ("left", "right"):
        raise DataError(f"'selected' should be left or right: seen {selected!r}"[:200])
    first, second = data[keys[0]], data[keys[1]]
    content = {"kind": "comparison", "first": {"text": first}, "second": {"text": second}}
    preference = 0.5 if tie else float(selected == "left")
    return {**content, "preference": preference, **({"both_bad": True} if tie in BOTH_BAD else {})}


def _ranked(data: Row, ranker: Any) -> dict[str, Any]:
    """The ranking from a Ranker result. A list is an order, best first. Buckets are ranks, best first, with ties inside
    a bucket; a single bucket is an order."""
    items = next((data[key] for key in _LISTS if isinstance(data.get(key), list)), None)
    if items is None or not all(isinstance(item, Mapping) and "id" in item for item in items):
        raise DataError("the ranker needs a list of items with ids in the task's data")
    buckets = list(ranker.values()) if isinstance(ranker, Mapping) else [ranker]
    if not all(isinstance(bucket, list) for bucket in buckets):
        raise DataError("'ranker' should be a list of ids or buckets of ids")
    groups = [[id] for id in buckets[0]] if len(buckets) == 1 else [bucket for bucket in buckets if bucket]
    rank_of: dict[str, int] = {}
    for group in groups:
        rank = 1 + len(rank_of)
        rank_of |= {str(id): rank for id in group}
    chosen = [item for item in items if str(item["id"]) in rank_of]
    if len(chosen) != len(rank_of):
        raise DataError("the ranker names an id that is not among the items")
    texts = [
        next((item[k] for k in ("body", "text", "html", "content") if isinstance(item.get(k), str)), "")
        for item in chosen
    ]
    return {
        "kind": "ranking",
        "completions": [{"text": t} for t in texts],
        "ranks": [rank_of[str(i["id"])] for i in chosen],
    }


def _single(data: Row, prompt_key: str, values: dict[str, Any], words: dict[str, str]) -> dict[str, Any]:
    answer = next((data[key] for key in _ANSWERS if key != prompt_key and isinstance(data.get(key), str)), None)
    if answer is None:
        written = next((w for k, w in words.items() if k not in RATIONALE), None)
        if written is None:
            raise DataError(f"cannot tell the task from its results: {', '.join(values) or 'none'}")
        return {"kind": "demonstration", "completion": {"text": written}}
    content: dict[str, Any] = {"kind": "label", "completion": {"text": answer}}
    ratings = {k: float(v) for k, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    thumb = next((w.lower() for w in words.values() if w.lower() in GOOD + BAD), None)
    content |= {"desirable": thumb in GOOD} if thumb else {}
    return content | ({"ratings": ratings} if ratings else {})


def _write(record: Comparison | Ranking | Label | Demonstration) -> dict[str, Any]:
    data: dict[str, Any] = {"prompt": record.prompt.shown}
    if record.prompt.messages:
        data["messages"] = write_messages(record.prompt.messages)
    if isinstance(record, Comparison):
        data |= {"answer1": record.first.text, "answer2": record.second.text}
        results, written = _comparison_results(record), ["first.text", "second.text", "rationale", "both_bad"]
    elif isinstance(record, Ranking):
        data["items"] = [
            {"id": str(i), "title": f"Answer {i}", "body": c.text} for i, c in enumerate(record.completions, 1)
        ]
        results, written = [_result("ranking", "items", "ranker", _buckets(record))], ["completions.text"]
    elif isinstance(record, Label):
        data["answer"] = record.completion.text
        results = [_result(name, "answer", "rating", value) for name, value in record.ratings.items()]
        if record.desirable is not None:
            results.append(_result("label", "answer", "choices", ["good" if record.desirable else "bad"]))
        written = ["completion.text", "desirable"]
        if not results:
            raise DataError("an empty label: neither a thumb nor ratings")
    else:
        results, written = [_result("response", "prompt", "textarea", [record.completion.text])], ["completion.text"]
    data[extras.FIELD] = extras.pack(record, "prompt.messages", "prompt.text", *written)
    annotation: dict[str, Any] = {"result": results, "was_cancelled": False}
    annotation |= {"completed_by": {"email": record.annotator}} if record.annotator else {}
    time = "" if isinstance(record, Demonstration) else record.time
    return {"data": data, "annotations": [annotation | ({"created_at": time} if time else {})], "predictions": []}


def _result(name: str, of: str, kind: str, value: Any) -> dict[str, Any]:
    key = {"textarea": "text", "pairwise": "selected"}.get(kind, kind)
    return {"from_name": name, "to_name": of, "type": kind, "value": {key: value}}


def _comparison_results(record: Comparison) -> list[dict[str, Any]]:
    if record.tied:
        results = [_result("tie", "answer1", "choices", ["both bad" if record.both_bad else "tie"])]
    else:
        selected = "left" if record.preference > 0.5 else "right"
        results = [_result("preference", "answer1,answer2", "pairwise", selected)]
    if record.rationale:
        results.append(_result("rationale", "answer1", "textarea", [record.rationale]))
    return results


def _buckets(record: Ranking) -> dict[str, list[str]]:
    """The ranking as two or more buckets. A single bucket would be read as an order."""
    ranks = sorted(set(record.ranks))
    buckets = {f"rank {rank}": [str(i) for i, r in enumerate(record.ranks, 1) if r == rank] for rank in ranks}
    return buckets if len(buckets) > 1 else {**buckets, "rest": []}


FORMATS = (
    Format(
        "label-studio",
        "Label Studio tasks",
        ("id", "data", "annotations"),
        lambda row: isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list),
        _read,
        _write,
        (Comparison, Ranking, Label, Demonstration),
    ),
)
