"""Online DPO: pairs of the policy's own samples, labelled by a scorer during training.

Guo et al. 2024 (arXiv 2402.04792). No model here: samples and their scores in, judged groups out.

A hard label says that the better answer is always preferred. DPO's loss then has no minimum: the gap grows for as long
as it is trained. A soft label is the Bradley-Terry probability sigmoid(score - other score). DPO's optimum is then that
of PPO: the reference times exp(score / beta).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from steersman.batches import AnswerGroup
from steersman.methods.ppo.records import Sample
from steersman.settings.dpo import PairLabels


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt. `lead` is the first one's score minus the second's; 0 is a tie. `preference` is the
    probability that the first one is preferred."""

    better: Sample
    worse: Sample
    lead: float
    preference: float

    @property
    def group(self) -> AnswerGroup:
        """The pair in the form of human judgements; equal scores are a tie."""
        no_thumbs = torch.zeros(0, dtype=torch.long)
        return AnswerGroup(
            rows=(self.better.row, self.worse.row),
            first=torch.tensor([0]),
            second=torch.tensor([1]),
            target=torch.tensor([self.preference]),
            margin=torch.tensor([self.lead]),
            weight=torch.ones(1),
            thumbed=no_thumbs,
            approval=torch.zeros(0),
        )


def judged_pairs(samples: Sequence[Sample], scores: Sequence[float], *, each: int, labels: PairLabels) -> list[Pair]:
    """The best and the worst of each prompt's answers; among equal scores the earliest. Prompts have `each` answers."""
    pairs: list[Pair] = []
    for start in range(0, len(samples), each):
        group = range(start, start + each)
        best, worst = max(group, key=lambda i: scores[i]), min(group, key=lambda i: scores[i])
        lead = scores[best] - scores[worst]
        pairs.append(Pair(samples[best], samples[worst], lead, preference(lead, labels)))
    return pairs


def preference(lead: float, labels: PairLabels) -> float:
    """The probability that an answer is preferred to another whose score is lower by `lead`, which is 0 or more."""
    if labels == "soft":
        return 1 / (1 + math.exp(-lead))
    return 1.0 if lead > 0 else 0.5
