"""Online DPO: pairs of the policy's own samples, labelled by a scorer during training.

Guo et al. 2024 (arXiv 2402.04792). No model here: samples and their scores in, judged groups out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steersman.batches import AnswerGroup
from steersman.methods.ppo.records import Sample


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt. `lead` is the first one's score minus the second's; 0 is a tie."""

    better: Sample
    worse: Sample
    lead: float

    @property
    def group(self) -> AnswerGroup:
        """The pair in the form of human judgements; equal scores are a tie."""
        no_thumbs = torch.zeros(0, dtype=torch.long)
        return AnswerGroup(
            rows=(self.better.row, self.worse.row),
            first=torch.tensor([0]),
            second=torch.tensor([1]),
            target=torch.tensor([1.0 if self.lead > 0 else 0.5]),
            margin=torch.tensor([self.lead]),
            weight=torch.ones(1),
            thumbed=no_thumbs,
            approval=torch.zeros(0),
        )


def judged_pairs(samples: Sequence[Sample], scores: Sequence[float], *, each: int) -> list[Pair]:
    """The best and the worst of each prompt's answers; among equal scores the earliest. Prompts have `each` answers."""
    pairs: list[Pair] = []
    for start in range(0, len(samples), each):
        group = range(start, start + each)
        best, worst = max(group, key=lambda i: scores[i]), min(group, key=lambda i: scores[i])
        pairs.append(Pair(samples[best], samples[worst], scores[best] - scores[worst]))
    return pairs
