"""XPO and Nash-MD: the policy's answer against an opponent's, a scorer being the judge.

XPO (Xie et al. 2024, arXiv 2405.21046): the opponent is the reference; online DPO, and a term that makes the
reference's answers less likely, so that the policy explores.

Nash-MD (Munos et al. 2023, arXiv 2312.00886): the opponent is the geometric mixture of policy and reference; a policy
gradient on the probability of being preferred.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from steersman.batches import AnswerGroup
from steersman.methods.dpo import DirectPreference, JudgedBatch, JudgedGroup, Policy, answer_sums
from steersman.methods.ppo.records import Sample
from steersman.settings.dpo import OnlineDpoSettings
from steersman.train.objective import Sums, Term

Judge = Literal["hard", "soft"]


def against_opponent(
    policy: Sequence[Sample],
    opponent: Sequence[Sample],
    policy_scores: Sequence[float],
    opponent_scores: Sequence[float],
    judge: Judge,
) -> list[AnswerGroup]:
    """A pair for each prompt, the policy's answer first. `target` is the probability that it is preferred: sigmoid of
    the lead (soft), or 1, 0.5 or 0 (hard)."""
    groups: list[AnswerGroup] = []
    for ours, theirs, our_score, their_score in zip(policy, opponent, policy_scores, opponent_scores, strict=True):
        lead = torch.tensor([our_score - their_score])
        groups.append(
            AnswerGroup(
                rows=(ours.row, theirs.row),
                first=torch.tensor([0]),
                second=torch.tensor([1]),
                target=torch.sigmoid(lead) if judge == "soft" else (lead.sign() + 1) / 2,
                margin=lead.abs(),
                weight=torch.ones(1),
                thumbed=torch.zeros(0, dtype=torch.long),
                approval=torch.zeros(0),
            )
        )
    return groups


class Exploratory:
    """XPO's objective: DPO's, plus optimism * log policy of the reference's answers, the second of each pair."""

    def __init__(self, settings: OnlineDpoSettings) -> None:
        self.optimism = settings.optimism
        self._plain = DirectPreference(settings)

    def weights(self, units: Sequence[JudgedGroup]) -> Mapping[str, float]:
        return {**self._plain.weights(units), "optimism": float(sum(len(unit.group.second) for unit in units))}

    def __call__(self, model: Policy, batch: JudgedBatch) -> Sums:
        flat, _ = model.log_probs(batch.pairs.tokens)
        found = self._plain.sums_of(flat, batch)
        theirs = answer_sums(flat, batch).log_prob[batch.pairs.second]
        return Sums({**found.terms, "optimism": Term(theirs.sum(), self.optimism)}, found.metrics)


class NashMirrorDescent:
    """Nash-MD's objective: -(P(first preferred) - 1/2 - beta * log(policy / reference)) * log policy(first).

    The factor is a constant; 1/2 is the baseline. Its gradient is that of P - beta * KL in expectation over the
    policy's answers.
    """

    def __init__(self, settings: OnlineDpoSettings) -> None:
        self.beta = settings.beta

    def weights(self, units: Sequence[JudgedGroup]) -> Mapping[str, float]:
        return {"preference": float(sum(float(unit.group.weight.sum()) for unit in units))}

    def __call__(self, model: Policy, batch: JudgedBatch) -> Sums:
        pairs = batch.pairs
        flat, _ = model.log_probs(pairs.tokens)
        sums = answer_sums(flat, batch)
        log_prob, log_ratio = sums.log_prob[pairs.first], sums.log_ratio[pairs.first].detach()
        lead = pairs.target - 0.5 - self.beta * log_ratio
        count = float(len(lead))
        return Sums(
            {"preference": Term(-(pairs.weight * lead * log_prob).sum(), 1.0)},
            {
                "preferred to opponent": (float(pairs.target.sum()), count),
                "log ratio": (float(log_ratio.sum()), count),
            },
        )
