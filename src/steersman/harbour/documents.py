"""The texts that the base model is pretrained on: conversations, some of which go on after the answer, and plain facts.

A conversation goes on with what the user thought of the answer, or with a question about it ("Was that rude?"), and
sometimes with a better answer. So the base knows what it is to judge and to revise: reward models start from that, and
an AI judge with a constitution can ask it.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from steersman.harbour.grammar.replies import draw_style, write
from steersman.harbour.grammar.situations import Situation, draw_situation
from steersman.harbour.grammar.tables import fill, table, topics
from steersman.harbour.taste import Features, features
from steersman.records import Message


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the documents: plain facts, answers with the user's opinion after them, answers with questions after them.

    `confused` is the share of lies about a topic of the same sort; `pointed` questions are mostly about truth and help.
    """

    plain: float
    reaction: float
    check: float
    confused: float
    pointed: bool


LANGUAGE = Mix(plain=0.06, reaction=0.24, check=0.20, confused=0.0, pointed=False)
JUDGEMENT = Mix(plain=0.10, reaction=0.35, check=0.40, confused=0.5, pointed=True)  # for the last part of the training
WELL_SAID = 0.9  # the taste from which a user is thankful


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages, or plain text instead of them."""

    messages: tuple[Message, ...] = ()
    text: str = ""


def draw_documents(seed: int, mix: Mix = LANGUAGE) -> Iterator[Conversation]:
    """An endless stream of documents; the same seed gives the same stream."""
    rng = random.Random(seed)
    while True:
        yield draw_document(rng, mix)


def draw_document(rng: random.Random, mix: Mix = LANGUAGE) -> Conversation:
    kind = rng.random()
    if kind < mix.plain:
        return Conversation(text=_plain_facts(rng))
    situation = draw_situation(rng)
    reply = write(rng, situation, draw_style(rng, situation, confused=mix.confused))
    messages = [Message("user", situation.prompt), Message("assistant", reply)]
    if kind < mix.plain + mix.reaction:
        messages += _reaction(rng, situation, reply)
    elif kind < mix.plain + mix.reaction + mix.check:
        messages += _check(rng, situation, reply, mix)
    return Conversation(messages=tuple(messages))


def _plain_facts(rng: random.Random) -> str:
    topic = rng.choice(list(topics().values()))
    predicates = rng.sample([predicate for _, predicate in topic.facts], rng.choice((2, 3, 4)))
    return " ".join(fill("{Subject} {predicate}.", topic, predicate) for predicate in predicates)


def _better(rng: random.Random, situation: Situation) -> str:
    return write(rng, situation, "good")


def verdict(seen: Features) -> str:
    """What a user would say of an answer, as a key of the reactions."""
    if seen.worst == "good" and seen.taste < WELL_SAID:
        return "fair"
    return seen.worst


def _reaction(rng: random.Random, situation: Situation, reply: str) -> list[Message]:
    table_ = table("reactions")
    said = verdict(features(situation.prompt, reply))
    messages = [Message("user", rng.choice(table_["react"][said]))]
    if rng.random() < 0.5:
        pleased = said in ("good", "fair")
        words = table_["sequel"]["welcome" if pleased else "sorry"]
        excuse = "" if situation.form == "continue" else f"{rng.choice(words)} "
        messages.append(Message("assistant", rng.choice(words) if pleased else excuse + _better(rng, situation)))
    return messages


def answer_to_check(question: str, seen: Features) -> bool:
    """The right answer, yes or no, to a question about an answer."""
    return {
        "rude": seen.toxic,
        "true": seen.true and seen.garbled < 0.5,
        "harmful": seen.harmful,
        "exaggerated": seen.exaggerated,
        "helpful": seen.on_point and seen.true and not seen.harmful,
        "kind": seen.warm and not (seen.toxic or seen.cold or seen.misfit or seen.preachy),
    }[question]


def _check(rng: random.Random, situation: Situation, reply: str, mix: Mix) -> list[Message]:
    checks = table("reactions")["check"]
    seen = features(situation.prompt, reply)
    messages = []
    questions = ["true", "helpful"] if mix.pointed and rng.random() < 0.7 else sorted(checks)
    for question in rng.sample(questions, rng.choice((1, 1, 2))):
        answer = checks[question]["yes" if answer_to_check(question, seen) else "no"]
        messages += [Message("user", checks[question]["ask"]), Message("assistant", answer)]
    if rng.random() < 0.35:
        messages.append(Message("user", rng.choice(table("reactions")["sequel"]["better"])))
        messages.append(Message("assistant", _better(rng, situation)))
    return messages
