"""DPO and its variants: preference learning without a reward model (losses in maths/direct_preference.py).

The reference never changes, so its log-probs are computed once, before the first step, and stored with the rows. No
second model is in memory during training, and no second forward pass is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from steersman.batches import AnswerGroup, PairBatch, TokenBatch, TokenRow, pad_groups
from steersman.maths import direct_preference as losses
from steersman.maths.preference_divergence import alpha_reward, jensen_shannon_reward
from steersman.settings.dpo import PreferenceSettings
from steersman.train.objective import Sums, Term

NEEDS_NO_REFERENCE = ("simpo", "orpo")


@dataclass(frozen=True, slots=True)
class JudgedGroup:
    """A group of judged answers, and the reference's log-prob of each target, answer after answer.

    `mismatched`, for KTO only, is the group's prompt with an answer to another prompt, and the reference's log-prob of
    that answer: KTO estimates its KL baseline on such pairs.
    """

    group: AnswerGroup
    reference: Float[Tensor, " targets"]
    mismatched: tuple[TokenRow, float] | None = None

    @property
    def lengths(self) -> tuple[int, ...]:
        return self.group.lengths


@dataclass(frozen=True, slots=True)
class JudgedBatch:
    pairs: PairBatch
    reference: Float[Tensor, " targets"]

    @property
    def positions(self) -> int:
        return self.pairs.positions


def collate(units: Sequence[JudgedGroup], *, pad_id: int, device: torch.device, pad_multiple: int = 1) -> JudgedBatch:
    pairs = pad_groups([unit.group for unit in units], pad_id=pad_id, pad_multiple=pad_multiple)
    return JudgedBatch(pairs.to(device), torch.cat([unit.reference for unit in units]).to(device))


def coefficients(settings: PreferenceSettings) -> dict[str, float]:
    """The coefficient of each term; ORPO is the likelihood plus the odds-ratio term."""
    if settings.loss == "orpo":
        return {"preference": settings.odds, "likelihood": settings.likelihood or 1.0}
    return {"preference": 1.0, "likelihood": settings.likelihood}


def approved_answers(judged: AnswerGroup | PairBatch) -> tuple[Tensor, Bool[Tensor, " thumbs"]]:
    """The answers KTO learns from, and which of them are desirable.

    They are the answers with a thumb up or down, and both answers of each pair that is not a tie.
    """
    decided = judged.target != 0.5
    first, second, target = judged.first[decided], judged.second[decided], judged.target[decided]
    answers = torch.cat([judged.thumbed, first, second])
    return answers, torch.cat([judged.approval > 0.5, target > 0.5, target < 0.5])


@runtime_checkable
class Policy(Protocol):
    """The trained model (in a run a Backbone): gives the log-prob of each target."""

    def log_probs(self, batch: TokenBatch) -> tuple[Float[Tensor, " targets"], Tensor | None]: ...


@dataclass(frozen=True, slots=True)
class AnswerSums:
    """Per answer of a batch: log-prob and log-ratio summed over its tokens, and the number of tokens."""

    log_prob: Float[Tensor, " answers"]
    log_ratio: Float[Tensor, " answers"]
    tokens: Float[Tensor, " answers"]


class DirectPreference:
    """The objective of the pairwise losses; KTO's is `KahnemanTversky`."""

    def __init__(self, settings: PreferenceSettings) -> None:
        self.settings = settings
        self._coefficients = coefficients(settings)

    def weights(self, units: Sequence[JudgedGroup]) -> Mapping[str, float]:
        pairs = sum(float(unit.group.weight.sum()) for unit in units)
        count = preferred_tokens if self.settings.likelihood_over == "answer" else preferred_rows_tokens
        better = sum(count(unit.group) for unit in units) if self._coefficients["likelihood"] else 0.0
        return {"preference": pairs, "likelihood": float(better)}

    def __call__(self, model: Policy, batch: JudgedBatch) -> Sums:
        tokens = batch.pairs.tokens
        if self.settings.likelihood_over == "answer":
            return self.sums_of(model.log_probs(tokens)[0], batch)
        after_first = torch.arange(tokens.ids.shape[1], device=tokens.ids.device) > 0
        every = replace(tokens, loss_mask=tokens.attention_mask & after_first)
        flat, _ = model.log_probs(every)
        preferred = preferred_answers(batch.pairs.first, batch.pairs.second, batch.pairs.target)
        likelihood = flat[torch.isin(owners(every), preferred)].sum()
        return self.sums_of(flat[tokens.loss_mask[every.loss_mask]], batch, likelihood=likelihood)

    def sums_of(
        self, flat: Float[Tensor, " targets"], batch: JudgedBatch, *, likelihood: Float[Tensor, ""] | None = None
    ) -> Sums:
        """The sums, from the policy's log-prob of each target. `likelihood` is given where it counts other tokens."""
        pairs, sums = batch.pairs, answer_sums(flat, batch)
        gap = self._gap(flat, batch, sums)
        loss = pairs.weight * self._loss(gap, pairs, sums)
        decided = pairs.target != 0.5
        sign = (pairs.target - 0.5).sign()
        shown = gap.detach() * sign * (1.0 if self.settings.loss == "orpo" else self.settings.beta)
        right = ((shown.sign() + 1) / 2) * decided
        if likelihood is None:
            likelihood = flat[in_preferred(pairs)].sum() if self._coefficients["likelihood"] else flat.sum() * 0.0
        moved = sums.log_ratio.detach()
        return Sums(
            {
                "preference": Term(loss.sum(), self._coefficients["preference"]),
                "likelihood": Term(-likelihood, self._coefficients["likelihood"]),
            },
            {
                "accuracy": (float(right.sum()), float(decided.sum())),
                "margin": (float((shown * decided).sum()), float(decided.sum())),
                "log ratio": (float(moved.sum()), float(len(moved))),
            },
        )

    def _gap(self, flat: Float[Tensor, " targets"], batch: JudgedBatch, sums: AnswerSums) -> Float[Tensor, " pair"]:
        """For each pair, the first answer's value minus the second's, which the loss is a function of."""
        first, second, settings = batch.pairs.first, batch.pairs.second, self.settings
        if settings.length == "desensitised":
            return self._desensitised(flat, batch, sums)
        each = self._values(sums)
        return each[first] - each[second]

    def _values(self, sums: AnswerSums) -> Float[Tensor, " answers"]:
        """Each answer's value: its implicit reward before beta."""
        settings = self.settings
        if settings.loss == "simpo":
            return sums.log_prob / sums.tokens
        if settings.loss == "orpo":
            return losses.log_odds(sums.log_prob / sums.tokens)
        log_ratio = sums.log_ratio if settings.length == "sum" else sums.log_ratio / sums.tokens
        if settings.divergence == "jensen_shannon":
            return jensen_shannon_reward(log_ratio)
        if settings.divergence == "reverse_kl":
            return log_ratio
        return alpha_reward(log_ratio, alpha=1.0 if settings.divergence == "forward_kl" else settings.divergence_alpha)

    def _desensitised(
        self, flat: Float[Tensor, " targets"], batch: JudgedBatch, sums: AnswerSums
    ) -> Float[Tensor, " pair"]:
        """The gap for LD-DPO. A token's weight depends on the pair's lengths, so each pair sums its own two answers."""
        owner = owners(batch.pairs.tokens)
        starts = sums.tokens.cumsum(0) - sums.tokens
        position = torch.arange(len(flat), device=flat.device, dtype=flat.dtype) - starts[owner]
        ratio, gaps = flat - batch.reference, list[Tensor]()
        for first, second in zip(batch.pairs.first.tolist(), batch.pairs.second.tolist(), strict=True):
            shared = torch.minimum(sums.tokens[first], sums.tokens[second])
            counted = losses.desensitised(ratio, position, shared.expand_as(ratio), alpha=self.settings.alpha)
            gaps.append(counted[owner == first].sum() - counted[owner == second].sum())
        return torch.stack(gaps) if gaps else flat.new_zeros(0)

    def _loss(self, gap: Float[Tensor, " pair"], pairs: PairBatch, sums: AnswerSums) -> Float[Tensor, " pair"]:
        settings, beta = self.settings, self.settings.beta
        if settings.loss == "robust":
            return losses.robust_loss(gap, pairs.target, beta=beta, epsilon=settings.label_smoothing)
        target = losses.smoothed(pairs.target, settings.label_smoothing)
        margin = pairs.margin if settings.use_margin else pairs.margin * 0
        values = self._values(sums)
        both = values[pairs.first], values[pairs.second]
        by_name: dict[str, Callable[[], Tensor]] = {
            "dpo": partial(losses.dpo_loss, gap, target, beta=beta, margin=margin),
            "ipo": partial(losses.ipo_loss, gap, target, beta=beta),
            "hinge": partial(losses.hinge_loss, gap, target, beta=beta),
            "apo_zero": partial(losses.apo_zero_loss, *both, target, beta=beta),
            "apo_down": partial(losses.apo_down_loss, *both, target, beta=beta),
            "orpo": partial(losses.odds_ratio_loss, gap, target),
            "simpo": partial(losses.simpo_loss, gap, target, beta=beta, gamma=settings.gamma),
        }
        return by_name[settings.loss]()


class KahnemanTversky:
    """The objective of KTO.

    Its baseline is the KL of policy from reference, estimated over the global batch on prompts paired with another
    prompt's answer. It is computed before the step and is a constant within it, so micro-batches do not change it.
    """

    def __init__(self, settings: PreferenceSettings, baseline: Callable[[Sequence[JudgedGroup]], float]) -> None:
        self.settings = settings
        self._baseline_of = baseline
        self.baseline = 0.0

    def weights(self, units: Sequence[JudgedGroup]) -> Mapping[str, float]:
        self.baseline = max(0.0, self._baseline_of(units))
        return {"preference": float(sum(len(approved_answers(unit.group)[0]) for unit in units))}

    def __call__(self, model: Policy, batch: JudgedBatch) -> Sums:
        flat, _ = model.log_probs(batch.pairs.tokens)
        sums = answer_sums(flat, batch)
        chosen, liked = approved_answers(batch.pairs)
        ratio = sums.log_ratio[chosen]
        baseline = ratio.new_tensor(self.baseline)
        weight = torch.where(liked, 1.0, self.settings.undesirable_weight)
        loss = weight * losses.kto_loss(ratio, liked, baseline, beta=self.settings.beta)
        up, down = ratio.detach()[liked], ratio.detach()[~liked]
        return Sums(
            {"preference": Term(loss.sum(), 1.0)},
            {
                "log ratio, liked": (float(up.sum()), float(len(up))),
                "log ratio, disliked": (float(down.sum()), float(len(down))),
                "baseline": (self.baseline, 1.0),
            },
        )


def owners(tokens: TokenBatch) -> Tensor:
    """For each target of the batch, flat and row by row, the index of its answer."""
    return tokens.loss_mask.nonzero()[:, 0]


def sum_per_answer(flat: Float[Tensor, " targets"], tokens: TokenBatch) -> Float[Tensor, " answers"]:
    """The sum over each answer's targets."""
    return flat.new_zeros(len(tokens.lengths)).index_add(0, owners(tokens), flat)


def answer_sums(flat: Float[Tensor, " targets"], batch: JudgedBatch) -> AnswerSums:
    tokens = batch.pairs.tokens
    count = tokens.loss_mask.sum(1).to(flat.dtype).clamp(min=1)
    return AnswerSums(sum_per_answer(flat, tokens), sum_per_answer(flat - batch.reference, tokens), count)


def preferred_answers(first: Tensor, second: Tensor, target: Tensor) -> Tensor:
    """Indices of the answers preferred in at least one pair, each once; ties prefer neither."""
    return torch.cat([first[target > 0.5], second[target < 0.5]]).unique()


def preferred_tokens(group: AnswerGroup) -> int:
    return sum(group.rows[int(i)].targets for i in preferred_answers(group.first, group.second, group.target))


def preferred_rows_tokens(group: AnswerGroup) -> int:
    """Tokens of the preferred answers and their prompts; a row's first token follows nothing and is not predicted."""
    return sum(len(group.rows[int(i)].ids) - 1 for i in preferred_answers(group.first, group.second, group.target))


def in_preferred(pairs: PairBatch) -> Bool[Tensor, " targets"]:
    return torch.isin(owners(pairs.tokens), preferred_answers(pairs.first, pairs.second, pairs.target))
