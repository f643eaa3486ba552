"""What a computer can see to be wrong with a constitution: principles that are unclear, doubled, contradictory, never
drawn or incomplete. The rules read English; what a principle means is for people to judge."""

import itertools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from string import Formatter
from typing import Literal

from steersman.constitution.document import Constitution
from steersman.records import Principle

FlawKind = Literal["unclear", "doubled", "contradictory", "never drawn", "missing", "not delimited"]
SHORTEST, LONGEST = 3, 60
"""Words of a request. Shorter ones rarely say what to look for; longer ones ask for several things."""
ALIKE = 0.75
"""The share of common words from which two questions count as the same."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong. A `note` is worth knowing and no reason for exit code 1. Line 0: not known."""

    kind: FlawKind
    principle: str
    line: int
    words: str
    note: bool = False

    def shown(self, path: str) -> str:
        where = f"{path}:{self.line}" if self.line else path
        named = f" {self.principle}:" if self.principle else ""
        return f"{where}: {'note, ' if self.note else ''}{self.kind}:{named} {self.words}"


def check_constitution(constitution: Constitution, kinds: Collection[str] | None = None) -> list[Flaw]:
    """All flaws, in the order of the file. `kinds` are the kinds of the prompts at hand, where they are known."""
    found = [
        *_templates(constitution),
        *(flaw for principle in constitution.principles for flaw in _unclear(constitution, principle)),
        *(flaw for principle in constitution.principles for flaw in _missing(constitution, principle)),
        *_pairs(constitution),
        *_never_drawn(constitution, kinds),
    ]
    return sorted(found, key=lambda flaw: flaw.line)


def _templates(constitution: Constitution) -> Iterator[Flaw]:
    judge, critic = constitution.judge, constitution.critic
    asked = {"judge.comparison": judge.comparison, "judge.reasoning": judge.reasoning}
    if judge.rating_form == "fields":
        asked["judge.rating"] = judge.rating
    if critic.form == "fields":
        asked |= {"critic.critique": critic.critique, "critic.revision": critic.revision}
    for key, template in asked.items():
        marked = any(name == "nonce" for _, name, _, _ in Formatter().parse(template))
        controlled = any(token in template for token in judge.control_tokens)
        if not marked and not controlled:
            words = f"{key} has no {{nonce}}: an answer can pretend to end where it does not"
            yield Flaw("not delimited", "", 0, words)
    missing = [c.strip() for i, c in enumerate(judge.choices, 1) if not _named(judge.comparison, c.strip(), i)]
    if missing:
        yield Flaw(
            "unclear", "", 0, f"judge.comparison never names the choice {missing[0]!r}: the judge cannot know it"
        )


def _named(template: str, choice: str, number: int) -> bool:
    return f"choice_{number}" in template or choice in template


def _unclear(constitution: Constitution, principle: Principle) -> Iterator[Flaw]:
    def flaw(key: str, words: str) -> Flaw:
        return Flaw("unclear", principle.name, constitution.line_of(principle.name, key), f"{key} {words}")

    for key in ("critique_request", "revision_request", "comparison_question"):
        text = str(getattr(principle, key))
        count = len(text.split())
        if count < SHORTEST:
            yield flaw(key, f"has {count} words; say in a sentence what to look for")
        if count > LONGEST:
            yield flaw(key, f"has {count} words, and more than {LONGEST} ask for several things; make two principles")
        if not text.endswith((".", "?", "!", ":")):
            yield flaw(key, "ends without a full stop or a question mark; a sentence may be missing its end")
        if re.search(r"\band/or\b", text) or text.count("?") > 1:
            yield flaw(key, "asks two things at once; make two principles of it")
    question = principle.comparison_question
    if not question.endswith("?"):
        yield flaw("comparison_question", "is no question; expected one that two answers can be compared by")
    if _two_comparisons(question):
        yield flaw("comparison_question", "asks two things at once: an answer may win one and lose the other")
    if re.search(r"\b(worse|worst)\b", question.casefold()):
        yield flaw("comparison_question", "asks for the worse answer; the choice counts as the better one")
    if len({principle.critique_request, principle.revision_request, question}) < 3:
        yield flaw("revision_request", "is the same text as another request of this principle")


_COMPARATIVE = (
    r"(?:more|less|fewer|most|least|better|safer|[a-z]{3,}(?<!oth)(?<!wheth)(?<!answ)(?<!nev)(?<!und)(?<!aft)er)"
)


def _two_comparisons(question: str) -> bool:
    """Whether a question names two comparatives joined by and, or, but."""
    text = question.casefold()
    return bool(re.search(rf"\b{_COMPARATIVE}\b[^,?]*\b(?:and|or|but)\s+(?:is\s+|also\s+)*{_COMPARATIVE}\b", text))


def _missing(constitution: Constitution, principle: Principle) -> Iterator[Flaw]:
    line = constitution.line_of(principle.name)
    if not principle.text and not principle.rating_question:
        words = "has neither text nor rating_question, so a rating asks only how good the answer is"
        yield Flaw("missing", principle.name, line, words, note=True)
    if not principle.examples and constitution.critic.form == "fields":
        yield Flaw("missing", principle.name, line, "has no examples; revise with examples=N shows others'", note=True)


def _never_drawn(constitution: Constitution, kinds: Collection[str] | None) -> Iterator[Flaw]:
    for principle in constitution.principles:
        if kinds is not None and principle.kinds and not set(principle.kinds) & set(kinds):
            line = constitution.line_of(principle.name, "kinds")
            seen = ", ".join(sorted(kind or "none" for kind in kinds))
            words = f"is for prompts of the kinds {', '.join(principle.kinds)}; those at hand have {seen}"
            yield Flaw("never drawn", principle.name, line, words)
    used = {kind for principle in constitution.principles for kind in principle.kinds}
    everywhere = any(not principle.kinds for principle in constitution.principles)
    for kind in constitution.kinds:
        if kind not in used and not everywhere:
            yield Flaw("never drawn", "", 0, f"no principle is for prompts of the kind {kind!r}")


def _pairs(constitution: Constitution) -> Iterator[Flaw]:
    """Principles that ask the same, or the opposite, of the same kinds of prompts."""
    for one, other in itertools.combinations(constitution.principles, 2):
        if one.kinds and other.kinds and not set(one.kinds) & set(other.kinds):
            continue
        line = constitution.line_of(other.name, "comparison_question")
        first, second = _meaning(one.comparison_question), _meaning(other.comparison_question)
        opposed = {word for word in first.keys() & second.keys() if first[word] != second[word]}
        alike = _overlap(set(first), set(second)) >= ALIKE
        if alike and opposed:
            words = f"its comparison_question prefers what that of {one.name} rejects ({', '.join(sorted(opposed))})"
            yield Flaw("contradictory", other.name, line, words)
        elif alike:
            yield Flaw("doubled", other.name, line, f"its comparison_question asks the same as that of {one.name}")
        elif one.critique_request.casefold() == other.critique_request.casefold():
            line = constitution.line_of(other.name, "critique_request")
            yield Flaw("doubled", other.name, line, f"its critique_request is that of {one.name}")


def _overlap(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


_EMPTY = {
    *(
        "which",
        "what",
        "who",
        "one",
        "two",
        "answer",
        "reply",
        "response",
        "is",
        "are",
        "was",
        "were",
        "be",
        "do",
        "does",
    ),
    *(
        "did",
        "has",
        "have",
        "had",
        "a",
        "an",
        "the",
        "of",
        "to",
        "in",
        "for",
        "with",
        "that",
        "this",
        "it",
        "its",
        "and",
    ),
    *("or", "by", "from", "at", "on", "as", "than", "person", "human", "user", "more", "most", "better", "best", "any"),
    *("anything", "all"),
}
_DENIAL = {"less", "least", "fewer", "fewest", "not", "no", "never", "without", "avoid", "avoids", "free", "nobody"}
# word -> what it is the opposite of; compared after their endings are cut off
_OPPOSITE = {
    **dict.fromkeys(("short", "brief", "concise"), "long"),
    "detailed": "long",
    **dict.fromkeys(("casual", "informal"), "formal"),
    **dict.fromkeys(("rude", "impolite"), "polite"),
    **dict.fromkeys(("complex", "complicated"), "simple"),
    "careless": "careful",
    **dict.fromkeys(("false", "untrue"), "true"),
    "dishonest": "honest",
    "vague": "precise",
    "cold": "warm",
    "harmful": "harmless",
    "dangerous": "safe",
}
_SAME_SIDE = {"detailed"}


def _meaning(question: str) -> dict[str, int]:
    """The words of a question that carry its meaning, each with the side that it is on: 1, or -1 for its opposite.

    A denial turns the words that follow it.
    """
    found: dict[str, int] = {}
    side = 1
    for word in re.findall(r"[a-z']+", question.casefold()):
        if word in _DENIAL:
            side = -side
        elif (stem := _stem(word)) not in _EMPTY and word not in _EMPTY:
            turned = stem in _OPPOSITE and stem not in _SAME_SIDE
            stem = _OPPOSITE.get(stem, stem)
            if not turned and (match := re.fullmatch(r"(?:un|dis|im|in)(\w{4,})", stem)) and match[1] in _KNOWN:
                stem, turned = match[1], True
            found.setdefault(stem, -side if turned else side)
    return found


_KNOWN = {
    *("helpful", "kind", "friendly", "honest", "polite", "certain", "clear", "direct", "formal", "truthful", "biased"),
    *("respectful", "accurate", "correct", "precise", "safe", "true", "fair", "sure", "pleasant"),
}


def _stem(word: str) -> str:
    """The word without the ending of a comparison or a plural: longer and longest are long."""
    for ending, kept in (("iest", "y"), ("ier", "y"), ("est", ""), ("er", "")):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            bare = word[: -len(ending)] + kept
            bare = bare[:-1] if len(bare) > 3 and bare[-1] == bare[-2] and bare[-1] not in "ls" else bare
            return f"{bare}e" if f"{bare}e" in {*_OPPOSITE, *_OPPOSITE.values(), *_KNOWN} else bare
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us")) else word
