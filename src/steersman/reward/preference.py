"""Preference as reward (PAR, Fu et al. 2025, arXiv 2502.18770).

The reward is the probability that the answer is preferred to reference answers to the same prompt. It is bounded, steep
where an answer is similar to the references and flat where its score is far higher and least reliable. A prompt's own
effect on scores cancels, since all its answers are compared with the same references.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from steersman.errors import DataError
from steersman.records import Prompt, digest_of
from steersman.reward.scorer import Item, Score, Scorer, describe_item
from steersman.reward.shaping import centred_sigmoid


def prompt_key(prompt: Prompt) -> str:
    """A key of the prompt's content. Ids are not used: they come from files, where two prompts may share one."""
    return digest_of([prompt.text, [[message.role, message.content] for message in prompt.messages]])


class PreferenceScorer:
    """The mean of sigmoid(score - reference's score) over a prompt's reference answers, from 0 to 1.

    `references` are the reference answers' scores by `prompt_key(prompt)`, the same number for every prompt. A score's
    parts: the other scorer's, its score as `before`, and `reference`, the mean score of the reference answers.
    """

    def __init__(self, scorer: Scorer, references: Mapping[str, Sequence[float]]) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._references = references

    def score(self, items: Sequence[Item]) -> list[Score]:
        if not items:
            return []
        given = self._scorer.score(items)
        references = np.array([self._of(item) for item in items], dtype=np.float64)
        rewards = centred_sigmoid(np.array([score.value for score in given], dtype=np.float64), references)
        return [
            Score(
                float(rewards[i]),
                {**score.parts, "before": score.value, "reference": float(references[i].mean())},
                score.note,
                score.spans,
            )
            for i, score in enumerate(given)
        ]

    def _of(self, item: Item) -> Sequence[float]:
        references = self._references.get(prompt_key(item[0]))
        if references is None:
            raise DataError(
                f"there are no reference answers to compare with for {describe_item(item)}; they were sampled at the "
                "start of the run for its training and held-out prompts. Use one of those prompts, or leave "
                "score.preference_over out"
            )
        return references
