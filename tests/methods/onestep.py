"""One step of the real learner, too small to move anything: its loss and gradients."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from steersman.execution.learner import learner_of
from steersman.parallel.world import World
from steersman.settings.parts import OptimiserSettings
from steersman.train.plan import Batching


@dataclass
class Learned:
    loss: float
    gradients: dict[str, Tensor]


def one_step(model: nn.Module, units: Any, objective: Any, collate: Any, *, budget: int) -> Learned:
    learner = learner_of(
        model,
        OptimiserSettings(learning_rate=1e-300, max_grad_norm=1e9),
        Batching(collate, budget),
        steps=1,
        world=World.alone(),
        precision="fp32",
        notice=print,
    )
    seen: dict[str, Tensor] = {}
    learner.optimiser.register_step_pre_hook(
        lambda *_: seen.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    )
    return Learned(learner.step(units, objective).loss, seen)
