"""What of a run of PPO lies in the processor's memory while it is not needed (`compute.offload`), and when it comes to
the device.

collect                        nothing of it: answers are drawn by the policy alone
score, by the scorer           scorer
score, by the models           reference, critic
update                         critic, optimiser
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
    """Models leave the device as they are handed in."""

    def __init__(
        self, settings: PpoComputeSettings, actors: ModelActors, world: World, notice: Callable[[str], None]
    ) -> None:
        self._wished = settings.offload
        if self._wished and world.size > 1:
            raise UsageError(
                f"compute.offload={','.join(self._wished)} is for a run in one process, and this one has "
                f"{world.size}, which share models "
                "and moments out among themselves; leave compute.offload out"
            )
        self._device = world.device
        self._moves = has_its_own_memory(world.device)
        if self._wished and not self._moves:
            notice(
                f"compute.offload changes nothing on {world.device.type}: the processor's memory is the only one there"
            )
        self._scorer_found = False
        self._moments: list[Offloaded] = []
        self._reference = self._modules("reference", [actors.frozen], frozen=True)
        self._critic = self._modules("critic", [actors.critic], frozen=False)

    def scorer(self, scorer: Scorer) -> Scorer:
        """The scorer with its models parked, if that is wished and it has any."""
        models = models_of(scorer)
        self._scorer_found = self._scorer_found or bool(models)
        parked = self._modules("scorer", models, frozen=True)
        return OffloadedScorer(scorer, parked[0]) if parked else scorer

    def check_scorers(self, name: str) -> None:
        """Once all scorers were handed in: refuse a wish that none of them can fulfil."""
        if "scorer" in self._wished and not self._scorer_found:
            raise UsageError(
                f"compute.offload names the scorer, and {name!r} holds no model on the device that could leave it; "
                "take scorer out of "
                "compute.offload (a scorer written in Python names its models by a method models())"
            )

    def reading(self) -> Callable[[], AbstractContextManager[None]]:
        """What brings the models that read answers to the device."""
        return lambda: _at_hand(*self._reference, *self._critic)

    def learning(self, optimiser: torch.optim.Optimizer) -> Callable[[], AbstractContextManager[None]]:
        """What brings that to the device which an update needs."""
        if self._moves and "optimiser" in self._wished:
            self._moments = [offload_optimiser_state(optimiser, self._device)]
        return lambda: _at_hand(*self._critic, *self._moments)

    def after_resuming(self) -> None:
        """A checkpoint's moments were put on the device."""
        for moments in self._moments:
            moments.to_cpu()

    def _modules(self, name: str, modules: Iterable[nn.Module | None], *, frozen: bool) -> list[Offloaded]:
        """One, if this is wished and there is something that can leave the device, or none."""
        there = [module for module in modules if module is not None]
        if not (there and self._moves and name in self._wished):
            return []
        return [offload_modules(there, self._device, frozen=frozen)]


@contextmanager
def _at_hand(*parked: Offloaded) -> Iterator[None]:
    with ExitStack() as stack:
        for one in parked:
            stack.enter_context(one.on_device())
        yield
