"""PPO's state between iterations: what a checkpoint holds besides weights and optimiser."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from steersman.methods.ppo.held_out import HeldOut
from steersman.methods.ppo.shaping import RunningScale
from steersman.runs.old_names import under_new_names
from steersman.settings.ppo import PpoSettings
from steersman.watch.records import WatchMemory

Ending = Literal["finished", "converged", "KL limit", "stopped by the watch", "stopped"]


@dataclass
class Memory:
    """The loop's state between iterations; saved with every checkpoint."""

    kl_coefficient: float
    iteration: int = 0
    scale: RunningScale = field(default_factory=RunningScale)
    best_value: float | None = None
    """The objective of the best evaluation, at the scale and KL coefficient of the last one."""
    best_iteration: int = 0
    best_held_out: HeldOut | None = None
    measurements_since_best: int = 0
    samples: int = 0
    redrawn: int = 0
    """Prompts drawn so far in place of those whose answers all scored alike (`redraw`)."""
    importance: bool = False
    reported: list[str] = field(default_factory=list[str])
    """Names of the numbers that were already reported as outside their healthy range."""
    held_out: dict[str, float] = field(default_factory=dict[str, float])
    watch: WatchMemory = field(default_factory=WatchMemory)
    ending: Ending = "finished"
    """Why the run ended, if not by its budget: a run killed before its model was written ends the same way again."""

    def warming_up(self, settings: PpoSettings) -> bool:
        """Whether only the critic learns in this iteration."""
        return self.iteration < settings.value_warmup

    def facts(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def of(facts: Mapping[str, Any]) -> "Memory":
        facts = under_new_names(facts)
        scale, watch = RunningScale(**facts["scale"]), WatchMemory(**facts.get("watch", {}))
        best = HeldOut.from_facts(facts.get("best_held_out"))
        return Memory(**{**facts, "scale": scale, "watch": watch, "best_held_out": best})
