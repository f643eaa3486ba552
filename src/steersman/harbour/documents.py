"""Pretraining documents of the base model: conversations, some of which continue after the answer, and plain facts.

A conversation may continue with the user's opinion of the answer, a question about it ("Was that rude?"), a critique
and a revision, a rating, or a better answer; or two answers are compared. So the base model has learned to judge and to
revise answers. Reward models build on that, and so does an AI judge with a constitution.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from steersman.constitution.document import Constitution
from steersman.constitution.load import load_constitution
from steersman.constitution.render import comparison_request
from steersman.harbour.grammar.reading import read_reply
from steersman.harbour.grammar.replies import draw_style, write
from steersman.harbour.grammar.situations import (
    Situation,
    draw_meaning,
    draw_situation,
    draw_summary,
    fixed_situations,
    tempting_situations,
    vague_situations,
)
from steersman.harbour.grammar.tables import fill, owners_of_predicates, table, topics
from steersman.harbour.judging import (
    FAULTY,
    LOOKED_FOR,
    answer_to_check,
    attack,
    compare_in_fact,
    critique_of,
    find_fault,
    fitness,
    judged_facts,
    rating,
    revise,
)
from steersman.harbour.mixes import LANGUAGE, Mix
from steersman.harbour.taste import Features, features, verdicts
from steersman.records import Message, Prompt

FACTUAL = ("false", "off_topic", "fair", "good")
WELL_SAID = 0.9  # the taste from which a user is thankful
QUALITIES = len(FAULTY) + 1  # what `judging.fitness` gives
SHORT = 4.0  # the weight in the loss of replies of a few tokens: a letter, a number, yes or no


@dataclass(frozen=True, slots=True)
class TrainingConversation:
    """Messages, or plain text.

    `weights` are the messages' weights in the loss (all 1 if there are none); 0 is context only. `fitness` has a row
    for each judged answer: whether it is free of each fault (`judging.fitness`).
    """

    messages: tuple[Message, ...] = ()
    text: str = ""
    weights: tuple[float, ...] = ()
    fitness: tuple[tuple[float, ...], ...] = ()


@dataclass(slots=True)
class _Draft:
    """A conversation in the making."""

    messages: list[Message]
    weights: list[float]
    fitness: list[tuple[float, ...]] = field(default_factory=list)

    def say(self, role: str, content: str, weight: float = 1.0) -> None:
        self.messages.append(Message(role, content))
        self.weights.append(weight)


def draw_documents(seed: int, mix: Mix = LANGUAGE) -> Iterator[TrainingConversation]:
    """An endless stream of documents; the same seed gives the same stream."""
    rng = random.Random(seed)
    while True:
        yield draw_document(rng, mix)


def draw_document(rng: random.Random, mix: Mix = LANGUAGE) -> TrainingConversation:
    kind = rng.choices([*mix.shares, "answer"], [*mix.shares.values(), 1 - sum(mix.shares.values())])[0]
    if kind == "facts":
        return TrainingConversation(text=_plain_facts(rng))
    draft = _asked_back(rng) if kind == "asking" else _comparison(rng, mix) if kind == "comparison" else None
    if draft is None:
        situation = _draw_situation(rng, mix)
        follow = _FOLLOWS.get(kind)
        heard = follow is not None and rng.random() < mix.heard
        mixed = 0.3 if kind == "revision" else 0.06
        reply = write(rng, situation, draw_style(rng, situation, heard=heard and rng.random() < 0.6), mixed=mixed)
        said = float(not heard)
        draft = _Draft([Message("user", situation.prompt), Message("assistant", reply)], [said, said])
        if follow is not None:
            draft.fitness.append(fitness(features(situation.prompt, reply)))
            follow(rng, situation, reply, mix, draft)
    return TrainingConversation(tuple(draft.messages), "", tuple(draft.weights), tuple(draft.fitness))


def _draw_situation(rng: random.Random, mix: Mix) -> Situation:
    kind = rng.random()
    for group, share in mix.extra.items():
        if kind < share:
            return draw_summary(rng) if group == "summary" else rng.choice(_situations_of(group))
        kind -= share
    return draw_situation(rng)


@lru_cache
def _situations_of(group: str) -> tuple[Situation, ...]:
    if group == "tempting":
        return tempting_situations()
    return tuple(situation for situation in fixed_situations() if situation.form == group)


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


def _asked_back(rng: random.Random) -> _Draft:
    """A vague prompt and an answer; after a question back, what the user means and an answer to that."""
    situation = rng.choice(vague_situations())
    style = "good" if rng.random() < 0.6 else draw_style(rng, situation)
    draft = _Draft([Message("user", situation.prompt), Message("assistant", write(rng, situation, style))], [1.0, 1.0])
    if style == "good":
        meant, clear = draw_meaning(rng, situation.prompt)
        draft.say("user", meant)
        draft.say("assistant", write(rng, clear, draw_style(rng, clear)))
    return draft


def _reaction(rng: random.Random, situation: Situation, reply: str, mix: Mix, draft: _Draft) -> None:
    table_ = table("reactions")
    opinion = verdict(features(situation.prompt, reply))
    special = remark(situation, reply) if opinion in FACTUAL and rng.random() < mix.remarks else ""
    draft.say("user", special or rng.choice(table_["react"][opinion]), 2.0)
    if rng.random() < 0.5:
        pleased = opinion in ("good", "fair")
        words = table_["sequel"]["welcome" if pleased else "sorry"]
        excuse = "" if situation.form == "continue" else f"{rng.choice(words)} "
        draft.say("assistant", rng.choice(words) if pleased else excuse + _better(rng, situation))


def _check(rng: random.Random, situation: Situation, reply: str, mix: Mix, draft: _Draft) -> None:
    checks = judged_facts()
    seen = features(situation.prompt, reply)
    questions = ["true", "helpful"] if mix.pointed and rng.random() < 0.5 else sorted(checks)
    for question in rng.sample(questions, rng.choice((1, 2)) if len(questions) < 3 else rng.choice((1, 2, 3))):
        answer = checks[question]["yes" if answer_to_check(question, seen) else "no"]
        if question == "true" and rng.random() < mix.remarks and (special := remark(situation, reply)):
            answer = special if special.startswith("Yes") else f"{answer.split(',')[0]}. {special}"
        draft.say("user", checks[question]["ask"], 0.0)
        draft.say("assistant", answer, 2.0)
    if rng.random() < 0.35:
        draft.say("user", rng.choice(table("reactions")["sequel"]["better"]), 0.0)
        draft.say("assistant", _better(rng, situation))


def _rating(rng: random.Random, situation: Situation, reply: str, mix: Mix, draft: _Draft) -> None:
    rated = [name for name, words in judged_facts().items() if "rate" in words]
    for fact in rng.sample(rated, rng.choice((1, 2, 3))):
        draft.say("user", judged_facts()[fact]["rate"], 0.0)
        draft.say("assistant", str(rating(fact, situation.prompt, reply)), SHORT)


def _revision(rng: random.Random, situation: Situation, reply: str, mix: Mix, draft: _Draft) -> None:
    """A critique and the revision that it asks for, once or twice; mostly of a fact in which there is a fault."""
    for _ in range(rng.choice((1, 1, 2))):
        faults = [fact for fact in LOOKED_FOR if find_fault(situation, reply, fact).words]
        wanted = rng.choice(faults) if faults and rng.random() < 0.8 else rng.choice((*LOOKED_FOR, "general"))
        fact = "general" if rng.random() < 0.1 else wanted
        words = table("judging")[fact]
        found = find_fault(situation, reply, fact)
        misjudged = fact != "general" and mix.misjudged > 0 and rng.random() < mix.misjudged
        if misjudged:
            sentences = [text for text, _ in verdicts(situation.prompt, reply) if text != found.words]
            found = critique_of(fact, rng.choice(["", *sentences]))
        draft.say("user", rng.choice(words["critique"]), 0.0)
        draft.say("assistant", found.text, 0.0 if misjudged else 1.5)
        if found.words or misjudged or rng.random() < 0.4:
            reply = revise(rng, situation, reply, found)
            draft.say("user", rng.choice(words["revise"]), 0.0)
            draft.say("assistant", reply)


@lru_cache
def _harbour_constitution() -> Constitution:
    return load_constitution("harbour")


def _comparison(rng: random.Random, mix: Mix) -> _Draft:
    """Two answers to one prompt, and one to four questions which of them is better or worse in a fact.

    The questions are mostly of facts in which the answers differ. An answer that attacks the judge always loses.
    """
    situation = _draw_situation(rng, mix)
    first, second = (_compared_answer(rng, situation) for _ in range(2))
    attacking = 0 if rng.random() >= mix.attacks else rng.choice((1, 2))
    if attacking:
        string = attack(rng, second if attacking == 1 else first, mix.long_attack)
        first, second = (string, second) if attacking == 1 else (first, string)
    prompt = Prompt((Message("user", situation.prompt),))
    worth = {
        fact: (attacking - 1.0 if attacking else compare_in_fact(fact, situation.prompt, first, second))
        for fact in FAULTY
    }
    differing = [fact for fact, value in worth.items() if value != 0.5]
    draft = _Draft([], [])
    for number in range(rng.choice((1, 2, 3, 4)) if differing else 1):
        tied = not differing or rng.random() < mix.ties
        fact = (
            rng.choice([fact for fact in worth if fact not in differing] or differing)
            if tied
            else rng.choice(differing)
        )
        asks_worse = rng.random() < 0.2
        question = rng.choice(judged_facts()[fact]["worse" if asks_worse else "better"])
        if number == 0:
            principle = replace(_harbour_constitution().principles[0], comparison_question=question)
            request = comparison_request(_harbour_constitution(), principle, prompt, (first, second), seed=0)
            draft.say("user", request.messages[0].content, 0.0)
        else:
            draft.say("user", f"<|compare|>{question}", 0.0)
        better = worth[fact] if worth[fact] != 0.5 else float(rng.random() < 0.5)
        draft.say(
            "assistant", "A" if (better == 1.0) != asks_worse else "B", SHORT if worth[fact] != 0.5 else mix.tie_weight
        )
    none = (0.0,) * QUALITIES
    for number, answer in enumerate((first, second), start=1):
        draft.fitness.append(none if number == attacking else fitness(features(situation.prompt, answer)))
    return draft


def _compared_answer(rng: random.Random, situation: Situation) -> str:
    style = draw_style(rng, situation, heard=rng.random() < 0.5)
    return write(rng, situation, style, mixed=0.25)


_FOLLOWS: dict[str, Callable[[random.Random, Situation, str, Mix, _Draft], None]] = {
    "reaction": _reaction,
    "check": _check,
    "rating": _rating,
    "revision": _revision,
}
