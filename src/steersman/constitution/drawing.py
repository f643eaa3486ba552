"""Which principles a prompt is held to: drawn by weight from those for its kind, by a seed and the prompt alone."""

import random

from steersman.constitution.document import Constitution
from steersman.records import Principle, PrincipleExample, Prompt

KIND_FIELDS = ("kind", "form")
"""Metadata of a prompt that may say its kind; the first that is there counts."""


def prompt_kind(prompt: Prompt) -> str:
    """The kind that the prompt's metadata say it has; "" if they say none."""
    return next((str(prompt.metadata[field]) for field in KIND_FIELDS if prompt.metadata.get(field)), "")


def draw_principles(constitution: Constitution, prompt: Prompt, *, seed: int, count: int) -> tuple[Principle, ...]:
    """`count` principles for this prompt, in the order of its rounds. Empty if none is for its kind.

    None comes again before all others were drawn. The draw does not depend on the file's order.
    """
    rng = random.Random(f"{seed}\x1f{prompt.id}")
    found: list[Principle] = []
    left: list[Principle] = []
    while len(found) < count:
        left = left or list(constitution.principles_for(prompt_kind(prompt)))
        if not left:
            return ()
        found.append(left.pop(rng.choices(range(len(left)), [one.weight for one in left])[0]))
    return tuple(found)


def draw_examples(
    constitution: Constitution, principle: Principle, prompt: Prompt, *, seed: int, count: int
) -> list[tuple[Principle, PrincipleExample]]:
    """Worked examples to show before a request: of other principles first, of its own last, where they count most."""
    own = [(principle, example) for example in principle.examples]
    others = [
        (one, example)
        for one in sorted(constitution.principles, key=lambda one: one.name)
        if one.name != principle.name
        for example in one.examples
    ]
    random.Random(f"{seed}\x1f{prompt.id}\x1f{principle.name}").shuffle(others)
    return [*others[: max(0, count - len(own))], *own[:count]]
