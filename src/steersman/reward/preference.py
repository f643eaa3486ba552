"""Preference as reward (PAR, Fu et al. 2025, arXiv 2502.18770): an answer is paid how likely it is to be preferred to ordinary answers
to the same prompt.

Bounded, steep where an answer is like the ordinary ones and flat where it is far better: there the score is least to be trusted. And
what a prompt is worth by itself drops out, for all answers to it are compared with the same ones.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from steersman.errors import DataError
from steersman.records import Prompt, digest_of
from steersman.reward.scorer import Item, Score, Scorer, told
from steersman.reward.shaping import centred_sigmoid


def prompt_key(prompt: Prompt) -> str:
    """A prompt by what is asked, not by its id: ids come from files, where two prompts may share one."""
    return digest_of([prompt.text, [[message.role, message.content] for message in prompt.messages]])


class PreferenceScorer:
    """The mean over a prompt's reference answers of sigmoid(score - their score), from 0 to 1. `references` are their scores by
    `prompt_key(prompt)`, as many for every prompt. A score's parts: the other scorer's own, its score as `before`, and `reference`, the
    mean score of the reference answers."""

    def __init__(self, scorer: Scorer, references: Mapping[str, Sequence[float]]) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._references = references

    def score(self, items: Sequence[Item]) -> list[Score]:
        if not items:
            return []
        given = self._scorer.score(items)
        references = np.array([self._of(item) for item in items], dtype=np.float64)
        paid = centred_sigmoid(np.array([score.value for score in given], dtype=np.float64), references)
        return [
            Score(
                float(paid[i]),
                {**score.parts, "before": score.value, "reference": float(references[i].mean())},
                score.note,
                score.spans,
            )
            for i, score in enumerate(given)
        ]

    def _of(self, item: Item) -> Sequence[float]:
        found = self._references.get(prompt_key(item[0]))
        if found is None:
            raise DataError(
                f"there are no reference answers to compare with for {told(item)}; they were drawn when the run began, for the prompts that "
                "its iterations and its held-out measurements ask. Ask one of those, or leave score.preference_over out"
            )
        return found
