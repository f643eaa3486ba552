"""Stage 4: experience -> a better policy. Clipped ratio, clipped value loss, entropy bonus; epochs of minibatches.

Each term is a mean over all answer tokens of the minibatch. PPO: arXiv 1707.06347, equations 7 and 9; with a pretraining mix:
InstructGPT (arXiv 2203.02155), equation 2.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steersman.batches import TokenRow
from steersman.data.order import epoch_order
from steersman.maths.kl import k2, k3
from steersman.maths.policy_loss import clipped_policy_loss, clipped_value_loss, entropy_loss
from steersman.methods.ppo.records import Experience, ExperienceBatch, Unit
from steersman.methods.ppo.roles import Actors
from steersman.settings.ppo import KlSettings, UpdateSettings
from steersman.train.core import Learner, StepReport
from steersman.train.objective import Sums, Term


@dataclass(frozen=True)
class PpoObjective:
    settings: UpdateSettings
    kl: KlSettings
    temperature: float

    def weights(self, units: Sequence[Unit]) -> Mapping[str, float]:
        tokens = float(sum(unit.tokens for unit in units if isinstance(unit, Experience)))
        text = float(sum(unit.targets for unit in units if isinstance(unit, TokenRow)))
        found = {"policy": tokens, "value": tokens}
        if self.settings.entropy_coefficient:
            found["entropy"] = tokens
        if self.kl.loss_coefficient:
            found["KL in loss"] = tokens
        return found if self.settings.pretraining is None else {**found, "pretraining": text}

    def __call__(self, model: Actors, batch: ExperienceBatch) -> Sums:
        terms: dict[str, Term] = {}
        metrics: dict[str, tuple[float, float]] = {}
        if batch.answers is not None:
            self._add_answers(model, batch, terms, metrics)
        if batch.pretraining is not None:
            terms["pretraining"] = Term(
                -model.pretraining(batch.pretraining).sum() * batch.texts_count, self.settings.pretraining_coefficient
            )
        return Sums(terms, metrics)

    def _add_answers(
        self, model: Actors, batch: ExperienceBatch, terms: dict[str, Term], metrics: dict[str, tuple[float, float]]
    ) -> None:
        settings, answers = self.settings, batch.answers
        assert answers is not None
        bonus = settings.entropy_coefficient
        log_probs, entropies, values = model.policy(answers, temperature=self.temperature, with_entropy=bonus > 0)
        high = settings.clip if settings.clip_high is None else settings.clip_high
        policy = clipped_policy_loss(
            log_probs,
            batch.old_log_probs,
            batch.advantages,
            clip_low=settings.clip,
            clip_high=high,
            dual_clip=settings.dual_clip,
        )
        value = clipped_value_loss(values, batch.old_values, batch.returns, clip=settings.value_clip)
        count = batch.answers_count
        terms["policy"] = Term((policy.loss * batch.importance).sum() * count, 1.0)
        terms["value"] = Term(value.loss.sum() * count, settings.value_coefficient)
        if entropies is not None:
            terms["entropy"] = Term(entropy_loss(entropies).sum() * count, bonus)
        if self.kl.loss_coefficient:
            estimate = {"k2": k2, "k3": k3}[self.kl.loss_estimator](log_probs, batch.reference_log_probs)
            terms["KL in loss"] = Term(estimate.sum() * count, self.kl.loss_coefficient)
        log_ratio = log_probs.detach() - batch.old_log_probs
        for name, total in _measured(policy.ratio.detach(), policy.clipped, value.clipped, log_ratio).items():
            metrics[name] = (total * count, len(log_ratio) * count)


def _measured(ratio: Tensor, clipped: Tensor, value_clipped: Tensor, log_ratio: Tensor) -> dict[str, float]:
    """Sums over the tokens."""
    # k3 of the policy that answered from the present one: never negative, so that it can be a bound
    moved = torch.expm1(log_ratio) - log_ratio
    return {
        "ratio": float(ratio.sum()),
        "ratio from 1": float((ratio - 1).abs().sum()),
        "clip fraction": float(clipped.sum()),
        "value clip fraction": float(value_clipped.sum()),
        "KL to old policy": float(moved.sum()),
    }


@dataclass(frozen=True, slots=True)
class UpdateStats:
    """Means over the optimiser steps of one update; `first` is the first minibatch, in which the ratio must be 1."""

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
    """The samples of each minibatch of an epoch: shuffled, and cut into parts that differ by one at most."""
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
    """Epochs x minibatches optimiser steps, or fewer if the policy has moved further than `target_kl` allows."""
    settings = objective.settings
    reports: list[StepReport] = []
    stopped = False
    for epoch in range(settings.epochs):
        for members in minibatches(len(experience), settings, seed=seed, iteration=iteration, epoch=epoch):
            units: list[Unit] = [experience[i] for i in members]
            if pretraining is not None:
                units += pretraining(learner.progress.step)
            reports.append(learner.step(units, objective))
            stopped = settings.target_kl is not None and reports[-1].metrics["KL to old policy"] > settings.target_kl
            if stopped:
                break
        if stopped:
            break
    return _summary(reports, stopped)


def _summary(reports: Sequence[StepReport], stopped: bool) -> UpdateStats:
    count = len(reports)

    def mean(of: Callable[[StepReport], float]) -> float:
        return sum(of(report) for report in reports) / count

    return UpdateStats(
        steps=count,
        skipped=sum(report.skipped for report in reports),
        stopped_early=stopped,
        first=reports[0].metrics,
        terms={name: mean(lambda r, name=name: r.terms[name]) for name in reports[0].terms},
        metrics={name: mean(lambda r, name=name: r.metrics[name]) for name in reports[0].metrics},
        gradient_norm=mean(lambda r: r.gradient_norm),
        learning_rate=reports[-1].learning_rate,
        tokens=sum(report.tokens for report in reports),
        padding_share=mean(lambda r: r.padding_share),
    )
