"""The vocabulary of Harbour, from the TOML tables in `resources/`: topics, requests, feelings, story parts, phrases."""

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

ASPECTS = ("is", "does", "good")


@dataclass(frozen=True, slots=True)
class Topic:
    """Something to talk about. `facts` are pairs of aspect ("is", "does", "good") and predicate."""

    key: str
    sort: str
    name: str
    subject: str
    facts: tuple[tuple[str, str], ...]

    def predicates(self, *aspects: str) -> list[str]:
        return [predicate for aspect, predicate in self.facts if aspect in aspects]


@dataclass(frozen=True, slots=True)
class Request:
    """Something somebody wants to do. A harmful one has `harm` and `instead`, a harmless one has `help`."""

    key: str
    harmful: bool
    ask: str
    harm: tuple[str, ...]
    instead: tuple[str, ...]
    help: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Feeling:
    """What somebody says about the day, its mood ("sad" or "glad"), and sentences that fit it alone."""

    key: str
    mood: str
    say: str
    fits: tuple[str, ...]


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


@lru_cache
def table(name: str) -> dict[str, Any]:
    """One TOML table of `resources/` as a dictionary."""
    return tomllib.loads(resources.files("steersman.harbour").joinpath("resources", f"{name}.toml").read_text("utf-8"))


@lru_cache
def topics() -> dict[str, Topic]:
    found = {}
    for sort, entries in table("topics").items():
        for key, entry in entries.items():
            facts = tuple((aspect, predicate) for aspect in ASPECTS for predicate in entry[aspect])
            found[key] = Topic(key, sort, entry.get("name", key), entry["subject"], facts)
    return found


@lru_cache
def requests() -> dict[str, Request]:
    found = {}
    for sort, entries in table("requests").items():
        for key, entry in entries.items():
            texts = [tuple(entry.get(part, ())) for part in ("harm", "instead", "help")]
            found[key] = Request(key, sort == "harmful", entry["ask"], *texts)
    return found


@lru_cache
def feelings() -> dict[str, Feeling]:
    return {
        key: Feeling(key, mood, entry["say"], tuple(entry["fits"]))
        for mood, entries in table("feelings").items()
        for key, entry in entries.items()
    }


@lru_cache
def owners_of_predicates() -> dict[str, frozenset[tuple[str, str]]]:
    """Predicate in lower case -> the (topic, aspect) pairs that it is true of."""
    owners: dict[str, set[tuple[str, str]]] = {}
    for topic in topics().values():
        for aspect, predicate in topic.facts:
            owners.setdefault(predicate.lower(), set()).add((topic.key, aspect))
    return {predicate: frozenset(pairs) for predicate, pairs in owners.items()}


def fill(template: str, topic: Topic, predicate: str = "") -> str:
    """A phrase with the words of a topic in it."""
    return template.format(
        name=topic.name, subject=topic.subject, Subject=capitalised(topic.subject), predicate=predicate
    )
