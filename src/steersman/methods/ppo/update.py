"""Stage 4: epochs of minibatches with clipped policy loss, clipped value loss (with a critic) and entropy bonus.

Each term is a mean over the answer tokens of the minibatch, or over its answers (`mean_over`: DAPO's token mean, GRPO's
mean of means, Dr.GRPO's constant). PPO: arXiv 1707.06347, equations 7 and 9. Pretraining mix: InstructGPT (arXiv
2203.02155), equation 2.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from steersman.batches import TokenRow
from steersman.data.order import epoch_order
from steersman.maths.kl import k2, k3
from steersman.maths.policy_loss import clipped_value_loss, entropy_loss, probability_ratio
from steersman.methods.ppo.policy_term import policy_loss, positive_loss, positive_tokens
from steersman.methods.ppo.records import Experience, ExperienceBatch, Unit
from steersman.methods.ppo.roles import Actors, CanHoldPolicy, CriticApart
from steersman.settings.policy_update import UpdateSettings
from steersman.settings.prompts import SamplingSettings
from steersman.settings.shaping import KlSettings
from steersman.train.core import Learner, StepReport
from steersman.train.objective import Sums, Term

Measured = tuple[float | Tensor, float | Tensor]
"""A sum and its weight."""


@dataclass(frozen=True)
class PpoObjective:
    settings: UpdateSettings
    kl: KlSettings
    sampling: SamplingSettings
    policy_held: bool = False
    """Whether only the critic learns (`value_warmup`). The policy's metrics are computed all the same."""

    def weights(self, units: Sequence[Unit]) -> Mapping[str, float]:
        answers = [unit for unit in units if isinstance(unit, Experience)]
        over_tokens = self.settings.mean_over == "tokens"
        count = float(sum(unit.tokens for unit in answers) if over_tokens else len(answers))
        if self.policy_held:
            return {"value": count}
        text = float(sum(unit.targets for unit in units if isinstance(unit, TokenRow)))
        found = {"policy": count}
        if any(unit.scored.values is not None for unit in answers):
            found["value"] = count
        if self.settings.entropy_coefficient:
            found["entropy"] = count
        if self.kl.loss_coefficient:
            found["KL in loss"] = count
        if self.settings.positive_coefficient:
            found["positive"] = positive_tokens(answers, self.settings)
        return found if self.settings.pretraining is None else {**found, "pretraining": text}

    def __call__(self, model: Actors, batch: ExperienceBatch) -> Sums:
        terms: dict[str, Term] = {}
        metrics: dict[str, Measured] = {}
        later: Callable[[], Sums] | None = None
        if isinstance(model, CanHoldPolicy):
            model.policy_held = self.policy_held
        if batch.answers is not None:
            later = self._add_answers(model, batch, terms, metrics)
        if self.policy_held:
            return Sums({name: term for name, term in terms.items() if name == "value"}, metrics, later)
        if batch.pretraining is not None:
            terms["pretraining"] = Term(
                -model.pretraining(batch.pretraining).sum() * batch.texts_count, self.settings.pretraining_coefficient
            )
        return Sums(terms, metrics, later)

    def _add_answers(
        self, model: Actors, batch: ExperienceBatch, terms: dict[str, Term], metrics: dict[str, Measured]
    ) -> Callable[[], Sums] | None:
        """Add the policy's terms. The value term of a critic with its own weights is returned, to be computed
        afterwards."""
        settings, answers = self.settings, batch.answers
        assert answers is not None
        bonus = settings.entropy_coefficient
        critic = model if isinstance(model, CriticApart) and model.critic_apart else None
        asked = {"temperature": self.sampling.temperature, "with_entropy": bonus > 0}
        values: Tensor | None = None
        if critic is not None:
            log_probs, entropies = critic.policy_log_probs(answers, **asked)
        else:
            log_probs, entropies, values = model.policy(answers, **asked)
        policy = policy_loss(log_probs, batch, settings)
        count = batch.answers_count
        share = self._shares(batch) * count
        terms["policy"] = Term((policy.loss * batch.importance * share).sum(), 1.0)
        if entropies is not None:
            terms["entropy"] = Term((entropy_loss(entropies) * share).sum(), bonus)
        if self.kl.loss_coefficient:
            estimate = {"k2": k2, "k3": k3}[self.kl.loss_estimator](log_probs, batch.reference_log_probs)
            if self.kl.loss_correction == "ratio":
                estimate = estimate * probability_ratio(log_probs, batch.old_log_probs)
            terms["KL in loss"] = Term((estimate * share).sum(), self.kl.loss_coefficient)
        if settings.positive_coefficient:
            terms["positive"] = Term(positive_loss(log_probs, batch, settings), settings.positive_coefficient)
        log_ratio = log_probs.detach() - batch.old_log_probs
        metrics.update(_measured(policy.ratio.detach(), policy.clipped, log_ratio, batch.counts * count))
        if critic is not None:
            return lambda: self._values(critic.values(answers), batch, share)
        of_values = self._values(values, batch, share)
        terms.update(of_values.terms)
        metrics.update(of_values.metrics)
        return None

    def _values(
        self, values: Float[Tensor, " tokens"] | None, batch: ExperienceBatch, share: Float[Tensor, " tokens"]
    ) -> Sums:
        if values is None or batch.old_values is None:
            return Sums({}, {})
        settings, count = self.settings, batch.answers_count
        value = clipped_value_loss(values, batch.old_values, batch.returns, clip=settings.value_clip)
        counts = batch.counts * count
        term = Term((value.loss * share).sum(), settings.value_coefficient)
        return Sums({"value": term}, {"value clip fraction": ((value.clipped * counts).sum(), counts.sum())})

    def _shares(self, batch: ExperienceBatch) -> Float[Tensor, " tokens"]:
        """Weight of each token in the sum of the loss."""
        if self.settings.mean_over == "tokens":
            return batch.counts
        if self.settings.mean_over == "answers":
            return batch.counts / batch.answer_lengths
        return batch.counts / self.sampling.max_new_tokens


def _measured(
    ratio: Float[Tensor, " tokens"],
    clipped: Bool[Tensor, " tokens"],
    log_ratio: Float[Tensor, " tokens"],
    counts: Float[Tensor, " tokens"],
) -> dict[str, Measured]:
    """Sums over tokens and their number, for the metrics; they stay on the device."""
    # k3 of the old policy from the present one: never negative, so that it can be a bound
    moved = torch.expm1(log_ratio) - log_ratio
    totals = torch.stack([ratio, (ratio - 1).abs(), clipped.float(), moved, torch.ones_like(ratio)]) @ counts
    names = ("ratio", "ratio from 1", "clip fraction", "KL to old policy")
    return {name: (totals[i], totals[-1]) for i, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class UpdateStats:
    """Means over the optimiser steps of one update. `first` is of the first minibatch, where the ratio must be 1."""

    steps: int
    skipped: int
    stopped_early: bool
    first: Mapping[str, float]
    terms: Mapping[str, float]
    metrics: Mapping[str, float]
    gradient_norm: float
    learning_rate: float
    tokens: int
    padding_share: float


def minibatches(count: int, settings: UpdateSettings, *, seed: int, iteration: int, epoch: int) -> list[list[int]]:
    """The samples of each minibatch of an epoch: shuffled, in parts whose sizes differ by one at most."""
    order = epoch_order(count, seed, iteration * settings.epochs + epoch).tolist()
    parts = min(settings.minibatches, count)
    return [order[count * i // parts : count * (i + 1) // parts] for i in range(parts)]


def update(
    learner: Learner[Unit, ExperienceBatch],
    experience: Sequence[Experience],
    objective: PpoObjective,
    *,
    seed: int,
    iteration: int,
    pretraining: Callable[[int], Sequence[TokenRow]] | None,
) -> UpdateStats:
    """Epochs x minibatches optimiser steps; fewer if the KL to the old policy exceeds `target_kl`, none without
    experience."""
    settings = objective.settings
    reports: list[StepReport] = []
    stopped = False
    with learner.on_device():
        for epoch in range(settings.epochs if experience else 0):
            for members in minibatches(len(experience), settings, seed=seed, iteration=iteration, epoch=epoch):
                units: list[Unit] = [experience[i] for i in members]
                if pretraining is not None:
                    units += pretraining(learner.progress.step)
                reports.append(learner.step(units, objective))
                moved = reports[-1].metrics["KL to old policy"]
                stopped = settings.target_kl is not None and moved > settings.target_kl
                if stopped:
                    break
            if stopped:
                break
    return _summary(reports, stopped)


def _summary(reports: Sequence[StepReport], stopped: bool) -> UpdateStats:
    count = len(reports)

    def mean(of: Callable[[StepReport], float]) -> float:
        return sum(of(report) for report in reports) / max(count, 1)

    first = reports[:1]
    return UpdateStats(
        steps=count,
        skipped=sum(report.skipped for report in reports),
        stopped_early=stopped,
        first=reports[0].metrics if reports else {},
        terms=_mean_terms(reports),
        metrics={name: mean(lambda r, name=name: r.metrics[name]) for one in first for name in one.metrics},
        gradient_norm=mean(lambda r: r.gradient_norm),
        learning_rate=reports[-1].learning_rate if reports else 0.0,
        tokens=sum(report.tokens for report in reports),
        padding_share=mean(lambda r: r.padding_share),
    )


def _mean_terms(reports: Sequence[StepReport]) -> dict[str, float]:
    """Each term's mean over the steps that had it: a minibatch without a right answer has no likelihood term."""
    values: dict[str, list[float]] = {}
    for report in reports:
        for name, value in report.terms.items():
            values.setdefault(name, []).append(value)
    return {name: sum(of) / len(of) for name, of in values.items()}
