"""A submission of a labeller, and its translation into what the store keeps: slots become answers again."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from steersman.dataclass_rows import plain
from steersman.errors import DataError
from steersman.records import from_dict, to_dict
from steersman.store.exchanges import Exchange
from steersman.store.items import StoredItem, completion_key
from steersman.store.projects import now
from steersman.studio.tasks import attributes_of, shown_order

LARGEST = 2**53 - 1
"""The largest id: what JavaScript counts exactly, and both databases hold."""
MOST_ANSWERS = 100
Slot = Annotated[int, Field(ge=0, lt=MOST_ANSWERS)]
ItemId = Annotated[int, Field(ge=1, le=LARGEST)]
Key = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-~]+$")]
"""Of a submission, made once by its client, such as a UUID."""
Text = Annotated[str, Field(max_length=200_000)]
Reason = Annotated[str, Field(max_length=10_000)]


class SubmittedEvent(BaseModel):
    """What a labeller does with a task. Which verdict fields a label needs depends on the kind of task.

    `shown` are the slots in the order on the screen (default: 0, 1, …); `choice` and `ranks` are by that order. A rank
    may be missing (null): those answers share the last rank. `rationale` is the reason of a label, skip or flag.
    `exchange` is the one of red-teaming that a choice is about.
    """

    model_config = ConfigDict(extra="forbid")

    key: Key
    kind: Literal["label", "skip", "flag", "undo", "comment"]
    task: ItemId | None = None
    choice: Literal["first", "second", "tie", "both_bad", "cannot_judge"] | None = None
    strength: Annotated[int, Field(ge=1, le=4)] | None = None
    ranks: (
        Annotated[list[Annotated[int, Field(ge=1, le=MOST_ANSWERS)] | None], Field(max_length=MOST_ANSWERS)] | None
    ) = None
    ratings: Annotated[dict[Annotated[str, Field(max_length=100)], FiniteFloat], Field(max_length=50)] | None = None
    thumb: Literal["up", "down"] | None = None
    text: Text | None = None
    edited_from: Slot | None = None
    rationale: Reason | None = None
    seconds: Annotated[FiniteFloat, Field(ge=0, le=1e7)] | None = None
    shown: Annotated[list[Slot], Field(max_length=MOST_ANSWERS)] | None = None
    exchange: ItemId | None = None

    @model_validator(mode="after")
    def _names_a_task(self) -> "SubmittedEvent":
        if self.task is None and self.kind != "undo":
            raise ValueError("a task is missing; only an undo may name none, for the last thing done")
        return self

    @property
    def reason(self) -> str:
        return (self.rationale or self.text or "").strip()


def verdict_of(said: SubmittedEvent, task: StoredItem, pseudonym: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict that the store keeps. A DataError says what is missing or does not fit the task."""
    order = _places(said.shown, shown_order(task, pseudonym))
    kind = task.content.kind
    match kind:
        case "pair":
            return _pair(said, order)
        case "ranking":
            return _ranking(said, order)
        case "rating":
            return _label(said, {"ratings": _ratings(said, attributes_of(settings))})
        case "thumb":
            if said.thumb is None:
                raise DataError("a thumb is 'up' or 'down'; `thumb` is missing")
            return _label(said, {"desirable": said.thumb == "up"})
        case "demonstration":
            return _demonstration(said, task, shown_order(task, pseudonym))
        case _:
            raise DataError(f"a {kind} is not judged here")


def verdict_of_exchange(said: SubmittedEvent, exchange: Exchange, order: Sequence[int]) -> dict[str, Any]:
    """The verdict about the two answers of an exchange: the whole comparison, for its prompt is the person's own."""
    judged = _pair(said, _places(said.shown, order))
    first, second = exchange.completions
    record = {"kind": "comparison", "prompt": {"messages": [plain(one) for one in exchange.messages]}}
    record |= {"first": plain(first), "second": plain(second), **judged}
    record["metadata"] = {**judged.get("metadata", {}), "exchange": exchange.number}
    return {"record": to_dict(from_dict(record))}


def _places(shown: Sequence[int] | None, order: Sequence[int]) -> list[int]:
    """The places (in the item) of the answers, in the order on the screen."""
    if shown is None:
        return list(order)
    if sorted(shown) != list(range(len(order))):
        raise DataError(f"`shown` names each of the slots 0 to {len(order) - 1} once; seen {shown[:10]}")
    return [order[slot] for slot in shown]


def _pair(said: SubmittedEvent, order: Sequence[int]) -> dict[str, Any]:
    if said.choice is None:
        raise DataError("a pair needs a `choice`: first, second, tie, both_bad or cannot_judge")
    chosen = {"first": 0, "second": 1}.get(said.choice)
    if chosen is None and said.strength is not None:
        raise DataError(f"`strength` says how much better an answer is; {said.choice} has none")
    verdict: dict[str, Any] = {"preference": 0.5 if chosen is None else 1.0 - order[chosen], "time": now()}
    verdict |= {"shown": "first" if order[0] == 0 else "second", "both_bad": said.choice == "both_bad"}
    verdict |= {"margin": float(said.strength)} if said.strength is not None else {}
    verdict |= {"rationale": said.rationale} if said.rationale else {}
    return verdict | _timed(said)


def _ranking(said: SubmittedEvent, order: Sequence[int]) -> dict[str, Any]:
    ranks = said.ranks
    if ranks is None or len(ranks) != len(order):
        seen = "none" if ranks is None else f"{len(ranks)}"
        raise DataError(f"a ranking needs `ranks`, one for each of the {len(order)} answers; seen {seen}")
    given = [rank for rank in ranks if rank is not None]
    if not given:
        raise DataError("a ranking needs a rank for one answer or more; skip what cannot be ranked")
    dense = {rank: place for place, rank in enumerate(sorted(set(given)), 1)}
    last = len(dense) + 1
    by_place = {place: last if rank is None else dense[rank] for place, rank in zip(order, ranks, strict=True)}
    unordered = [place for place, rank in zip(order, ranks, strict=True) if rank is None]
    verdict = {"ranks": [by_place[place] for place in range(len(order))], "shown": list(order), "time": now()}
    more = {"unordered": unordered} if unordered else {}
    more |= {"all_bad": True} if said.choice == "both_bad" else {}
    return verdict | _timed(said, _reasoned(said, more))


def _ratings(said: SubmittedEvent, attributes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    known = {str(one["name"]): one for one in attributes}
    given = said.ratings or {}
    if not given:
        raise DataError(f"a rating needs `ratings`, by attribute: {', '.join(known)}")
    for name, value in given.items():
        if name not in known:
            raise DataError(f"there is no attribute {name[:40]!r}; expected {', '.join(known)}")
        least, most = known[name].get("least", 1), known[name].get("most", 5)
        if not least <= value <= most:
            raise DataError(f"{name} is rated from {least} to {most}; seen {value:g}")
    return given


def _label(said: SubmittedEvent, verdict: dict[str, Any]) -> dict[str, Any]:
    return {**verdict, "time": now()} | _timed(said, _reasoned(said, {}))


def _demonstration(said: SubmittedEvent, task: StoredItem, order: Sequence[int]) -> dict[str, Any]:
    if not (said.text or "").strip():
        raise DataError("a demonstration needs its `text`")
    answer: dict[str, Any] = {"text": said.text}
    if said.edited_from is not None:
        if said.edited_from >= len(order):
            raise DataError(f"`edited_from` is a slot from 0 to {len(order) - 1}; seen {said.edited_from}")
        source = task.content.completions[order[said.edited_from]]
        # With the answer that it started from, the difference is kept, whatever becomes of the task.
        answer["sampling"] = {
            "edited_from": {"key": completion_key(source), "model": source.model, "text": source.text}
        }
    verdict: dict[str, Any] = {"completion": answer, "time": now()}
    verdict |= {"seconds": said.seconds} if said.seconds is not None else {}
    return verdict


def _reasoned(said: SubmittedEvent, more: dict[str, Any]) -> dict[str, Any]:
    return more | ({"rationale": said.rationale} if said.rationale else {})


def _timed(said: SubmittedEvent, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    metadata = dict(more or {}) | ({"seconds": said.seconds} if said.seconds is not None else {})
    return {"metadata": metadata} if metadata else {}
