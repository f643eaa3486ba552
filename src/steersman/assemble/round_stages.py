"""The stages that only recipes of rounds have: prompts, label, promote. All others are those of `assemble.stages`."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from steersman.assemble.stages import Stage, stage_of
from steersman.settings.base import Settings
from steersman.settings.round_stages import LabelStageSettings, PromoteSettings, PromptsStageSettings


@dataclass(frozen=True, slots=True)
class RoundStage:
    """One of them: its settings, whether it leaves a file or a folder, and its runner; see `assemble.stages.Stage`."""

    command: str
    schema: type[Settings]
    leaves: Literal["run", "file"]
    runner: str
    version: int = 1

    def run(self, settings: Settings, **more: Any) -> Any:
        module, _, name = self.runner.partition(":")
        runner: Callable[..., Any] = getattr(import_module(module), name)
        return runner(settings, **more)


_A = "steersman.assemble"
ROUND_STAGES = {
    stage.command: stage
    for stage in (
        RoundStage("prompts", PromptsStageSettings, "file", f"{_A}.round_prompts:run_prompts"),
        RoundStage("label", LabelStageSettings, "file", f"{_A}.round_labels:run_label"),
        RoundStage("promote", PromoteSettings, "run", f"{_A}.promote:run_promote"),
    )
}


def find_stage(command: str) -> "Stage | RoundStage":
    """The stage of this name that a recipe of stages may have."""
    return ROUND_STAGES[command] if command in ROUND_STAGES else stage_of(command)
