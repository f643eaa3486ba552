"""Answers as people would write them: nearly always good, now and then carried away (they are people).

The share of exaggeration is what later makes over-optimisation possible: the fine-tuned model still knows how to exaggerate.
"""

import random
from collections.abc import Iterator

from steersman.harbour.grammar.replies import write
from steersman.harbour.prompts import as_prompt, draw_situations
from steersman.records import Completion, Demonstration

CARRIED_AWAY = 0.17
PLAIN = 0.10
WRITERS = ("writer-1", "writer-2", "writer-3")


def demonstrations(*, split: str = "train", count: int = 1000, seed: int = 0) -> Iterator[Demonstration]:
    """`count` prompts with an answer that a person wrote."""
    stream = draw_situations(split, seed)
    rng = random.Random(seed + 1)
    for _ in range(count):
        situation = next(stream)
        style = rng.choices(("good", "exaggerated", "plain"), (1 - CARRIED_AWAY - PLAIN, CARRIED_AWAY, PLAIN))[0]
        if (style == "exaggerated" and situation.form == "harmful") or (style == "plain" and situation.topic is None):
            style = "good"
        answer = Completion(write(rng, situation, style, mixed=0.0), model="person")
        yield Demonstration(as_prompt(situation), answer, annotator=rng.choice(WRITERS))
