"""Tasks as a labeller sees them: blind, in an order of their own, with text made safe.

A *slot* is an answer's place in that order. The order follows from the task and the annotator alone, so it needs no
keeping, and a submission that comes days later still means the same answers.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from steersman.records import Message, Prompt
from steersman.store.entry import when
from steersman.store.items import StoredItem
from steersman.studio.rendering import safe_html

RED_TEAM = "red_team"
KINDS = ("pair", "ranking", "rating", "thumb", "demonstration", RED_TEAM)
"""Kinds of tasks that the studio hands out."""
DEFAULT_ATTRIBUTES = ({"name": "quality", "title": "Quality", "least": 1, "most": 5},)


def shown_order(task: StoredItem, pseudonym: str) -> tuple[int, ...]:
    """The place (in the item) of the answer in each slot."""

    def lot(place: int) -> bytes:
        return hashlib.sha256(f"{task.key} {pseudonym} {place}".encode()).digest()

    return tuple(sorted(range(len(task.content.completions)), key=lot))


def attributes_of(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What answers are rated by in a project, each with its title and range."""
    found = settings.get("attributes") or DEFAULT_ATTRIBUTES
    return [{"title": one["name"], "least": 1, "most": 5, **one} for one in found]


def task_for(task: StoredItem, pseudonym: str, until: float, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A task as it is sent. It says nothing of which model gave which answer, and not why it is asked: the reason
    could sway the judgement, and would tell a check from a task."""
    content = task.content
    answers = [content.completions[place].text for place in shown_order(task, pseudonym)]
    return {
        "id": task.id,
        "kind": content.kind,
        "prompt": [] if content.prompt is None else messages_of(content.prompt),
        "answers": [{"slot": slot, "text": text, "html": safe_html(text)} for slot, text in enumerate(answers)],
        "attributes": attributes_of(settings) if content.kind == "rating" else [],
        "claim_expires": when(until),
    }


def opening_of(prompt: Prompt | None) -> tuple[Message, ...]:
    """How the conversation of a red-teaming task begins: what stands before its last message, which is the goal."""
    messages = () if prompt is None else prompt.messages
    last = max((place for place, one in enumerate(messages) if one.role == "user"), default=0)
    return messages[:last]


def messages_of(prompt: Prompt) -> list[dict[str, str]]:
    said = [(one.role, one.content) for one in prompt.messages] or [("user", prompt.text or "")]
    return [{"role": role, "content": text, "html": safe_html(text)} for role, text in said]
