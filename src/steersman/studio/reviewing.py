"""One item as a reviewer sees it: its answers, what people said of it in words, and the form of a decision."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from steersman.errors import DataError
from steersman.quality.figures import Quality
from steersman.records import Comparison, from_dict
from steersman.store.item_history import SaidOfItem, said_of_item
from steersman.store.items import StoredItem
from steersman.store.judged import CLASSES
from steersman.store.projects import Project
from steersman.studio.problems import in_words
from steersman.studio.rendering import safe_html
from steersman.studio.submissions import SubmittedEvent
from steersman.studio.tasks import attributes_of, messages_of, shown_order

EXPECTED = ("preference", "both_bad", "ranks", "ratings", "desirable", "rationale")
"""What of a verdict is a gold item's known answer."""
STRENGTHS = {1: "barely", 2: "slightly", 3: "clearly", 4: "far"}
LETTERS = "ABCDEFGHI"


def reviewed_item(
    found: Project, task: StoredItem, quality: Quality, settings: Mapping[str, Any], who: str
) -> dict[str, Any]:
    """An item for its page. Answers have letters, in the order that this reviewer would get as a labeller."""
    order = shown_order(task, who)
    letters = {place: LETTERS[slot % 9] for slot, place in enumerate(order)}
    soft = quality.soft.get(task.id)
    doubt = next((one for one in quality.doubtful if one.item == task.id), None)
    answers = [task.content.completions[place] for place in order]
    said = said_of_item(found, task.id)
    return {
        "id": task.id,
        "kind": task.content.kind,
        "prompt": [] if task.content.prompt is None else messages_of(task.content.prompt),
        "answers": [
            {"letter": LETTERS[slot % 9], "text": one.text, "html": safe_html(one.text), "model": one.model}
            for slot, one in enumerate(answers)
        ],
        "reason": task.reason,
        "choice": task.choice,
        "purpose": task.purpose,
        "gold": None if task.gold is None else words_of(task.content.kind, task.gold, letters),
        "overlap": task.overlap,
        "free": task.free,
        "probability": None if soft is None else _classes(task.content.kind, soft.probability, letters),
        "doubt": list(doubt.reasons) if doubt is not None else [],
        "attributes": attributes_of(settings),
        "written": [_written(one) for one in said if isinstance(one.body.get("record"), Mapping) and one.counts],
        "said": [_said(task.content.kind, one, letters) for one in said],
    }


def _classes(kind: str, probability: Sequence[float], letters: Mapping[int, str]) -> list[dict[str, Any]]:
    names = {"first": f"{letters.get(0)} is better", "second": f"{letters.get(1)} is better", "tie": "a tie"}
    found = [
        {"name": names.get(name, name), "probability": one}
        for name, one in zip(CLASSES[kind], probability, strict=True)
    ]
    return sorted(found, key=lambda one: str(one["name"])) if kind == "pair" else found


def _written(one: SaidOfItem) -> dict[str, Any]:
    """What somebody wrote to the model in red-teaming, and its two answers."""
    record = from_dict(one.body["record"])
    assert isinstance(record, Comparison)
    return {
        "annotator": one.annotator,
        "messages": messages_of(record.prompt),
        "answers": [
            {"letter": LETTERS[place], "text": each.text, "model": each.model}
            for place, each in enumerate((record.first, record.second))
        ],
        "verdict": words_of("red_team", one.body, {}),
        "note": record.rationale,
    }


def _said(kind: str, one: SaidOfItem, letters: Mapping[int, str]) -> dict[str, Any]:
    verdict = words_of(kind, one.body, letters) if one.counts or one.kind == "late" else ""
    record = one.body.get("record")
    said: Mapping[str, Any] = record if isinstance(record, Mapping) else one.body
    metadata = said.get("metadata") or {}
    note = said.get("rationale") or metadata.get("rationale") or one.body.get("reason") or one.body.get("text") or ""
    word = {"adjudication": "decided", "late": "too late", "more": "one more asked", "gold": "known answer"}
    return {
        "number": one.number,
        "kind": word.get(one.kind, "label" if one.counts else one.kind),
        "annotator": one.annotator,
        "verdict": verdict,
        "note": note if isinstance(note, str) else "",
        "seconds": one.body.get("seconds", metadata.get("seconds")),
        "shown": _shown(said, letters or {0: "A", 1: "B"}),
        "repeat": one.repeat,
        "time": one.recorded[:16].replace("T", " "),
    }


def _shown(body: Mapping[str, Any], letters: Mapping[int, str]) -> str:
    """Which answer stood first on the screen."""
    place = {"first": 0, "second": 1}.get(str(body.get("shown")))
    return "" if place is None else letters.get(place, "")


def words_of(kind: str, verdict: Mapping[str, Any], letters: Mapping[int, str]) -> str:
    """A verdict in words, by the letters of the answers."""
    match kind:
        case "pair":
            preference = verdict.get("preference", 0.5)
            if preference == 0.5:
                return "both bad" if verdict.get("both_bad") else "tie"
            how = STRENGTHS.get(int(verdict["margin"]), "") if verdict.get("margin") else ""
            return f"{letters.get(0 if preference > 0.5 else 1)} is {how} better".replace("  ", " ")
        case "red_team":
            return words_of("pair", verdict.get("record") or {}, {0: "A", 1: "B"})
        case "thumb":
            return "good" if verdict.get("desirable") else "not good"
        case "ranking":
            ranks = verdict.get("ranks") or []
            ordered = sorted(range(len(ranks)), key=lambda place: ranks[place])
            parts: list[str] = []
            for before, place in zip([None, *ordered], ordered, strict=False):
                sign = "" if before is None else " = " if ranks[before] == ranks[place] else " > "
                parts.append(sign + letters.get(place, "?"))
            return "".join(parts)
        case "rating":
            return ", ".join(f"{name} {value:g}" for name, value in (verdict.get("ratings") or {}).items())
        case _:
            text = (
                verdict.get("completion", {}).get("text", "") if isinstance(verdict.get("completion"), Mapping) else ""
            )
            return str(text)[:200]


def event_of_form(form: Mapping[str, Any], task: StoredItem, settings: Mapping[str, Any]) -> SubmittedEvent:
    """The decision in a page's form, as a label of the task."""
    said: dict[str, Any] = {"key": str(form.get("key", "")), "kind": "label", "task": task.id}
    said |= {"rationale": note} if (note := str(form.get("rationale", "")).strip()) else {}
    match task.content.kind:
        case "pair":
            said["choice"] = form.get("choice") or None
            strength = _number(form.get("strength"), int)
            said |= {"strength": strength} if strength and said["choice"] in ("first", "second") else {}
        case "thumb":
            said["thumb"] = form.get("thumb") or None
        case "ranking":
            said["ranks"] = [_number(form.get(f"rank-{slot}"), int) for slot in range(len(task.content.completions))]
        case "rating":
            given = {str(one["name"]): form.get(f"rating-{one['name']}") for one in attributes_of(settings)}
            said["ratings"] = {name: _number(value, float) for name, value in given.items() if value}
        case "demonstration":
            said["text"] = str(form.get("text", ""))
        case kind:
            raise DataError(f"a {kind} is not decided here")
    try:
        return SubmittedEvent.model_validate(said)
    except ValidationError as error:
        raise DataError(in_words(error.errors())) from None


def _number(value: Any, kind: type[int] | type[float]) -> int | float | None:
    try:
        return kind(str(value)) if value not in (None, "") else None
    except ValueError:
        raise DataError(f"{str(value)[:20]!r} is no number") from None
