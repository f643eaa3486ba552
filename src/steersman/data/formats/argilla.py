"""Argilla 2: records with fields and with responses by question, nested (records JSON) or flattened (on the Hub).

Each annotator's submitted responses to a record become one record. A ranking question becomes a Comparison or Ranking,
a label that names an answer a Comparison, ratings and labels of one answer a Label, a written text a Demonstration.
Suggestions come from models and are not read as feedback.
"""

import re
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from steersman.data.formats import extras
from steersman.data.formats.fields import is_messages, mapping, messages_of, need, write_messages, write_prompt
from steersman.data.formats.format import Format, LeftOut, Outcome, Row
from steersman.errors import DataError
from steersman.records import Comparison, Demonstration, Label, Messages, Ranking

PROMPT_FIELDS = (
    "prompt",
    "instruction",
    "question",
    "query",
    "input",
    "conversation",
    "chat",
    "messages",
    "context",
    "dialogue",
)
RATIONALE = ("rationale", "comment", "comments", "reason", "feedback", "explanation")
GOOD = ("good", "yes", "true", "up", "desirable", "accept", "acceptable", "thumbs up", "👍")
BAD = ("bad", "no", "false", "down", "undesirable", "reject", "unacceptable", "thumbs down", "👎")
TIES = ("tie", "both", "equal", "same", "both good")
BOTH_BAD = ("both bad", "neither", "none", "both_bad")
_ANSWER = re.compile(r"(response|answer|output|completion|generation|summary|reply|candidate)s?[-_ ]?\w*$", re.I)


def user_of(annotator: str) -> str:
    """The UUID of an annotator, as Argilla requires. The same name always gives the same UUID."""
    return str(uuid5(NAMESPACE_URL, f"steersman:{annotator}"))


def prompt_content(value: Any, *, ours: bool) -> dict[str, Any]:
    """A prompt field as a record's dictionary. A text that Steersman wrote (`ours`) is continued; any other is a user
    message."""
    if is_messages(value):
        return {"messages": write_messages(_messages(value))}
    if not isinstance(value, str):
        raise DataError("the prompt field should be a text or messages")
    return {"text": value} if ours else {"messages": [{"role": "user", "content": value}]}


def _messages(value: Any) -> Messages:
    return messages_of(value, "prompt")[0]


def _read(row: Row) -> list[Outcome]:
    fields = mapping(row, "fields")
    packed = extras.unpack((row.get("metadata") or {}).get(extras.FIELD))
    prompt_key = next((key for key in PROMPT_FIELDS if key in fields), None)
    answers = {key: value for key, value in fields.items() if key != prompt_key and isinstance(value, str)}
    named = {key: value for key, value in answers.items() if _ANSWER.match(key)}
    outcomes: list[Outcome] = []
    for user, given in _by_user(row.get("responses") or {}).items():
        content = _content_of(fields, prompt_key, named or (answers if prompt_key else {}), given, bool(packed))
        annotator = packed.get("annotator", "")
        content.setdefault("annotator", annotator if user_of(annotator) == user else user)
        if content["kind"] == "demonstration" or content["kind"] == "classified":
            content = {key: value for key, value in content.items() if key not in ("rationale", "metadata")}
        if content["kind"] == "comparison" and packed.get("kind") == "ranking":
            content = _as_ranking(content)
        outcomes.append(extras.whole(packed, content))
    return outcomes or [LeftOut("a record without submitted responses")]


def _by_user(responses: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    users: dict[str, dict[str, Any]] = {}
    for question, given in responses.items():
        for one in given or []:
            if not isinstance(one, Mapping):
                raise DataError("a response should be an object with 'value'")
            if (one.get("status") or "submitted") == "submitted" and one.get("value") is not None:
                users.setdefault(str(one.get("user_id") or ""), {})[question] = one["value"]
    return users


def _content_of(
    fields: Row, prompt_key: str | None, answers: dict[str, str], given: dict[str, Any], ours: bool
) -> dict[str, Any]:
    """One annotator's responses as a record's dictionary."""
    if prompt_key is None:
        return _classified(fields, given)
    content: dict[str, Any] = {"prompt": prompt_content(fields[prompt_key], ours=ours)}
    rationale = next((v for k, v in given.items() if k in RATIONALE and isinstance(v, str)), "")
    ranking = next((v for v in given.values() if isinstance(v, list) and v and isinstance(v[0], Mapping)), None)
    if ranking is not None:
        content |= _ranked(ranking, answers or {k: v for k, v in fields.items() if isinstance(v, str)})
        content |= {"rationale": rationale} if rationale and content["kind"] == "comparison" else {}
        content |= {"both_bad": True} if _both_bad(given) and content["kind"] == "comparison" else {}
        return content
    if len(answers) == 2:
        return content | _picked(answers, given) | ({"rationale": rationale} if rationale else {})
    if len(answers) == 1:
        return content | _judged(next(iter(answers.values())), given)
    written = next((v for k, v in given.items() if isinstance(v, str) and k not in RATIONALE), None)
    if answers or written is None:
        raise DataError(
            f"cannot tell the task from the fields {', '.join(fields)} and the questions {', '.join(given)}"[:300]
        )
    return content | {"kind": "demonstration", "completion": {"text": written}}


def _classified(fields: Row, given: dict[str, Any]) -> dict[str, Any]:
    words = next((v for v in fields.values() if isinstance(v, str)), None)
    label = next((v for v in given.values() if isinstance(v, str | int)), None)
    if words is None or label is None:
        raise DataError(f"no prompt among the fields {', '.join(fields)}: expected one of {', '.join(PROMPT_FIELDS)}")
    return {"kind": "classified", "text": words, "label": str(label)}


def _ranked(ranking: list[Any], answers: dict[str, str]) -> dict[str, Any]:
    order = {str(need(item, "value")): int(need(item, "rank")) for item in ranking}
    unknown = [name for name in order if name not in answers]
    if unknown:
        raise DataError(f"the ranking names {unknown[0]!r}, which is not a field: expected {', '.join(answers)}"[:300])
    names = [name for name in answers if name in order]
    ranks = [order[name] for name in names]
    if len(names) == 2:
        preference = 0.5 if ranks[0] == ranks[1] else float(ranks[0] < ranks[1])
        first, second = ({"text": answers[name]} for name in names)
        return {"kind": "comparison", "first": first, "second": second, "preference": preference}
    return {"kind": "ranking", "completions": [{"text": answers[name]} for name in names], "ranks": ranks}


def _as_ranking(content: dict[str, Any]) -> dict[str, Any]:
    ranks = [1, 1] if content["preference"] == 0.5 else [1, 2] if content["preference"] == 1.0 else [2, 1]
    kept = {key: content[key] for key in ("prompt", "annotator") if key in content}
    return {**kept, "kind": "ranking", "completions": [content["first"], content["second"]], "ranks": ranks}


def _both_bad(given: Mapping[str, Any]) -> bool:
    return any(isinstance(v, str) and v.lower() in BOTH_BAD for k, v in given.items() if k not in RATIONALE)


def _picked(answers: dict[str, str], given: dict[str, Any]) -> dict[str, Any]:
    """The comparison from a label question that names one of two answers, or a tie."""
    names = list(answers)
    first = {names[0].lower(), "1", "a", "first", "left"}
    second = {names[1].lower(), "2", "b", "second", "right"}
    for value in (str(v).lower() for k, v in given.items() if k not in RATIONALE):
        both_bad = value in BOTH_BAD
        if value in first or value in second or value in TIES or both_bad:
            preference = 1.0 if value in first else 0.0 if value in second else 0.5
            content = {
                "first": {"text": answers[names[0]]},
                "second": {"text": answers[names[1]]},
                "preference": preference,
            }
            return {"kind": "comparison", **content, **({"both_bad": True} if both_bad else {})}
    raise DataError(f"no response names one of the answers {names[0]!r} and {names[1]!r}")


def _judged(words: str, given: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {"kind": "label", "completion": {"text": words}}
    ratings = {k: float(v) for k, v in given.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    words_given = {k: v for k, v in given.items() if isinstance(v, str | bool | list)}
    thumb = next((str(v).lower() for v in words_given.values() if str(v).lower() in GOOD + BAD), None)
    rest = {k: v for k, v in words_given.items() if str(v).lower() not in GOOD + BAD}
    content |= {"desirable": thumb in GOOD} if thumb else {}
    content |= {"ratings": ratings} if ratings else {}
    return content | ({"metadata": {"responses": rest}} if rest else {})


def _write(record: Comparison | Ranking | Label | Demonstration) -> dict[str, Any]:
    fields: dict[str, Any] = {"prompt": write_prompt(record.prompt)}
    responses: dict[str, Any] = {}
    if isinstance(record, Comparison | Ranking):
        several = isinstance(record, Ranking)
        texts = record.completions if several else (record.first, record.second)
        ranks = record.ranks if several else _two_ranks(record.preference)
        fields |= {f"response-{i}": completion.text for i, completion in enumerate(texts, 1)}
        responses["preference"] = [{"value": f"response-{i}", "rank": rank} for i, rank in enumerate(ranks, 1)]
        written = ["completions.text"] if several else ["first.text", "second.text", "rationale", "both_bad"]
        if isinstance(record, Comparison):
            responses |= {"rationale": record.rationale} if record.rationale else {}
            responses |= {"acceptable": "neither"} if record.both_bad else {}
    elif isinstance(record, Label):
        fields["response"] = record.completion.text
        responses |= {"label": "good" if record.desirable else "bad"} if record.desirable is not None else {}
        responses |= {name: value for name, value in record.ratings.items() if name != "label"}
        written = ["completion.text", "desirable"]
        if not responses:
            raise DataError("an empty label: neither a thumb nor ratings")
    else:
        responses["response"] = record.completion.text
        written = ["completion.text"]
    user = user_of(record.annotator)
    given = {name: [{"value": value, "user_id": user, "status": "submitted"}] for name, value in responses.items()}
    metadata = {extras.FIELD: extras.pack(record, "prompt.messages", "prompt.text", *written)}
    whole = {"fields": fields, "metadata": metadata, "suggestions": {}, "responses": given, "vectors": {}}
    return {"id": record.id or record.prompt.id, "status": "completed", **whole}


def _two_ranks(preference: float) -> tuple[int, int]:
    return (1, 1) if preference == 0.5 else (1, 2) if preference > 0.5 else (2, 1)


def _read_flat(row: Row) -> list[Outcome]:
    """Read the flattened columns of the Hub: `question.responses`, `.users` and `.status` are parallel lists."""
    responses: dict[str, list[dict[str, Any]]] = {}
    for key, values in row.items():
        if key.endswith(".responses"):
            users, statuses = row.get(f"{key}.users") or [], row.get(f"{key}.status") or []
            responses[key.removesuffix(".responses")] = [
                {
                    "value": value,
                    "user_id": users[i] if i < len(users) else None,
                    "status": statuses[i] if i < len(statuses) else None,
                }
                for i, value in enumerate(values or [])
            ]
    fields = {
        k: v
        for k, v in row.items()
        if "." not in k and k not in ("id", "status", "_server_id", extras.FIELD) and v is not None
    }
    return _read({"fields": fields, "metadata": {extras.FIELD: row.get(extras.FIELD)}, "responses": responses})


FORMATS = (
    Format(
        "argilla",
        "Argilla records",
        ("id", "status", "fields", "responses"),
        lambda row: isinstance(row.get("fields"), dict) and ("responses" in row or "suggestions" in row),
        _read,
        _write,
        (Comparison, Ranking, Label, Demonstration),
    ),
    Format(
        "argilla-flat",
        "Argilla records, flattened",
        ("question.responses", "question.responses.users", "question.responses.status"),
        lambda row: any(key.endswith(".responses") for key in row),
        _read_flat,
    ),
)
