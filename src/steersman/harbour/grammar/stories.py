"""The short texts to summarise: three kinds of story, and one-sentence summaries that can be parsed.

A story is a dictionary of its parts. A summary is compared part by part, so that exchanging two persons or two dishes,
which keeps every word, is still recognised as false.
"""

import random
import re
from dataclasses import dataclass
from functools import lru_cache

from steersman.harbour.grammar.tables import capitalised, table

TEXTS = {
    "bought": "On {day} {who} went to {place}. There {who} bought {item}. {ending}",
    "found": "{Who} found {item} at {place} on {day}. {worry} It belonged to {owner}, so {who} gave it back.",
    "cooked": "{Who} wanted to make {dish} for {owner} on {day}. But {trouble}. So they ate {other} instead.",
}
SUMMARIES = {
    "bought": (
        "{Who} bought {item} at {place}.",
        "On {day} {who} bought {item} at {place}.",
        "In short, {who} bought {item}.",
    ),
    "found": (
        "{Who} found {item} and gave it back to {owner}.",
        "In short, {who} gave {item} back to {owner}.",
        "{Owner} got {item} back from {who}.",
    ),
    "cooked": (
        "{Who} could not make {dish}, so they ate {other}.",
        "In short, {who} and {owner} ate {other} because {trouble}.",
        "{Who} made {other} for {owner} and not {dish}.",
    ),
}
LISTS = {"owner": "who", "other": "dish"}


@dataclass(frozen=True, slots=True)
class Story:
    kind: str
    parts: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        return _filled(TEXTS[self.kind], dict(self.parts))


def _filled(template: str, parts: dict[str, str]) -> str:
    return template.format(**parts, Who=capitalised(parts.get("who", "")), Owner=capitalised(parts.get("owner", "")))


def _choices(part: str) -> list[str]:
    return table("stories")[LISTS.get(part, part)]


def draw_story(rng: random.Random) -> Story:
    kind = rng.choice(sorted(TEXTS))
    parts: dict[str, str] = {}
    for part in re.findall(r"{(\w+)}", TEXTS[kind]):
        name = part.lower()
        if name not in parts:
            parts[name] = rng.choice([choice for choice in _choices(name) if choice not in parts.values()])
    return Story(kind, tuple(sorted(parts.items())))


def summarise(rng: random.Random, story: Story) -> str:
    """A true summary."""
    return _filled(rng.choice(SUMMARIES[story.kind]), dict(story.parts))


def invent(rng: random.Random, story: Story) -> str:
    """A summary with an invented or exchanged detail."""
    template = rng.choice(SUMMARIES[story.kind])
    used = [name.lower() for name in re.findall(r"{(\w+)}", template)]
    parts = dict(story.parts)
    pairs = [(a, b) for a, b in (("who", "owner"), ("dish", "other")) if a in used and b in used]
    if pairs and rng.random() < 0.5:
        a, b = rng.choice(pairs)
        parts[a], parts[b] = parts[b], parts[a]
    else:
        for name in rng.sample(used, min(len(used), rng.choice((1, 1, 2)))):
            parts[name] = rng.choice([choice for choice in _choices(name) if choice not in parts.values()])
    return _filled(template, parts)


@lru_cache
def _pattern(template: str) -> re.Pattern[str]:
    seen: set[str] = set()
    out = ""
    for piece in re.split(r"({\w+})", template.lower()):
        name = piece.strip("{}")
        if piece.startswith("{") and name in seen:
            out += f"(?P={name})"
        elif piece.startswith("{"):
            seen.add(name)
            out += f"(?P<{name}>" + "|".join(re.escape(choice.lower()) for choice in _choices(name)) + ")"
        else:
            out += re.escape(piece)
    return re.compile(out.removesuffix(r"\.") + r"\.?$")


def read_story(text: str) -> Story | None:
    """The story in a prompt's text, or None if it is not from the grammar."""
    for kind, template in TEXTS.items():
        if match := _pattern(template).match(text.strip().lower()):
            spelled = {choice.lower(): choice for part in match.groupdict() for choice in _choices(part)}
            return Story(kind, tuple(sorted((part, spelled[value]) for part, value in match.groupdict().items())))
    return None


def read_summary(sentence: str) -> tuple[str, dict[str, str]] | None:
    """Kind and parts of a summary sentence, or None if it is no summary."""
    for kind, templates in SUMMARIES.items():
        for template in templates:
            if match := _pattern(template).match(sentence.strip().lower()):
                return kind, match.groupdict()
    return None


@lru_cache
def _lines() -> tuple[re.Pattern[str], ...]:
    """A pattern for each sentence that a story's text may have."""
    texts = " ".join(TEXTS.values()).replace("{worry}", "{worry}.").replace("{ending}", "{ending}.")
    return tuple(_pattern(f"{line.rstrip('.')}.") for line in texts.split(". "))


def is_story_line(sentence: str) -> bool:
    """Whether a sentence could be from some story; if it is not from the given story, it is a misquotation."""
    spoken = sentence.strip().lower().rstrip(".") + "."
    return any(line.match(spoken) for line in _lines())


def wrong_parts(story: Story, kind: str, parts: dict[str, str]) -> int:
    """How many parts of a summary are not in the story; all of them when it tells a story of another kind."""
    if kind != story.kind:
        return len(parts)
    true_parts = {part: value.lower() for part, value in story.parts}
    return sum(true_parts[part] != value.lower() for part, value in parts.items())
