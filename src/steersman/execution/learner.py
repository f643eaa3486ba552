"""A learner from settings: optimiser, schedule, micro-batches, precision, and the model sharded over the world's processes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from steersman.batches import AnswerGroup, TokenRow, pack_rows, pad_groups, pad_rows
from steersman.maths.schedule import multiplier
from steersman.models.backbone import Backbone
from steersman.models.compiled import compile_layers
from steersman.parallel.world import World
from steersman.settings.parts import OptimiserSettings
from steersman.train.core import Learner
from steersman.train.objective import Collate
from steersman.train.optim import adamw
from steersman.train.precision import Precision, autocast


def learner_of(
    model: nn.Module,
    optimiser: OptimiserSettings,
    *,
    steps: int,
    collate: Collate[Any, Any],
    packed: bool,
    token_budget: int,
    world: World,
    precision: Precision,
    notice: Callable[[str], None],
    compiled: bool = False,
) -> Learner[Any, Any]:
    if compiled:
        compile_layers([model])
    return Learner(
        model,
        optimiser_of(model, optimiser, learning_rates={}),
        rate_at=lambda step: scheduled(optimiser, step, steps),
        max_grad_norm=optimiser.max_grad_norm,
        token_budget=token_budget,
        packed=packed,
        collate=collate,
        world=world,
        precision=autocast(precision, world.device),
        notice=notice,
        unpadded=not packed
        and any(m.skips_padding(half=precision == "bf16") for m in model.modules() if isinstance(m, Backbone)),
    )


def optimiser_of(
    model: nn.Module, settings: OptimiserSettings, *, learning_rates: Mapping[int, float]
) -> torch.optim.AdamW:
    """AdamW as the settings wish; `learning_rates` are learning learning_rates of their own for some parameters, by id()."""
    return adamw(
        model,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=settings.betas,
        epsilon=settings.epsilon,
        learning_rates=learning_rates,
    )


def scheduled(settings: OptimiserSettings, step: int, steps: int) -> float:
    """What the learning rate is multiplied by at this step of so many."""
    warm_up = settings.warmup if settings.warmup < 1 else int(settings.warmup)
    return multiplier(settings.schedule, step, total_steps=steps, warm_up=warm_up, floor=settings.floor)


def rows_together(
    *, pad_id: int, device: torch.device, packing: int | None, pad_multiple: int
) -> Collate[TokenRow, Any]:
    """Token rows into a batch on the device: padded, or packed into rows of `packing` tokens."""

    def collate(units: Sequence[TokenRow]) -> Any:
        if packing is not None:
            widest = max(len(row.ids) for row in units)
            return pack_rows(units, pad_id=pad_id, capacity=max(packing, widest)).to(device)
        return pad_rows(units, pad_id=pad_id, pad_multiple=pad_multiple).to(device)

    return collate


def groups_together(*, pad_id: int, device: torch.device, pad_multiple: int) -> Collate[AnswerGroup, Any]:
    """Groups of answers into one batch on the device."""
    return lambda units: pad_groups(units, pad_id=pad_id, pad_multiple=pad_multiple).to(device)
