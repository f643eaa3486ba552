"""Online DPO: pairs of the policy's own answers, judged by a scorer as they are made (Guo et al. 2024, arXiv 2402.04792). No torch
model in here: samples and their scores in, judged groups out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steersman.batches import AnswerGroup
from steersman.methods.ppo.records import Sample


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, and by how much the scorer prefers the first (0: it does not)."""

    better: Sample
    worse: Sample
    lead: float

    @property
    def group(self) -> AnswerGroup:
        """As people's judgements come: of two that score alike neither is preferred."""
        nobody = torch.zeros(0, dtype=torch.long)
        return AnswerGroup(
            rows=(self.better.row, self.worse.row),
            first=torch.tensor([0]),
            second=torch.tensor([1]),
            target=torch.tensor([1.0 if self.lead > 0 else 0.5]),
            margin=torch.tensor([self.lead]),
            weight=torch.ones(1),
            thumbed=nobody,
            approval=torch.zeros(0),
        )


def judged_pairs(samples: Sequence[Sample], scores: Sequence[float], *, each: int) -> list[Pair]:
    """The best and the worst of each prompt's answers, of which `each` stand together; the earlier one where several are."""
    found: list[Pair] = []
    for start in range(0, len(samples), each):
        group = range(start, start + each)
        best, worst = max(group, key=lambda i: scores[i]), min(group, key=lambda i: scores[i])
        found.append(Pair(samples[best], samples[worst], scores[best] - scores[worst]))
    return found
