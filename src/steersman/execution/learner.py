"""Builds a learner from settings: optimiser, schedule, micro-batches and precision; and collates rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from steersman.batches import AnswerGroup, PairBatch, TokenBatch, TokenRow, pack_rows, pad_groups, pad_rows
from steersman.errors import UsageError
from steersman.execution.context import RunContext
from steersman.maths.schedule import multiplier
from steersman.models.backbone import Backbone
from steersman.parallel.world import World
from steersman.settings.parts import OptimiserSettings
from steersman.train.core import Learner
from steersman.train.objective import Collate
from steersman.train.optim import Optimisation, adamw
from steersman.train.plan import Batching
from steersman.train.precision import Precision, autocast


def learner_of(
    model: nn.Module,
    settings: OptimiserSettings,
    batching: Batching[Any, Any],
    *,
    steps: int,
    world: World,
    precision: Precision,
    notice: Callable[[str], None],
) -> Learner[Any, Any]:
    """A learner with AdamW. Its learning-rate schedule has `steps` steps."""
    half = precision == "bf16"
    unpadded = not batching.packed and any(
        module.skips_padding(half=half) for module in model.modules() if isinstance(module, Backbone)
    )
    return Learner(
        model,
        Optimisation(
            optimiser_of(model, settings, world, learning_rates={}),
            rate_at=lambda step: scheduled(settings, step, steps),
            max_grad_norm=settings.max_grad_norm,
        ),
        replace(batching, unpadded=unpadded),
        world,
        precision=autocast(precision, world.device),
        notice=notice,
    )


def optimiser_of(
    model: nn.Module, settings: OptimiserSettings, world: World, *, learning_rates: Mapping[int, float]
) -> torch.optim.Optimizer:
    """AdamW from the settings; `learning_rates` maps the id() of a parameter to its own learning rate."""
    if settings.states == "8bit" and (world.size > 1 or world.device.type == "mps"):
        seen = f"this one has {world.size} processes" if world.size > 1 else f"this one is on {world.device.type}"
        raise UsageError(
            f"optimiser.states=8bit is for a run in one process on a CPU or a CUDA GPU, and {seen}; leave it out"
        )
    return adamw(
        model,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=settings.betas,
        epsilon=settings.epsilon,
        learning_rates=learning_rates,
        states=settings.states,
    )


def scheduled(settings: OptimiserSettings, step: int, steps: int) -> float:
    """The factor of the learning rate at a step, of `steps` in all."""
    warm_up = settings.warmup if settings.warmup < 1 else int(settings.warmup)
    return multiplier(settings.schedule, step, total_steps=steps, warm_up=warm_up, floor=settings.floor)


@runtime_checkable
class Padded(Protocol):
    """A model whose rows are padded to one length."""

    @property
    def pad_id(self) -> int: ...
    @property
    def context_length(self) -> int | None: ...


def padded_for(run: RunContext, model: Padded, collate: Callable[..., Any]) -> Collate[Any, Any]:
    """`collate` with this model's padding token, this run's padding multiple and its device."""
    return partial(collate, pad_id=model.pad_id, device=run.device, pad_multiple=run.pad_multiple(model.context_length))


def collate_rows(units: Sequence[TokenRow], *, pad_id: int, device: torch.device, pad_multiple: int) -> TokenBatch:
    """Token rows as one padded batch on the device."""
    return pad_rows(units, pad_id=pad_id, pad_multiple=pad_multiple).to(device)


def pack_together(capacity: int, *, pad_id: int, device: torch.device) -> Collate[TokenRow, Any]:
    """A function that packs token rows into rows of `capacity` tokens, or of the longest if that is longer."""

    def collate(units: Sequence[TokenRow]) -> Any:
        widest = max(len(row.ids) for row in units)
        return pack_rows(units, pad_id=pad_id, capacity=max(capacity, widest)).to(device)

    return collate


def collate_groups(units: Sequence[AnswerGroup], *, pad_id: int, device: torch.device, pad_multiple: int) -> PairBatch:
    """Groups of answers as one batch on the device."""
    return pad_groups(units, pad_id=pad_id, pad_multiple=pad_multiple).to(device)
