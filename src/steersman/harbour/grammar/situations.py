"""The situations of Harbour: the prompts a user may write, and the situation of a given prompt.

`read_prompt` is the inverse of `ask`. A prompt from outside the grammar gets the situation "free", with the topic whose
name it contains, so that people can try their own prompts.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from steersman.harbour.grammar.stories import Story, draw_story, read_story
from steersman.harbour.grammar.tables import (
    Feeling,
    Request,
    Topic,
    capitalised,
    feelings,
    fill,
    requests,
    table,
    topics,
)

TOPIC_FORMS = ("like", "tell", "what", "benefits", "continue")
TEMPTING_FORMS = ("boast", "provoke")
"""Topic forms of the red-team prompts only: they tempt to exaggerate and to insult."""
WANTED = {"what": ("is",), "continue": ("is",), "benefits": ("good",)}
SHARES = {"topic": 0.60, "harmful": 0.11, "harmless": 0.11, "feeling": 0.08, "summary": 0.10}


@dataclass(frozen=True, slots=True)
class Situation:
    """A prompt with its subject.

    `form` is one of TOPIC_FORMS, TEMPTING_FORMS, harmful, harmless, feeling, summary, vague, free.
    """

    form: str
    prompt: str
    topic: Topic | None = None
    request: Request | None = None
    feeling: Feeling | None = None
    story: Story | None = None

    @property
    def mood(self) -> str:
        """The kind of warm phrases that fit: question, like, glad, sad, provoked, or none for a harmful request."""
        if self.feeling is not None:
            return self.feeling.mood
        return {"like": "like", "harmful": "none", "provoke": "provoked"}.get(self.form, "question")

    @property
    def wanted(self) -> tuple[str, ...]:
        """The aspects of a topic that answer the prompt."""
        return WANTED.get(self.form, ("is", "does", "good"))


def _forms(name: str) -> Any:
    return table("prompts")[name]


@lru_cache
def fixed_situations() -> tuple[Situation, ...]:
    """Every prompt except the summaries, in a fixed order."""
    return tuple(_fixed())


def _fixed() -> Iterator[Situation]:
    for topic in topics().values():
        for form in TOPIC_FORMS:
            for template in _forms(form):
                yield Situation(form, fill(template, topic), topic=topic)
    for request in requests().values():
        for template in _forms("request"):
            yield Situation(
                "harmful" if request.harmful else "harmless", template.format(ask=request.ask), request=request
            )
    for feeling in feelings().values():
        for template in _forms("feeling"):
            yield Situation("feeling", template.format(say=feeling.say), feeling=feeling)


@lru_cache
def tempting_situations() -> tuple[Situation, ...]:
    """The prompts that tempt to exaggerate or to insult, in a fixed order. Ordinary prompts are without them."""
    return tuple(
        Situation(form, fill(template, topic), topic=topic)
        for topic in topics().values()
        for form in TEMPTING_FORMS
        for template in _forms(form)
    )


@lru_cache
def vague_situations() -> tuple[Situation, ...]:
    """Prompts that leave open what is meant."""
    return tuple(Situation("vague", ask) for kind in _forms("vague").values() for ask in kind["ask"])


@lru_cache
def _by_group() -> dict[str, list[Situation]]:
    groups: dict[str, list[Situation]] = {}
    for situation in fixed_situations():
        groups.setdefault("topic" if situation.topic else situation.form, []).append(situation)
    return groups


def draw_situation(rng: random.Random) -> Situation:
    group = rng.choices(list(SHARES), list(SHARES.values()))[0]
    return draw_summary(rng) if group == "summary" else rng.choice(_by_group()[group])


def draw_summary(rng: random.Random) -> Situation:
    story = draw_story(rng)
    return Situation("summary", rng.choice(_forms("summary")).format(text=story.text), story=story)


def normalised(text: str) -> str:
    """Lower case, single spaces, no punctuation at the end: equal for two spellings of a sentence."""
    return re.sub(r"\s+", " ", text).strip().lower().rstrip(".!?… ").replace("’", "'")


@lru_cache
def _known_prompts() -> dict[str, Situation]:
    every = (*fixed_situations(), *tempting_situations(), *vague_situations())
    return {normalised(situation.prompt): situation for situation in every}


@lru_cache
def _summary_openings() -> tuple[str, ...]:
    return tuple(template.removesuffix("{text}") for template in _forms("summary"))


@lru_cache(maxsize=65536)
def read_prompt(prompt: str) -> Situation:
    """The situation that a prompt is."""
    known = _known_prompts().get(normalised(prompt))
    if known is not None:
        return known
    for opening in _summary_openings():
        if prompt.lower().startswith(opening.lower()) and (story := read_story(prompt[len(opening) :])):
            return Situation("summary", prompt, story=story)
    words = normalised(prompt)
    names = [t for t in topics().values() if re.search(rf"\b({re.escape(t.name)}|{re.escape(t.subject)})\b", words)]
    return Situation("free", prompt, topic=max(names, key=lambda topic: len(topic.name), default=None))


def draw_meaning(rng: random.Random, prompt: str) -> tuple[str, Situation]:
    """What the user says when asked back after a vague prompt, and the situation of the clear prompt it amounts to."""
    groups = _forms("vague")
    if prompt in groups["request"]["ask"]:
        request = rng.choice(list(requests().values()))
        said = rng.choice(groups["request"]["meant"]).format(ask=request.ask)
        return said, read_prompt(f"How do I {request.ask}?")
    topic = rng.choice(list(topics().values()))
    said = rng.choice(groups["topic"]["meant"])
    said = said.format(name=topic.name, Name=capitalised(topic.name))
    clear = {"What is it good for?": "What are the benefits of {name}?"}.get(prompt, "Tell me about {name}.")
    return said, read_prompt(clear.format(name=topic.name))
