"""Demonstrations by three simulated writers with different habits: people judge better than they write.

One is careful and sometimes exaggerates; one is hurried: short, and at times curt; one is gruff: some answers are good,
others cold or rude.
A model fine-tuned on all of them imitates this mixture. Which of these answers people prefer is only in their
judgements: that is left for reward models and PPO to learn. `writers=careful` selects the careful writer.
"""

import random
from collections.abc import Iterator

from steersman.errors import UsageError
from steersman.harbour.grammar.replies import write
from steersman.harbour.grammar.situations import Situation
from steersman.harbour.prompts import as_prompt, draw_situations
from steersman.records import Completion, Demonstration

WRITERS: dict[str, dict[str, float]] = {
    "careful": {"good": 0.75, "exaggerated": 0.15, "plain": 0.10},
    "hurried": {"plain": 0.60, "cold": 0.32, "toxic": 0.08},
    "gruff": {"good": 0.25, "plain": 0.25, "cold": 0.35, "toxic": 0.15},
}
# Replacement of a style in situations where it does not occur.
INSTEAD = {
    "harmful": {"exaggerated": "preachy", "cold": "refused"},
    "summary": {"cold": "copied"},
}


def demonstrations(
    *, split: str = "train", count: int = 1000, seed: int = 0, writers: str = "all"
) -> Iterator[Demonstration]:
    """`count` prompts with a written answer; `writers` is the name of one writer, or "all"."""
    if writers != "all" and writers not in WRITERS:
        raise UsageError(f"unknown writers {writers!r}; expected all, {', '.join(WRITERS)}")
    stream = draw_situations(split, seed)
    rng = random.Random(seed + 1)
    next_writer = "careful"
    for _ in range(count):
        situation = next(stream)
        writer = next_writer if writers == "all" else writers
        answer = Completion(write(rng, situation, _style(rng, situation, writer), mixed=0.0), model="person")
        # Always drawn, so that one writer's answers do not depend on the others.
        next_writer = rng.choice(list(WRITERS))
        yield Demonstration(as_prompt(situation), answer, annotator=writer)


def _style(rng: random.Random, situation: Situation, writer: str) -> str:
    habits = WRITERS[writer]
    style = rng.choices(list(habits), list(habits.values()))[0]
    if style == "plain" and situation.topic is None:
        return "good"
    # The careful writer does not exaggerate in reply to a harmful request.
    if style == "exaggerated" and situation.form == "harmful" and writer == "careful":
        return "good"
    return INSTEAD.get(situation.form, {}).get(style, style)
