"""How alike the answers to different prompts are: a policy that collapses gives all prompts the same short answer.

distinct-n (see `wording`) compares the answers to one prompt, so it does not notice this.
"""

from collections import Counter
from collections.abc import Sequence

OPENING = 3
"""Words of an opening."""


def distinct_shares(prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
    """For each answer 1 / the number of prompts with the same answer, ignoring case and spaces.

    With one answer for each prompt the mean is the number of distinct answers over the number of prompts.
    """
    plain = [" ".join(text.casefold().split()) for text in texts]
    same = Counter(text for _, text in set(zip(prompts, plain, strict=True)))
    return [1 / same[text] for text in plain]


def opening(text: str) -> str:
    """The first three words, or all if there are fewer."""
    return " ".join(text.casefold().split()[:OPENING])


def commonest_opening(texts: Sequence[str]) -> str:
    """The opening of most answers; among equals the alphabetically first."""
    counts = Counter(opening(text) for text in texts)
    return min(counts, key=lambda words: (-counts[words], words))
