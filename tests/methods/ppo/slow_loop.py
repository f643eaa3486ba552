"""One iteration of PPO again, slow and obvious: one answer at a time, one token at a time, nothing shared with the
product but the samples themselves and the order of the minibatches."""

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from steersman.methods.ppo.records import Sample
from steersman.settings.ppo import PpoSettings


@dataclass
class Plain:
    """What the iteration knows of one sample."""

    sample: Sample
    score: float
    log_probs: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    advantages: list[float] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)


class PlainPpo:
    """Policy and reference are plain transformers models, the value function a row of weights and a bias, or 0 (no
    critic)."""

    def __init__(
        self, policy: Any, reference: Any, weight: Tensor | None, bias: Tensor | None, settings: PpoSettings
    ) -> None:
        self.policy = copy.deepcopy(policy).requires_grad_(True)
        self.reference = reference
        self.weight = None if weight is None else weight.detach().clone().requires_grad_(True)
        self.bias = None if bias is None else bias.detach().clone().requires_grad_(True)
        self.settings = settings

    def tokens(self, model: Any, sample: Sample) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Log-probability, entropy and value at each token of the answer."""
        ids = [*sample.rollout.prompt_ids, *sample.rollout.ids]
        out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        found = []
        for place in range(len(sample.rollout.prompt_ids), len(ids)):
            logits = out.logits[0, place - 1] / self.settings.sampling.temperature
            log_probs = logits - torch.logsumexp(logits, 0)
            value = torch.tensor(0.0)
            if self.weight is not None and self.bias is not None:
                value = (self.weight[0] * out.hidden_states[-1][0, place - 1]).sum() + self.bias[0]
            found.append((log_probs[ids[place]], -(log_probs.exp() * log_probs).sum(), value))
        return found

    def experience(self, samples: list[Sample], raw: list[float], beta: float) -> list[Plain]:
        settings = self.settings
        middle = sum(raw) / len(raw)
        spread = math.sqrt(sum((r - middle) ** 2 for r in raw) / len(raw))
        found: list[Plain] = []
        for sample, given in zip(samples, raw, strict=True):
            score = given
            if settings.score.normalise == "running":
                score = (given - (middle if settings.score.centre else 0.0)) / spread
            if settings.score.clip is not None:
                score = max(-settings.score.clip, min(settings.score.clip, score))
            if sample.rollout.finish_reason == "length" and settings.score.missing_eos_penalty:
                score = score - settings.score.missing_eos_penalty
            one = Plain(sample, score)
            with torch.no_grad():
                for log_prob, _, value in self.tokens(self.policy, sample):
                    one.log_probs.append(float(log_prob))
                    one.values.append(float(value))
                for log_prob, _, _ in self.tokens(self.reference, sample):
                    one.reference.append(float(log_prob))
            for ours, theirs in zip(one.log_probs, one.reference, strict=True):
                one.kl.append(ours - theirs)
                one.rewards.append(-beta * (ours - theirs))
            one.rewards[-1] += score
            found.append(one)
        if settings.advantage.whiten_rewards:
            self.whiten([one.rewards for one in found], keep_mean=True)
        for one in found:
            if settings.advantage.estimator == "gae":
                self.gae(one)
            else:
                self.in_its_group(one, found)
        if settings.advantage.whiten:
            self.whiten([one.advantages for one in found], keep_mean=False)
        return found

    def gae(self, one: Plain) -> None:
        gamma, lambda_ = self.settings.advantage.gamma, self.settings.advantage.gae_lambda
        count = len(one.rewards)
        for t in range(count):
            total = 0.0
            for later in range(t, count):
                after = one.values[later + 1] if later + 1 < count else 0.0
                surprise = one.rewards[later] + gamma * after - one.values[later]
                total += (gamma * lambda_) ** (later - t) * surprise
            one.advantages.append(total)
            one.returns.append(total + one.values[t])

    def in_its_group(self, one: Plain, every: list[Plain]) -> None:
        """RLOO, or GRPO: the answer's whole reward beside those of the other answers to its prompt."""
        mates = [other for other in every if other.sample.rollout.prompt == one.sample.rollout.prompt]
        mine, theirs = sum(one.rewards), [sum(other.rewards) for other in mates if other is not one]
        advantage = mine - sum(theirs) / len(theirs)
        if self.settings.advantage.estimator == "grpo":
            mean = (mine + sum(theirs)) / len(mates)
            deviation = math.sqrt(sum((r - mean) ** 2 for r in [mine, *theirs]) / (len(mates) - 1))
            advantage = (mine - mean) / (deviation + 1e-4)
        one.advantages = [advantage] * len(one.rewards)
        one.returns = [mine] * len(one.rewards)

    @staticmethod
    def whiten(rows: list[list[float]], *, keep_mean: bool) -> None:
        every = [value for row in rows for value in row]
        mean = sum(every) / len(every)
        variance = sum((value - mean) ** 2 for value in every) / len(every)
        for row in rows:
            for i, value in enumerate(row):
                row[i] = (value - mean) / math.sqrt(variance + 1e-8) + (mean if keep_mean else 0.0)

    def loss(self, batch: list[Plain]) -> dict[str, Tensor]:
        settings, update, kl = self.settings, self.settings.update, self.settings.kl
        policy, value, entropy, divergence, count = 0.0, 0.0, 0.0, 0.0, 0.0
        for one in batch:
            shares = {"tokens": 1.0, "answers": 1 / len(one.rewards), "constant": 1 / settings.sampling.max_new_tokens}
            share = shares[update.mean_over]
            count += len(one.rewards) if update.mean_over == "tokens" else 1
            for t, (log_prob, doubt, now) in enumerate(self.tokens(self.policy, one.sample)):
                ratio = torch.exp(log_prob - one.log_probs[t])
                low, high = 1 - update.clip, 1 + (update.clip_high or update.clip)
                now_ratio = float(ratio.detach())
                free, held = -one.advantages[t] * ratio, -one.advantages[t] * min(max(now_ratio, low), high)
                # The larger of the two; inside the clip they are one and the same, and the gradient is free's.
                outside = now_ratio < low or now_ratio > high
                policy = policy + share * (held if outside and held > float(free.detach()) else free)
                error = (now - one.returns[t]) ** 2
                if update.value_clip is not None:
                    near = one.values[t] + (now - one.values[t]).clamp(-update.value_clip, update.value_clip)
                    error = torch.maximum(error, (near - one.returns[t]) ** 2)
                value = value + share * 0.5 * error
                entropy = entropy - share * doubt
                log_ratio = one.reference[t] - log_prob
                divergence = divergence + share * (torch.exp(log_ratio) - 1 - log_ratio)
        terms = {"policy": policy / count, "value": value / count, "entropy": entropy / count}
        terms["KL in loss"] = divergence / count
        terms["total"] = (
            terms["policy"]
            + update.value_coefficient * terms["value"]
            + update.entropy_coefficient * terms["entropy"]
            + kl.loss_coefficient * terms["KL in loss"]
        )
        return terms  # pyright: ignore[reportReturnType]

    def parameters(self) -> list[Tensor]:
        return [*self.policy.parameters(), *(p for p in (self.weight, self.bias) if p is not None)]

    def learn(self, batches: list[list[Plain]], rate: float) -> list[dict[str, float]]:
        """A step of Adam for each minibatch, with the gradient's norm held."""
        wish = self.settings.optimiser
        beta1, beta2 = wish.betas
        first = [torch.zeros_like(p) for p in self.parameters()]
        second = [torch.zeros_like(p) for p in self.parameters()]
        told: list[dict[str, float]] = []
        for step, batch in enumerate(batches, 1):
            terms = self.loss(batch)
            gradients = torch.autograd.grad(terms["total"], self.parameters())
            norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
            shrink = min(1.0, wish.max_grad_norm / (norm + 1e-6))
            with torch.no_grad():
                for p, g, m, v in zip(self.parameters(), gradients, first, second, strict=True):
                    g = g * shrink
                    m.mul_(beta1).add_(g * (1 - beta1))
                    v.mul_(beta2).add_(g * g * (1 - beta2))
                    p -= rate * (m / (1 - beta1**step)) / ((v / (1 - beta2**step)).sqrt() + wish.epsilon)
            told.append({**{name: float(value.detach()) for name, value in terms.items()}, "norm": norm})
        return told
