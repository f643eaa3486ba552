"""Pairs of answers for tests of the store."""

from typing import Any

from steersman.records import Comparison, Completion, Message, Prompt
from steersman.store.content import parts_of
from steersman.store.items import NewItem, StoredItem, add_items, list_items
from steersman.store.projects import Project


def pair(number: int, **more: Any) -> Comparison:
    """A comparison of two answers to the prompt of this number."""
    prompt = Prompt((Message("user", f"Question {number}?"),))
    first = Completion(f"Good answer {number}", model="runs/sft", sampling={"temperature": 0.7}, seed=number)
    second = Completion(f"Bad answer {number}", model="runs/ppo")
    return Comparison(prompt, first, second, **{"preference": 1.0, **more})


def pairs_in(project: Project, count: int, *, overlap: int = 1) -> list[StoredItem]:
    """So many pairs, added to a project as tasks."""
    add_items(project, [NewItem(parts_of(pair(number))[0], overlap=overlap) for number in range(count)])
    return list_items(project, limit=count)
