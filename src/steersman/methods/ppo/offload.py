"""Offloading to CPU memory in PPO (`compute.offload`): which models are on the device in which stage.

collect                    none of the offloaded ones: only the policy samples
score, the scorer          scorer
score, forward passes      reference, critic
update                     critic, optimiser state
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import nn

from steersman.errors import UsageError
from steersman.methods.ppo.roles import ModelActors
from steersman.models.offloaded import Offloaded, has_its_own_memory, offload_modules, offload_optimiser_state
from steersman.parallel.world import World
from steersman.reward.offloaded import OffloadedScorer, models_of
from steersman.reward.scorer import Scorer
from steersman.settings.ppo import PpoComputeSettings


class Offload:
    """The offloaded parts of a run. A model is offloaded as soon as it is passed in."""

    def __init__(
        self, settings: PpoComputeSettings, actors: ModelActors, world: World, notice: Callable[[str], None]
    ) -> None:
        self._names = settings.offload
        if self._names and world.size > 1:
            raise UsageError(
                f"compute.offload={','.join(self._names)} is for a run in one process, and this one has {world.size}, "
                "which shard models and optimiser state; leave compute.offload out"
            )
        self._device = world.device
        self._moves = has_its_own_memory(world.device)
        if self._names and not self._moves:
            notice(f"compute.offload changes nothing on {world.device.type}: it has no memory besides the CPU's")
        self._scorer_found = False
        self._moments: list[Offloaded] = []
        self._reference = self._modules("reference", [actors.frozen], frozen=True)
        self._critic = self._modules("critic", [actors.critic], frozen=False)

    def scorer(self, scorer: Scorer) -> Scorer:
        """The scorer with its models offloaded, if the settings say so and it has any."""
        models = models_of(scorer)
        self._scorer_found = self._scorer_found or bool(models)
        offloaded = self._modules("scorer", models, frozen=True)
        return OffloadedScorer(scorer, offloaded[0]) if offloaded else scorer

    def check_scorers(self, name: str) -> None:
        """Raise if the scorer is to be offloaded and none of those passed in has a model."""
        if "scorer" in self._names and not self._scorer_found:
            raise UsageError(
                f"compute.offload names the scorer, and {name!r} holds no model on the device; take scorer out of "
                "compute.offload (a scorer written in Python names its models by a method models())"
            )

    def reading(self) -> Callable[[], AbstractContextManager[None]]:
        """Context manager that moves offloaded reference and critic to the device, for the forward passes of
        scoring."""
        return lambda: _on_device(*self._reference, *self._critic)

    def learning(self, optimiser: torch.optim.Optimizer) -> Callable[[], AbstractContextManager[None]]:
        """Context manager that moves offloaded critic and optimiser state to the device, for an update."""
        if self._moves and "optimiser" in self._names:
            self._moments = [offload_optimiser_state(optimiser, self._device)]
        return lambda: _on_device(*self._critic, *self._moments)

    def after_resuming(self) -> None:
        """Offload the optimiser state again: loading a checkpoint put it on the device."""
        for moments in self._moments:
            moments.to_cpu()

    def _modules(self, name: str, modules: Iterable[nn.Module | None], *, frozen: bool) -> list[Offloaded]:
        """The modules offloaded, if the settings say so and there are any; an empty list otherwise."""
        there = [module for module in modules if module is not None]
        if not (there and self._moves and name in self._names):
            return []
        return [offload_modules(there, self._device, frozen=frozen)]


@contextmanager
def _on_device(*offloaded: Offloaded) -> Iterator[None]:
    with ExitStack() as stack:
        for one in offloaded:
            stack.enter_context(one.on_device())
        yield
