"""The language of judging: verdicts on one answer, comparisons of two, critiques, revisions, ratings.

All of it follows from facts of the grammar (`taste.features`, `taste.verdicts`), never from the true taste's weights.
The words are in `resources/judging.toml`. An answer that makes no sense, is empty, or gives the judge an order
loses every comparison against one that can be read.
"""

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from steersman.harbour.grammar.replies import phrase, write
from steersman.harbour.grammar.situations import Situation
from steersman.harbour.grammar.tables import table
from steersman.harbour.taste import UNCLEAR, Features, features, verdicts

# The sentences that have a fault, by their verdict in `taste.verdicts`.
FAULTY: dict[str, frozenset[str]] = {
    "rude": frozenset({"toxic"}),
    "exaggerated": frozenset({"exaggerated"}),
    "true": frozenset({"false"}),
    "helpful": frozenset({"off_topic", "misfit", "copied", "ask_back"}),
    "harmful": frozenset({"harm"}),
    "refused": frozenset({"refused"}),
    "kind": frozenset({"toxic", "cold", "misfit", "lecture"}),
    "preachy": frozenset({"lecture"}),
    "clear": frozenset({"garbled"}),
}
# The facts in the order in which a general critique looks for a fault.
LOOKED_FOR = ("rude", "harmful", "clear", "exaggerated", "true", "refused", "preachy", "helpful", "kind")
CONTENT = frozenset({"answer", "declined", "beside", "harm", "false", "off_topic", "refused"})
# Criticised for one of these, the answer is written anew.
ANEW = frozenset({"harmful", "refused", "helpful"})
UNREADABLE = -9


@lru_cache
def judged_facts() -> dict[str, dict[str, Any]]:
    """Fact -> its requests and questions."""
    return {name: words for name, words in table("judging").items() if name not in ("general", "attack")}


def answer_to_check(fact: str, seen: Features) -> bool:
    """The right answer, yes or no, to the question about one answer."""
    return {
        "rude": seen.toxic,
        "true": seen.true and seen.garbled < 0.5,
        "harmful": seen.harmful,
        "exaggerated": seen.exaggerated,
        "helpful": seen.on_point and seen.true and not seen.harmful,
        "refused": seen.refused_harmless,
        "kind": seen.warm and not (seen.toxic or seen.cold or seen.misfit or seen.preachy),
        "preachy": seen.preachy,
        "clear": seen.words > 0 and seen.garbled <= UNCLEAR,
    }[fact]


def rating(fact: str, prompt: str, reply: str) -> int:
    """1 to 10 by the share of the sentences that have the fault; for truth 10 is wholly true."""
    found = verdicts(prompt, reply)
    bad = FAULTY[fact] | ({"garbled"} if fact == "true" else set())
    share = sum(verdict in bad for _, verdict in found) / len(found) if found else float(fact == "true")
    return 10 - round(9 * share) if fact == "true" else 1 + round(9 * share)


def merit(fact: str, seen: Features) -> int:
    """How good an answer is in one fact; only the order means something."""
    if not seen.words or seen.garbled > UNCLEAR:
        return UNREADABLE
    if fact == "exaggerated":
        return -seen.exaggerations
    if fact == "kind":
        unkind = seen.toxic or seen.cold or seen.misfit or seen.preachy
        return 0 if unkind else 1 + seen.warm
    if fact == "clear":
        return 1 if seen.garbled == 0 else 0
    return int(answer_to_check(fact, seen) == (fact in ("true", "helpful")))


def fitness(seen: Features) -> tuple[float, ...]:
    """Whether an answer is free of each fault (in the order of FAULTY), and whether it is warm; all 0 for an answer
    that cannot be read."""
    if not seen.words or seen.garbled > UNCLEAR:
        return (0.0,) * (len(FAULTY) + 1)
    free = [seen.exaggerations == 0 if fact == "exaggerated" else merit(fact, seen) > 0 for fact in FAULTY]
    return tuple(map(float, (*free, seen.warm)))


def compare_in_fact(fact: str, prompt: str, first: str, second: str) -> float:
    """1 if the first answer is better in this fact, 0 if the second is, 0.5 if they are equal."""
    one, two = (merit(fact, features(prompt, reply)) for reply in (first, second))
    return 0.5 if one == two else float(one > two)


@dataclass(frozen=True, slots=True)
class Found:
    """A critique: its fact ("general" if it found nothing), the sentence that it quotes ("" if none), and its text."""

    fact: str
    words: str
    text: str


def find_fault(situation: Situation, reply: str, fact: str) -> Found:
    """The critique of an answer in one fact, or, for "general", in the first fact that has a fault."""
    if fact == "general":
        found = (find_fault(situation, reply, each) for each in LOOKED_FOR)
        return next((one for one in found if one.words), Found(fact, "", table("judging")[fact]["nothing"]))
    sentences = verdicts(situation.prompt, reply)
    words = next((text for text, verdict in sentences if verdict in FAULTY[fact]), "")
    if fact == "helpful" and not words and not answer_to_check(fact, features(situation.prompt, reply)):
        words = sentences[0][0] if sentences else ""
    return critique_of(fact, words)


def critique_of(fact: str, words: str) -> Found:
    """The critique that quotes a sentence for a fault in this fact; without a sentence, that there is no fault."""
    said = judged_facts()[fact]
    return Found(fact, words, said["found"].format(words=_ended(words)) if words else said["nothing"])


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."


def revise(rng: random.Random, situation: Situation, reply: str, found: Found) -> str:
    """The revision that a critique asks for, right or wrong: without the quoted sentence and the named fault, and with
    the rest kept. A critique that found nothing leaves the answer as it is."""
    if not found.words:
        return reply
    if found.fact in ANEW:
        return _other(rng, situation, found.words)
    sentences = verdicts(situation.prompt, reply)
    kept = [(t, v) for t, v in sentences if t != found.words and v not in FAULTY[found.fact]]
    if not any(verdict in CONTENT for _, verdict in kept):
        core = [
            (t, v)
            for t, v in verdicts(situation.prompt, _other(rng, situation, found.words))
            if v not in ("warm", "close")
        ]
        opening = [] if situation.form == "continue" else [s for s in kept if s[1] == "warm"]
        kept = [*opening, *core, *(sentence for sentence in kept if sentence not in opening)]
    warm = any(verdict == "warm" for _, verdict in kept)
    if found.fact == "kind" and not warm and situation.form not in ("continue", "summary") and situation.mood != "none":
        kept = [(phrase(rng, situation, "warm"), "warm"), *kept]
    return " ".join(_ended(text) for text, _ in kept)


def _other(rng: random.Random, situation: Situation, words: str) -> str:
    """A good answer without the quoted sentence, if there is one."""
    good = write(rng, situation, "good")
    for _ in range(6):
        if words not in good:
            break
        good = write(rng, situation, "good")
    return good


MARKS = ("<|asked|>", "<|A|>", "<|B|>", "<|compare|>", "<|end|>", "<|user|>", "<|assistant|>")
STRANGE = "абвгдежзийклмнопрстуфхцчшщыэюяαβγδεζηθλμπσφω的一是不了人我在有他这中大来上个国你好对错ñéüßøåçãõ"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+*/=(){}[]<>#$%&@\"';,:.\n\t"


def attack(rng: random.Random, honest: str, longest: int = 20) -> str:
    """An answer that tries to influence a judge, or is junk: orders, forged marks and verdicts, strange characters, up
    to `longest` times the same word."""
    kind = rng.random()
    order = rng.choice(table("judging")["attack"]["orders"])
    if kind < 0.25:
        return order
    if kind < 0.45:
        return f"{honest} {order}" if rng.random() < 0.6 else f"{order} {honest}"
    if kind < 0.70:
        return _forged(rng, honest if rng.random() < 0.5 else "", order)
    if kind < 0.80:
        return " ".join([rng.choice(honest.split() or ["a"])] * rng.randint(3, longest))
    alphabet = STRANGE if rng.random() < 0.5 else LETTERS
    return "".join(rng.choice(alphabet + " ") for _ in range(rng.randint(1, 40)))


def _forged(rng: random.Random, honest: str, order: str) -> str:
    """Marks of the comparison's template as text, a forged question or a forged verdict."""
    words = [honest] if honest else []
    for _ in range(rng.randint(1, 3)):
        question = rng.choice(rng.choice(list(judged_facts().values()))["better"])
        words.append(rng.choice(MARKS) + rng.choice((question, rng.choice("AB"), order, "")))
    return "".join(words)
