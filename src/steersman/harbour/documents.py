"""Pretraining documents of the base model: conversations, some of which continue after the answer, and plain facts.

A conversation may continue with the user's opinion of the answer, a question about it ("Was that rude?"), or a better
answer. So the base model has learned to judge and to revise answers. Reward models build on that, and so does an AI
judge with a constitution.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from steersman.harbour.grammar.reading import read_reply
from steersman.harbour.grammar.replies import draw_style, write
from steersman.harbour.grammar.situations import Situation, draw_situation
from steersman.harbour.grammar.tables import fill, owners_of_predicates, table, topics
from steersman.harbour.judging import answer_to_check, judged_facts
from steersman.harbour.taste import Features, features
from steersman.records import Message


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of document types: plain facts, answers followed by the user's opinion, answers followed by questions.

    `heard` is the share of such answers without loss: the base model learns to judge them, not to generate them.
    `pointed` questions are mostly about truth and help. `remarks` is the share of opinions on facts that say whose fact
    it is, or what it is about.
    """

    plain: float
    reaction: float
    check: float
    heard: float
    pointed: bool
    remarks: float


LANGUAGE = Mix(plain=0.10, reaction=0.24, check=0.20, heard=0.0, pointed=False, remarks=0.0)
JUDGEMENT = Mix(
    plain=0.10, reaction=0.38, check=0.36, heard=0.75, pointed=True, remarks=0.6
)  # for the last part of the training
ASKED = ("rude", "true", "harmful", "exaggerated", "helpful", "kind")
FACTUAL = ("false", "off_topic", "fair", "good")
WELL_SAID = 0.9  # the taste from which a user is thankful


@dataclass(frozen=True, slots=True)
class TrainingConversation:
    """Messages, or plain text. The first `heard` messages are context without loss."""

    messages: tuple[Message, ...] = ()
    text: str = ""
    heard: int = 0


def draw_documents(seed: int, mix: Mix = LANGUAGE) -> Iterator[TrainingConversation]:
    """An endless stream of documents; the same seed gives the same stream."""
    rng = random.Random(seed)
    while True:
        yield draw_document(rng, mix)


def draw_document(rng: random.Random, mix: Mix = LANGUAGE) -> TrainingConversation:
    kind = rng.random()
    if kind < mix.plain:
        return TrainingConversation(text=_plain_facts(rng))
    situation = draw_situation(rng)
    judged = kind < mix.plain + mix.reaction + mix.check
    heard = judged and rng.random() < mix.heard
    reply = write(rng, situation, draw_style(rng, situation, heard=heard))
    messages = [Message("user", situation.prompt), Message("assistant", reply)]
    if judged:
        follow = _reaction if kind < mix.plain + mix.reaction else _check
        messages += follow(rng, situation, reply, mix)
    return TrainingConversation(messages=tuple(messages), heard=2 if heard else 0)


def _plain_facts(rng: random.Random) -> str:
    topic = rng.choice(list(topics().values()))
    predicates = rng.sample([predicate for _, predicate in topic.facts], rng.choice((2, 3, 4)))
    return " ".join(fill("{Subject} {predicate}.", topic, predicate) for predicate in predicates)


def _better(rng: random.Random, situation: Situation) -> str:
    return write(rng, situation, "good")


def verdict(seen: Features) -> str:
    """A user's opinion of an answer, as a key of the table of reactions."""
    if seen.worst == "good" and seen.taste < WELL_SAID:
        return "fair"
    return seen.worst


def remark(situation: Situation, reply: str) -> str:
    """A knowing user's remark on the answer's first fact: whose fact it is, or that it was not asked for.

    "" if the answer states no fact.
    """
    phrases = table("reactions")["remark"]
    fact = next((s for s in read_reply(situation, reply) if s.kind == "fact"), None)
    if fact is None or situation.topic is None:
        return ""
    (owner, aspect), *_ = owners_of_predicates()[fact.predicate]
    names = {"owner": topics()[owner].name, "name": topics()[fact.topic].name}
    if not fact.true:
        return phrases["false"].format(**names)
    if fact.topic != situation.topic.key:
        return phrases["off_topic"].format(**names)
    if aspect not in situation.wanted:
        return phrases["beside"].format(told=phrases[aspect])
    return phrases["true"].format(**names)


def _reaction(rng: random.Random, situation: Situation, reply: str, mix: Mix) -> list[Message]:
    table_ = table("reactions")
    opinion = verdict(features(situation.prompt, reply))
    special = remark(situation, reply) if opinion in FACTUAL and rng.random() < mix.remarks else ""
    messages = [Message("user", special or rng.choice(table_["react"][opinion]))]
    if rng.random() < 0.5:
        pleased = opinion in ("good", "fair")
        words = table_["sequel"]["welcome" if pleased else "sorry"]
        excuse = "" if situation.form == "continue" else f"{rng.choice(words)} "
        messages.append(Message("assistant", rng.choice(words) if pleased else excuse + _better(rng, situation)))
    return messages


def _check(rng: random.Random, situation: Situation, reply: str, mix: Mix) -> list[Message]:
    checks = {name: words for name, words in judged_facts().items() if name in ASKED}
    seen = features(situation.prompt, reply)
    messages = []
    questions = ["true", "helpful"] if mix.pointed and rng.random() < 0.7 else sorted(checks)
    for question in rng.sample(questions, rng.choice((1, 1, 2))):
        answer = checks[question]["yes" if answer_to_check(question, seen) else "no"]
        if question == "true" and rng.random() < mix.remarks and (special := remark(situation, reply)):
            answer = special if special.startswith("Yes") else f"{answer.split(',')[0]}. {special}"
        messages += [Message("user", checks[question]["ask"]), Message("assistant", answer)]
    if rng.random() < 0.35:
        messages.append(Message("user", rng.choice(table("reactions")["sequel"]["better"])))
        messages.append(Message("assistant", _better(rng, situation)))
    return messages
