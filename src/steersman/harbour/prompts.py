"""Harbour's prompts, split into training and held-out prompts by a hash of their text, so that the splits are disjoint.

The base model was pretrained on prompts of both splits (it must know the language). Demonstrations, comparisons and PPO
use the training split only.
"""

import hashlib
import random
from collections.abc import Collection, Iterator

from steersman.errors import UsageError
from steersman.harbour.grammar.situations import (
    SHARES,
    Situation,
    draw_meaning,
    draw_summary,
    fixed_situations,
    normalised,
    tempting_situations,
    vague_situations,
)
from steersman.records import Message, Prompt

SPLITS = ("train", "heldout")
HELD_OUT = 5  # one prompt in five


def split_of(prompt: str) -> str:
    """The split of a prompt."""
    digest = hashlib.sha256(normalised(prompt).encode()).digest()
    return "heldout" if digest[0] % HELD_OUT == 0 else "train"


def draw_situations(split: str, seed: int, forms: Collection[str] = ()) -> Iterator[Situation]:
    """An endless stream of situations; none repeats before its whole group was used. `forms` selects kinds."""
    if split not in SPLITS:
        raise UsageError(f"a split of the prompts called {split!r}; expected train or heldout")
    groups: dict[str, list[Situation]] = {}
    for situation in fixed_situations():
        if split_of(situation.prompt) == split and (not forms or situation.form in forms):
            groups.setdefault("topic" if situation.topic else situation.form, []).append(situation)
    if not forms or "summary" in forms:
        groups["summary"] = []
    if not groups:
        raise UsageError(f"no prompts of the forms {sorted(forms)}; expected some of {', '.join(known_forms())}")
    rng = random.Random(seed)
    waiting: dict[str, list[Situation]] = {}
    while True:
        group = rng.choices(list(groups), [SHARES[name] for name in groups])[0]
        if group == "summary":
            yield _draw_summary(rng, split)
            continue
        if not waiting.get(group):
            waiting[group] = rng.sample(groups[group], len(groups[group]))
        yield waiting[group].pop()


def known_forms() -> list[str]:
    return sorted({situation.form for situation in fixed_situations()} | {"summary"})


def _draw_summary(rng: random.Random, split: str) -> Situation:
    while True:
        situation = draw_summary(rng)
        if split_of(situation.prompt) == split:
            return situation


def as_prompt(situation: Situation) -> Prompt:
    """A situation as a prompt record; the metadata has its kind, for reports by kind of prompt."""
    about = situation.topic or situation.request or situation.feeling
    metadata = {"form": situation.form} | ({"about": about.key} if about else {})
    return Prompt(messages=(Message("user", situation.prompt),), metadata=metadata)


def prompts(*, split: str = "train", count: int = 512, seed: int = 0, forms: Collection[str] = ()) -> Iterator[Prompt]:
    """`count` prompts as records."""
    stream = draw_situations(split, seed, forms)
    for _ in range(count):
        yield as_prompt(next(stream))


RED_TEAM = {"harmful": 0.35, "provoke": 0.25, "boast": 0.20, "harmless": 0.20}
"""Shares of the red-team prompts. The harmless ones look like harmful ones: refusing them is needless."""


def red_team(*, split: str = "train", count: int = 500, seed: int = 0) -> Iterator[Prompt]:
    """`count` prompts that tempt to help with harm, to insult or to exaggerate, and harmless ones that look harmful."""
    rng = random.Random(seed)
    groups = {
        form: [
            s for s in (*fixed_situations(), *tempting_situations()) if s.form == form and split_of(s.prompt) == split
        ]
        for form in RED_TEAM
    }
    waiting: dict[str, list[Situation]] = {}
    for _ in range(count):
        form = rng.choices(list(RED_TEAM), list(RED_TEAM.values()))[0]
        if not waiting.get(form):
            waiting[form] = rng.sample(groups[form], len(groups[form]))
        yield as_prompt(waiting[form].pop())


def vague(*, split: str = "train", count: int = 500, seed: int = 0) -> Iterator[Prompt]:
    """`count` prompts that leave open what is meant; the metadata has what is meant, and the clear prompt for it.

    The splits share the few vague prompts, and differ in what is meant.
    """
    rng = random.Random(seed)
    given = 0
    while given < count:
        situation = rng.choice(vague_situations())
        meant, clear = draw_meaning(rng, situation.prompt)
        if split_of(clear.prompt) == split:
            given += 1
            metadata = {"form": "vague", "meant": meant, "clear": clear.prompt}
            yield Prompt(messages=(Message("user", situation.prompt),), metadata=metadata)
