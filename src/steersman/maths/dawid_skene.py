"""The reliability of annotators who choose between two answers, without knowing which is better.

Dawid and Skene 1979 ("Maximum likelihood estimation of observer error-rates using the EM algorithm") with one number
for each annotator: the probability of choosing the better answer. Both answers are as likely to be the better one.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

PRIOR = (12.0, 4.0)
"""Right and wrong choices that each annotator is taken to have made before: a mean of 0.75, as people agree."""
LEAST, MOST = 0.05, 0.97
STEPS, TOLERANCE = 200, 1e-9


@dataclass(frozen=True)
class Reliability:
    """`accuracy` of each annotator; `log_odds` of each item that its first answer is the better, from all votes."""

    accuracy: Float[ndarray, " annotators"]
    log_odds: Float[ndarray, " items"]

    @property
    def probability(self) -> Float[ndarray, " items"]:
        """The probability that the first answer is the better: a soft label."""
        return 1.0 / (1.0 + np.exp(-self.log_odds))


def dawid_skene(
    votes: Float[ndarray, "items annotators"], *, prior: tuple[float, float] = PRIOR, steps: int = STEPS
) -> Reliability:
    """The reliability by votes of 1 (first answer), -1 (second) or 0 (none), by EM from the mean of the prior."""
    right, wrong = prior
    given = np.abs(votes).sum(axis=0)
    accuracy = np.full(votes.shape[1], right / (right + wrong))
    for _ in range(steps):
        first = 1.0 / (1.0 + np.exp(-(votes @ _log_odds(accuracy))))
        chosen = (np.maximum(votes, 0.0) * first[:, None] + np.maximum(-votes, 0.0) * (1.0 - first[:, None])).sum(
            axis=0
        )
        before, accuracy = accuracy, np.clip((chosen + right) / (given + right + wrong), LEAST, MOST)
        if np.abs(accuracy - before).max(initial=0.0) < TOLERANCE:
            break
    return Reliability(accuracy, votes @ _log_odds(accuracy))


def _log_odds(probability: Float[ndarray, " annotators"]) -> Float[ndarray, " annotators"]:
    return np.log(probability) - np.log1p(-probability)
