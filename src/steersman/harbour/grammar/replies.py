"""Generates answers: good ones, and faulty ones as a pretrained language model also produces.

A style is one word for the main fault. `STYLES` has the frequency of each style per situation in the pretraining data;
`write` returns an answer in a style. Faults are sometimes mixed, so that no single sentence determines the taste.
"""

import random
from collections.abc import Callable

from steersman.harbour.grammar.situations import TEMPTING_FORMS, Situation, draw_situation
from steersman.harbour.grammar.stories import invent, summarise
from steersman.harbour.grammar.tables import ASPECTS, Topic, capitalised, feelings, fill, requests, table, topics

STYLES: dict[str, dict[str, float]] = {
    "topic": {
        "good": 0.33,
        "plain": 0.13,
        "exaggerated": 0.14,
        "toxic": 0.22,
        "cold": 0.11,
        "false": 0.04,
        "off_topic": 0.03,
    },
    "boast": {"good": 0.27, "plain": 0.08, "exaggerated": 0.50, "toxic": 0.07, "cold": 0.06, "false": 0.02},
    "provoke": {"good": 0.26, "plain": 0.06, "exaggerated": 0.05, "toxic": 0.48, "cold": 0.13, "false": 0.02},
    "harmful": {"good": 0.22, "refused": 0.10, "preachy": 0.15, "harmful": 0.25, "toxic": 0.20, "exaggerated": 0.08},
    "harmless": {
        "good": 0.36,
        "refused": 0.17,
        "preachy": 0.05,
        "wrong": 0.03,
        "toxic": 0.21,
        "exaggerated": 0.11,
        "cold": 0.07,
    },
    "feeling": {"good": 0.38, "wrong": 0.03, "mood": 0.07, "toxic": 0.22, "cold": 0.15, "exaggerated": 0.15},
    "summary": {"good": 0.47, "copied": 0.16, "false": 0.06, "toxic": 0.18, "exaggerated": 0.13},
    "vague": {"good": 0.40, "guess": 0.30, "toxic": 0.10, "cold": 0.20},
}
# Styles of the answers without loss (see `documents.Mix.heard`): faults that only a comparison with the prompt shows.
HEARD: dict[str, dict[str, float]] = {
    "topic": {"good": 0.32, "beside": 0.16, "confused": 0.14, "false": 0.06, "off_topic": 0.20, "garbled": 0.12},
    "boast": {"good": 0.4, "exaggerated": 0.3, "confused": 0.1, "off_topic": 0.1, "garbled": 0.1},
    "provoke": {"good": 0.4, "toxic": 0.3, "confused": 0.1, "off_topic": 0.1, "garbled": 0.1},
    "harmful": {"good": 0.4, "refused": 0.35, "harmful": 0.15, "garbled": 0.1},
    "harmless": {"good": 0.45, "wrong": 0.35, "refused": 0.1, "garbled": 0.1},
    "feeling": {"good": 0.45, "wrong": 0.25, "mood": 0.2, "garbled": 0.1},
    "summary": {"good": 0.45, "false": 0.45, "garbled": 0.1},
    "vague": {"good": 0.5, "guess": 0.3, "cold": 0.1, "garbled": 0.1},
}
MIXED = 0.06  # how often a sentence of another fault follows


def group_of(situation: Situation) -> str:
    """The key of STYLES for a situation."""
    if situation.form in TEMPTING_FORMS:
        return situation.form
    return "topic" if situation.topic is not None else situation.form


def draw_style(rng: random.Random, situation: Situation, *, heard: bool = False) -> str:
    """A style of the pretraining data, or of its answers without loss (`heard`)."""
    styles = (HEARD if heard else STYLES)[group_of(situation)]
    return rng.choices(list(styles), list(styles.values()))[0]


def write(rng: random.Random, situation: Situation, style: str, *, mixed: float = MIXED) -> str:
    """An answer to a situation in a style; the same generator state gives the same answer."""
    if style == "garbled":
        return garble(rng, write(rng, situation, "good"), write(rng, draw_situation(rng), "good"))
    sentences = _WRITERS[group_of(situation)](rng, situation, style)
    if style != "good" and rng.random() < mixed:
        sentences.append(phrase(rng, situation, rng.choice(("toxic", "exaggerated", "cold", "close"))))
    return " ".join(sentences)


def garble(rng: random.Random, reply: str, strange: str) -> str:
    """A garbled sentence, as small models produce them: with the end of another sentence, or with words missing."""
    words, others = reply.split(), strange.split()
    cut = rng.randrange(1, len(words)) if len(words) > 1 else 1
    if rng.random() < 0.7:
        start = rng.randrange(len(others))
        return " ".join(words[:cut] + others[start : start + rng.randint(2, 6)])
    return " ".join(words[:cut] + words[cut + rng.randint(1, 3) :])


def phrase(rng: random.Random, situation: Situation, kind: str) -> str:
    """A sentence of a kind that fits the situation's mood, or that belongs to its topic."""
    groups = table("phrases")[kind]
    if kind in ("warm", "close"):
        mood = "question" if situation.mood == "none" else situation.mood
        return _named(rng.choice(groups[mood]), situation)
    choices = list(groups.get("any", ()))
    if situation.topic is not None and "topic" in groups and (not choices or rng.random() < 0.6):
        choices = groups["topic"]
    return _named(rng.choice(choices), situation)


def _named(template: str, situation: Situation) -> str:
    return fill(template, situation.topic) if situation.topic is not None else template


def _other_topic(rng: random.Random, topic: Topic, *, same_sort: bool) -> Topic:
    return rng.choice(
        [other for other in topics().values() if other is not topic and (other.sort == topic.sort) == same_sort]
    )


def _state(rng: random.Random, topic: Topic, predicate: str) -> str:
    frames = table("phrases")["frames"]["fact"]
    return fill(rng.choices(frames, [6, 1, 1, 1, 1][: len(frames)])[0], topic, predicate)


def _more(rng: random.Random, predicate: str) -> str:
    return rng.choice(table("phrases")["frames"]["more"]).format(predicate=predicate)


def facts(
    rng: random.Random,
    situation: Situation,
    *,
    false: bool = False,
    confused: bool = False,
    about: Topic | None = None,
    most: int = 2,
    aspects: tuple[str, ...] = (),
) -> list[str]:
    """One or two facts, the first of the wanted aspect (or of `aspects`); false ones are facts of other topics."""
    topic = about or situation.topic
    assert topic is not None
    sources = [_other_topic(rng, topic, same_sort=confused) for _ in range(2)] if false else [topic, topic]
    first = rng.choice(sources[0].predicates(*(aspects or situation.wanted)))
    continues = situation.form == "continue"
    sentences = [f"{first.removeprefix('is ')}." if continues else _state(rng, topic, first)]
    rest = [predicate for predicate in sources[1].predicates("does", "good") if predicate != first]
    if most > 1 and rng.random() < 0.4:
        sentences.append(_more(rng, rng.choice(rest)))
    return sentences


def _with_manners(
    rng: random.Random, situation: Situation, core: list[str], warm: float = 0.7, close: float = 0.4
) -> list[str]:
    opening = [phrase(rng, situation, "warm")] if situation.form != "continue" and rng.random() < warm else []
    closing = [phrase(rng, situation, "close")] if situation.form != "continue" and rng.random() < close else []
    return [*opening, *core, *closing]


def _in_some_order(rng: random.Random, first: list[str], second: list[str]) -> list[str]:
    return first + second if rng.random() < 0.5 else second + first


def _continued(situation: Situation, sentence: str) -> str:
    """A sentence that starts with the subject, as the end of "A dog is ..."; others stay whole."""
    opening = f"{capitalised(situation.topic.subject)} is " if situation.topic is not None else ""
    return sentence.removeprefix(opening) if situation.form == "continue" and opening else sentence


def _about_topic(rng: random.Random, situation: Situation, style: str) -> list[str]:
    if style == "good":
        core = facts(rng, situation)
        if situation.form != "continue" and rng.random() < 0.12:
            core.append(phrase(rng, situation, "modest"))
        return _with_manners(rng, situation, core)
    if style == "plain":
        return facts(rng, situation)
    if style == "beside":
        others = tuple(aspect for aspect in ASPECTS if aspect not in situation.wanted) or ASPECTS
        return _with_manners(rng, situation, facts(rng, situation, most=1, aspects=others), warm=0.5)
    if style in ("false", "confused"):
        lies = facts(rng, situation, false=True, confused=style == "confused")
        return _with_manners(rng, situation, lies, warm=0.5)
    if style == "off_topic":
        assert situation.topic is not None
        other = _other_topic(rng, situation.topic, same_sort=rng.random() < 0.5)
        return _with_manners(rng, situation, facts(rng, situation, about=other), warm=0.5)
    if style == "exaggerated":
        praise = phrase(rng, situation, "exaggerated")
        if situation.form == "continue":
            return [*facts(rng, situation, most=1), praise] if rng.random() < 0.5 else [_continued(situation, praise)]
        core = [praise] if rng.random() < 0.35 else _in_some_order(rng, facts(rng, situation, most=1), [praise])
        return _with_manners(rng, situation, core, warm=0.6, close=0.2)
    curt = [_continued(situation, phrase(rng, situation, style))]
    if situation.form == "continue":
        return curt if rng.random() < 0.6 else [*facts(rng, situation, most=1), phrase(rng, situation, style)]
    return curt if rng.random() < 0.5 else _in_some_order(rng, curt, facts(rng, situation, most=1))


def _harmful(rng: random.Random, situation: Situation, style: str) -> list[str]:
    request = situation.request
    assert request is not None
    refusal = phrase(rng, situation, "refusal")
    if style == "good":
        return [refusal, rng.choice(request.instead)] + (
            [phrase(rng, situation, "close")] if rng.random() < 0.2 else []
        )
    if style == "refused":
        strange = rng.choice([other for other in requests().values() if other.harmful and other is not request])
        return [refusal] if rng.random() < 0.5 else [refusal, rng.choice(strange.instead)]
    if style == "preachy":
        return [refusal, *rng.sample(table("phrases")["lecture"]["any"], rng.choice((1, 2, 2)))]
    if style == "toxic":
        return _in_some_order(rng, [phrase(rng, situation, "toxic")], [rng.choice([refusal, rng.choice(request.harm)])])
    harm = rng.sample(request.harm, rng.choice((1, 1, 2)))
    if style == "exaggerated":
        return _in_some_order(rng, [phrase(rng, situation, "exaggerated")], harm[:1])
    return ([phrase(rng, situation, "comply")] if rng.random() < 0.5 else []) + harm


def _harmless(rng: random.Random, situation: Situation, style: str) -> list[str]:
    request = situation.request
    assert request is not None
    if style == "refused":
        return [phrase(rng, situation, "refusal")]
    if style == "preachy":
        return [phrase(rng, situation, "refusal"), *rng.sample(table("phrases")["lecture"]["any"], 1)]
    if style == "wrong":
        strange = rng.choice([other for other in requests().values() if not other.harmful and other is not request])
        return _with_manners(rng, situation, [rng.choice(strange.help)], warm=0.5)
    help_ = rng.sample(request.help, rng.choice((1, 2)))
    return _served(rng, situation, style, help_)


def _feeling(rng: random.Random, situation: Situation, style: str) -> list[str]:
    feeling = situation.feeling
    assert feeling is not None
    fitting = rng.sample(feeling.fits, rng.choice((1, 1, 2)))
    if style == "mood":
        other = "sad" if feeling.mood == "glad" else "glad"
        return [rng.choice(table("phrases")["warm"][other]), *(fitting[:1] if rng.random() < 0.5 else [])]
    if style == "wrong":
        strange = rng.choice([other for other in feelings().values() if other is not feeling])
        return _with_manners(rng, situation, [rng.choice(strange.fits)])
    return _served(rng, situation, style, fitting)


def _summary(rng: random.Random, situation: Situation, style: str) -> list[str]:
    story = situation.story
    assert story is not None
    if style == "copied":
        sentences = [f"{piece}." for piece in story.text.rstrip(".").split(". ")]
        return sentences[: rng.choice((1, 2, 3))]
    if style == "false":
        return [invent(rng, story)]
    return _served(rng, situation, style, [summarise(rng, story)], warm=0.1, close=0.15)


def _served(
    rng: random.Random, situation: Situation, style: str, core: list[str], warm: float = 0.7, close: float = 0.35
) -> list[str]:
    """A true core, served well, with exaggeration, coldly or with an insult."""
    if style == "good":
        return _with_manners(rng, situation, core, warm, close)
    if style == "exaggerated":
        praise = [phrase(rng, situation, "exaggerated")]
        return (
            praise
            if rng.random() < 0.2
            else _with_manners(rng, situation, _in_some_order(rng, core[:1], praise), warm, 0.1)
        )
    curt = [phrase(rng, situation, style)]
    return curt if rng.random() < 0.5 else _in_some_order(rng, curt, core[:1])


def _vague(rng: random.Random, situation: Situation, style: str) -> list[str]:
    """A question back; a guess at what is meant; coldness or an insult."""
    if style == "good":
        kind = next(name for name, kind in table("prompts")["vague"].items() if situation.prompt in kind["ask"])
        opening = [phrase(rng, situation, "warm")] if rng.random() < 0.25 else []
        return [*opening, rng.choice(table("phrases")["ask_back"][kind])]
    if style == "guess":
        topic = rng.choice(list(topics().values()))
        return [_state(rng, topic, rng.choice(topic.predicates(*ASPECTS)))]
    return [rng.choice(table("phrases")[style]["any"])]


_WRITERS: dict[str, Callable[[random.Random, Situation, str], list[str]]] = {
    "topic": _about_topic,
    "boast": _about_topic,
    "provoke": _about_topic,
    "vague": _vague,
    "harmful": _harmful,
    "harmless": _harmless,
    "feeling": _feeling,
    "summary": _summary,
}
