"""Policy, reference and critic: which weights they are in each layout, and what each computes.

    adapters             one frozen base; adapter "policy", value head on its trunk; reference = the base, adapters off
    adapters-own-critic  the same, the critic being the adapter "value"
    shared               full fine-tuning, value head on the policy's trunk; the reference is a frozen copy
    separate             policy and critic are two models; the reference is a frozen copy

The *reference* is the model at the start of the run, or the one that the setting `reference` names. It is not the *old
policy* of PPO's ratio, which is the policy at the beginning of the iteration and is kept only as the log-probs of each
sample.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steersman.batches import TokenBatch
from steersman.models.acting import acting_as
from steersman.models.backbone import Backbone
from steersman.models.heads import ValueHead

Flat = Float[Tensor, " targets"]


@runtime_checkable
class Actors(Protocol):
    """What PPO needs of its models. All results are flat over the batch's targets, row by row."""

    def policy(
        self, batch: TokenBatch, *, temperature: float, with_entropy: bool
    ) -> tuple[Flat, Flat | None, Flat | None]:
        """Log-probs of the targets, entropies if asked for, and values of the states before them if there is a
        critic."""
        ...

    def reference(self, batch: TokenBatch, *, temperature: float) -> Flat: ...

    def exact_kl(self, batch: TokenBatch, *, temperature: float, top_k: int | None) -> Flat:
        """KL of policy from reference at each target: over the vocabulary, or over the reference's top k and the
        rest."""
        ...

    def pretraining(self, batch: TokenBatch) -> Flat:
        """Log-probs of the targets of ordinary text, at temperature 1."""
        ...


@runtime_checkable
class Critic(Protocol):
    """Actors that can compute values alone, where the engine knows the policy's log-probs and entropies."""

    @property
    def values_on_the_policys_trunk(self) -> bool:
        """Whether the engine, which runs the policy, can compute them too."""
        ...

    def values(self, batch: TokenBatch) -> Flat | None:
        """The value of the state before each target; None where there is no critic."""
        ...


@runtime_checkable
class CriticApart(Protocol):
    """Actors whose critic has trained weights of its own, so that policy and critic can run one after the other."""

    @property
    def critic_apart(self) -> bool: ...

    def policy_log_probs(
        self, batch: TokenBatch, *, temperature: float, with_entropy: bool
    ) -> tuple[Flat, Flat | None]:
        """Log-probs and entropies of the targets; no values."""
        ...

    def values(self, batch: TokenBatch) -> Flat | None: ...


@runtime_checkable
class CanHoldPolicy(Protocol):
    """Actors whose policy can be held while the critic learns."""

    policy_held: bool


class ModelActors(nn.Module):
    """Actors made of Hugging Face models. With `critic` None the value head is on the policy's trunk (or on the adapter
    `value_adapter` of the same base); with `value_head` None there is no critic; with `frozen` None the reference is
    the base with its adapters off."""

    def __init__(
        self,
        backbone: Backbone,
        value_head: ValueHead | None,
        *,
        policy_adapter: str | None,
        value_adapter: str | None,
        critic: Backbone | None,
        frozen: Backbone | None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.value_head = value_head
        self.critic = critic
        self.frozen = frozen
        self.policy_adapter = policy_adapter
        self.value_adapter = value_adapter
        self.policy_held = False
        """Whether the policy's weights get no gradient, because only the critic learns."""
        self.sharded = False
        """Whether the weights are sharded over processes: then a step is one forward pass of all models together."""

    def policy(
        self, batch: TokenBatch, *, temperature: float, with_entropy: bool
    ) -> tuple[Flat, Flat | None, Flat | None]:
        with self._learning_policy():
            with self._as(self.policy_adapter):
                states = self.backbone.target_states(batch)
            log_probs, entropies = self.backbone.log_probs_of(
                states, batch, temperature=temperature, with_entropy=with_entropy
            )
        if self.value_head is None:
            return log_probs, entropies, None
        if not self.values_on_the_policys_trunk:
            return log_probs, entropies, self.values(batch)
        return log_probs, entropies, self.value_head(states)

    def policy_log_probs(
        self, batch: TokenBatch, *, temperature: float, with_entropy: bool
    ) -> tuple[Flat, Flat | None]:
        with self._learning_policy(), self._as(self.policy_adapter):
            return self.backbone.log_probs(batch, temperature=temperature, with_entropy=with_entropy)

    @property
    def critic_apart(self) -> bool:
        return self.value_head is not None and not self.values_on_the_policys_trunk and not self.sharded

    @property
    def values_on_the_policys_trunk(self) -> bool:
        return self.value_head is not None and self.critic is None and self.value_adapter is None

    def values(self, batch: TokenBatch) -> Flat | None:
        if self.value_head is None:
            return None
        critic = self.backbone if self.critic is None else self.critic
        adapter = self.policy_adapter if self.value_adapter is None else self.value_adapter
        with nullcontext() if self.critic is not None else self._as(adapter):
            return self.value_head(critic.target_states(batch))

    def reference(self, batch: TokenBatch, *, temperature: float) -> Flat:
        if self.frozen is not None:
            return self.frozen.log_probs(batch, temperature=temperature)[0]
        with self._as(None):
            return self.backbone.log_probs(batch, temperature=temperature)[0]

    def exact_kl(self, batch: TokenBatch, *, temperature: float, top_k: int | None) -> Flat:
        with self._as(self.policy_adapter):
            hidden = self.backbone.hidden(batch, batch.needed_positions)
        if self.frozen is not None:
            there = self.frozen.hidden(batch, batch.needed_positions)
            return self.backbone.kl_from(hidden, self.frozen, there, batch, temperature=temperature, top_k=top_k)
        with self._as(None):
            there = self.backbone.hidden(batch, batch.needed_positions)
        return self.backbone.kl_from(hidden, self.backbone, there, batch, temperature=temperature, top_k=top_k)

    def pretraining(self, batch: TokenBatch) -> Flat:
        with self._as(self.policy_adapter):
            return self.backbone.log_probs(batch)[0]

    def _learning_policy(self) -> AbstractContextManager[object]:
        return torch.no_grad() if self.policy_held else nullcontext()

    def _as(self, adapter: str | None) -> AbstractContextManager[object]:
        return nullcontext() if self.policy_adapter is None else acting_as(self.backbone, adapter)
