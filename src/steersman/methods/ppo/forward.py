"""Log-probs, KL, entropies and values of each sampled token, from policy, reference and critic.

An engine that samples with the trained weights themselves knows log-probs, entropies and values already, so they are
not computed again: only the reference runs, and a critic with weights of its own. This is checked: in every iteration
all models run over a few samples, and if the numbers differ by more than rounding, they run over all samples.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from steersman.batches import TokenBatch, TokenRow
from steersman.maths.kl import k1, k2, k3
from steersman.methods.ppo.records import Sample
from steersman.methods.ppo.roles import Actors, Critic
from steersman.parallel.world import World
from steersman.settings.shaping import KlSettings
from steersman.train.plan import micro_batches, split_over_ranks

# One sample in so many is checked.
CHECKED_SHARE = 16
# Mean difference that is rounding (float32): absolute for log-probs and entropies, relative for values.
SAME = 1e-4


@dataclass(frozen=True)
class ForwardSetup:
    """How forward passes over samples are run: padding, micro-batches, precision, temperature, and processes."""

    temperature: float
    token_budget: int
    pad: Callable[[Sequence[TokenRow]], TokenBatch]
    precision: Callable[[], AbstractContextManager[object]]
    world: World
    unpadded: bool = False
    """Whether the models skip padding: then only real tokens count towards the token budget."""
    on_device: Callable[[], AbstractContextManager[object]] = nullcontext
    """Context manager that moves offloaded models to the device."""


@dataclass(frozen=True, slots=True)
class TokenQuantities:
    """The quantities of one sample's answer tokens; `values` is None without a critic."""

    old_log_probs: Tensor
    reference_log_probs: Tensor
    kl: Tensor
    entropies: Tensor
    values: Tensor | None
    taken_from_engine: bool


def token_quantities(
    samples: Sequence[Sample], actors: Actors, forward: ForwardSetup, kl: KlSettings
) -> list[TokenQuantities]:
    """Old log-probs, reference log-probs, KL estimates, entropies and values of each sample's answer tokens."""
    with forward.on_device():
        return _quantities(samples, actors, forward, kl)


def _quantities(
    samples: Sequence[Sample], actors: Actors, forward: ForwardSetup, kl: KlSettings
) -> list[TokenQuantities]:
    if not _engine_knows_enough(samples, actors, forward, kl):
        return all_from_models(samples, actors, forward, kl)
    checked = checked_samples(len(samples))
    full = all_from_models([samples[i] for i in checked], actors, forward, kl)
    rest = [i for i in range(len(samples)) if i not in set(checked)]
    if all(_agree(samples[i], one) for i, one in zip(checked, full, strict=True)):
        others = _rest_from_models([samples[i] for i in rest], actors, forward, kl)
    else:
        others = all_from_models([samples[i] for i in rest], actors, forward, kl)
    found = dict(zip([*checked, *rest], [*full, *others], strict=True))
    return [found[i] for i in range(len(samples))]


def checked_samples(count: int) -> list[int]:
    """Which samples are checked: some from every part of the batch."""
    return list(range(0, count, CHECKED_SHARE))


def _engine_knows_enough(samples: Sequence[Sample], actors: Actors, forward: ForwardSetup, kl: KlSettings) -> bool:
    """Whether the engine gave all that is needed. An exact KL needs the policy's hidden states, and sharded models must
    run on all ranks together."""
    if forward.world.size > 1 or kl.estimator not in ("k1", "k2", "k3") or not isinstance(actors, Critic):
        return False
    rollouts = [sample.rollout for sample in samples]
    if actors.values_on_the_policys_trunk and any(one.values is None for one in rollouts):
        return False
    return all(one.entropies is not None for one in rollouts)


def _agree(sample: Sample, read: TokenQuantities) -> bool:
    known = sample.rollout
    assert known.entropies is not None
    pairs = [(read.old_log_probs, known.log_probs, 1.0), (read.entropies, known.entropies, 1.0)]
    if known.values is not None and read.values is not None:
        pairs.append((read.values, known.values, max(1.0, float(read.values.abs().max()))))
    return all(float((one - other).abs().mean()) <= SAME * size for one, other, size in pairs)


def _rest_from_models(
    samples: Sequence[Sample], actors: Actors, forward: ForwardSetup, kl: KlSettings
) -> list[TokenQuantities]:
    """The engine's numbers, and from the models only what the engine cannot know."""
    assert isinstance(actors, Critic)
    own_critic = not actors.values_on_the_policys_trunk

    def ask(batch: TokenBatch) -> list[Tensor]:
        values = actors.values(batch) if own_critic else None
        return [actors.reference(batch, temperature=forward.temperature), *([] if values is None else [values])]

    found: list[TokenQuantities] = []
    for sample, columns in zip(samples, _through(samples, ask, forward), strict=True):
        known, reference = sample.rollout, columns[0]
        assert known.entropies is not None
        values = columns[1] if len(columns) > 1 else known.values
        estimate = ESTIMATES[kl.estimator](known.log_probs, reference)
        found.append(
            TokenQuantities(known.log_probs, reference, estimate, known.entropies, values, taken_from_engine=True)
        )
    return found


def all_from_models(
    samples: Sequence[Sample], actors: Actors, forward: ForwardSetup, kl: KlSettings
) -> list[TokenQuantities]:
    """All quantities from the models, whatever the engine knows."""

    def ask(batch: TokenBatch) -> list[Tensor]:
        log_probs, entropies, values = actors.policy(batch, temperature=forward.temperature, with_entropy=True)
        reference = actors.reference(batch, temperature=forward.temperature)
        estimate = _estimate(actors, batch, log_probs, reference, forward.temperature, kl)
        assert entropies is not None
        return [log_probs, reference, estimate, entropies, *([] if values is None else [values])]

    return [
        TokenQuantities(own[0], own[1], own[2], own[3], own[4] if len(own) > 4 else None, taken_from_engine=False)
        for own in _through(samples, ask, forward)
    ]


def _through(
    samples: Sequence[Sample], ask: Callable[[TokenBatch], Sequence[Tensor]], forward: ForwardSetup
) -> list[tuple[Tensor, ...]]:
    """`ask` gives columns over the targets of a batch; returned is each sample's part of them. All ranks get all
    samples."""
    world = forward.world
    places = {id(sample): i for i, sample in enumerate(samples)}
    groups = micro_batches(
        split_over_ranks(samples, world.size)[world.rank], forward.token_budget, packed=forward.unpadded
    )
    read: list[Sample] = []
    columns: list[Tensor] = []
    kinds = 0
    with torch.no_grad():
        # A rank with fewer micro-batches runs dummy batches, to keep the collectives of sharded models in step.
        for n in range(world.max(len(groups))):
            group = groups[n] if n < len(groups) else [samples[0]]
            batch = forward.pad([sample.row for sample in group])
            with forward.precision():
                together = ask(batch)
            kinds = len(together)
            if n < len(groups):
                read += group
                columns.append(torch.stack([column.float().cpu() for column in together]))
    found: dict[int, tuple[Tensor, ...]] = {}
    mine = torch.cat([torch.zeros(kinds, 0), *columns], dim=1)
    for theirs, quantities in world.exchange(([places[id(sample)] for sample in read], mine)):
        parts = quantities.split([len(samples[i].rollout.ids) for i in theirs], dim=1)
        for i, own in zip(theirs, parts, strict=True):
            found[i] = tuple(own)
    return [found[i] for i in range(len(samples))]


ESTIMATES = {"k1": k1, "k2": k2, "k3": k3}


def _estimate(
    actors: Actors, batch: TokenBatch, log_probs: Tensor, reference: Tensor, temperature: float, kl: KlSettings
) -> Tensor:
    if kl.estimator in ("full", "top_k"):
        return actors.exact_kl(batch, temperature=temperature, top_k=kl.top_k if kl.estimator == "top_k" else None)
    return ESTIMATES[kl.estimator](log_probs, reference)
