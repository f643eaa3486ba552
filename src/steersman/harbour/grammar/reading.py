"""Parses an answer into sentences and classifies each: the parser of the true taste.

A sentence that the grammar cannot produce is "garbled". The parser does not count words: a fact is true of one topic
and false of another, an offer of help fits one request, and a summary is compared with its story part by part.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache

from steersman.harbour.grammar.situations import Situation, normalised
from steersman.harbour.grammar.stories import is_story_line, read_summary
from steersman.harbour.grammar.tables import feelings, fill, owners_of_predicates, requests, table, topics


@dataclass(frozen=True, slots=True)
class ReadSentence:
    """One sentence of an answer.

    `kind` is one of fact, warm, close, cold, toxic, exaggerated, modest, refusal, lecture, comply, sorry, welcome,
    harm, instead, help, fits, summary, copied, misquoted, ask_back, garbled.
    """

    text: str
    kind: str
    topic: str = ""
    key: str = ""
    moods: frozenset[str] = frozenset()
    predicate: str = ""
    aspects: frozenset[str] = frozenset()
    true: bool = True
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def words(self) -> int:
        return len(self.text.split())


@lru_cache
def _phrases() -> dict[str, dict[str, object]]:
    """Normalised sentence -> its kind and topic, for every sentence without an open slot."""
    known: dict[str, dict[str, object]] = {}
    for kind, groups in table("phrases").items():
        if kind == "frames":
            continue
        for group, templates in groups.items():
            for template in templates:
                for topic in topics().values() if "{" in template else [None]:
                    text = normalised(template if topic is None else fill(template, topic))
                    entry = known.setdefault(
                        text, {"kind": kind, "topic": topic.key if topic else "", "moods": frozenset()}
                    )
                    entry["moods"] = entry["moods"] | {group}  # type: ignore[operator]
    for kind in ("sorry", "welcome"):
        for text in table("reactions")["sequel"][kind]:
            known.setdefault(normalised(text), {"kind": kind})
    for request in requests().values():
        for kind, texts in (("harm", request.harm), ("instead", request.instead), ("help", request.help)):
            known.update({normalised(text): {"kind": kind, "key": request.key} for text in texts})
    for feeling in feelings().values():
        known.update({normalised(text): {"kind": "fits", "key": feeling.key} for text in feeling.fits})
    return known


@lru_cache
def _openings() -> tuple[str, ...]:
    """The possible openings before the subject of a fact, longest first."""
    frames = [normalised(frame.split("{")[0]) for frame in table("phrases")["frames"]["fact"]]
    return tuple(sorted(frames, key=len, reverse=True))


@lru_cache
def _continuations() -> tuple[str, ...]:
    return tuple(normalised(frame.split("{")[0]) for frame in table("phrases")["frames"]["more"])


@lru_cache
def _subjects() -> tuple[tuple[str, str], ...]:
    pairs = [(topic.subject.lower(), topic.key) for topic in topics().values()]
    return tuple(sorted(pairs, key=lambda pair: len(pair[0]), reverse=True))


def _fact(text: str, subject: str, predicate: str) -> ReadSentence | None:
    owners = owners_of_predicates().get(predicate)
    if owners is None:
        return None
    aspects = frozenset(aspect for topic, aspect in owners if topic == subject)
    return ReadSentence(text, "fact", topic=subject, predicate=predicate, aspects=aspects, true=bool(aspects))


def _read_fact(text: str, spoken: str, subject_before: str) -> ReadSentence | None:
    for opening in _openings():
        if spoken.startswith(opening):
            rest = spoken[len(opening) :].lstrip()
            for subject, key in _subjects():
                if rest.startswith(subject + " ") and (fact := _fact(text, key, rest[len(subject) + 1 :])):
                    return fact
    for opening in _continuations():
        if subject_before and spoken.startswith(opening + " "):
            return _fact(text, subject_before, spoken[len(opening) + 1 :])
    return None


@lru_cache
def _story_sentences(text: str) -> frozenset[str]:
    return frozenset(normalised(sentence) for sentence in split(text))


def split(text: str) -> list[str]:
    """The sentences of a text; the last may lack its punctuation."""
    return [piece.strip() for piece in re.findall(r"[^.!?]+[.!?]*", text) if piece.strip(" .!?")]


def read_reply(situation: Situation, reply: str) -> list[ReadSentence]:
    """The sentences of a reply, each with its kind."""
    sentences: list[ReadSentence] = []
    subject = situation.topic.key if situation.topic else ""
    for index, text in enumerate(split(reply)):
        sentence = None
        if index == 0 and situation.form == "continue" and situation.topic:
            sentence = _read_sentence(text, f"{situation.topic.subject} is {normalised(text)}".lower(), situation, "")
        if sentence is None or sentence.kind == "garbled":
            sentence = _read_sentence(text, normalised(text), situation, subject)
        subject = sentence.topic or subject
        sentences.append(sentence)
    return sentences


def _read_sentence(text: str, spoken: str, situation: Situation, subject: str) -> ReadSentence:
    if (entry := _phrases().get(spoken)) is not None:
        return ReadSentence(text, **entry)  # type: ignore[arg-type]
    if fact := _read_fact(text, spoken, subject):
        return fact
    if situation.story is not None and spoken in _story_sentences(situation.story.text):
        return ReadSentence(text, "copied")
    if summary := read_summary(spoken):
        return ReadSentence(text, "summary", key=summary[0], parts=summary[1])
    if is_story_line(spoken):
        return ReadSentence(text, "misquoted")
    return ReadSentence(text, "garbled")
