"""`steersman plan`: estimate a run's memory and time before anything is loaded."""

from typing import Annotated

import typer

from steersman.assemble.stages import STAGES
from steersman.cli.command import Json, Words, gather, say
from steersman.errors import UsageError
from steersman.settings.dpo import DpoSettings
from steersman.settings.ppo import PpoSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.sft import SftSettings

EXAMPLE = "Example: steersman plan ppo --model runs/sft --scorer runs/reward --memory 16GB layout=separate"

SCHEMAS = {stage.command: stage.schema for stage in STAGES.values() if stage.forecast is not None}


def plan(
    method: Annotated[str, typer.Argument(help="ppo, rloo, sft, reward or dpo.")],
    words: Words = None,
    model: Annotated[str | None, typer.Option(help="The model to train.")] = None,
    scorer: Annotated[str | None, typer.Option(help="For ppo and rloo: the scorer.")] = None,
    memory: Annotated[
        str | None, typer.Option(help="Available memory, such as 24GB; this machine's free memory if not given.")
    ] = None,
    prompt: Annotated[
        int | None, typer.Option(min=1, help="Typical prompt length in tokens; the maximum if not given.")
    ] = None,
    answer: Annotated[int | None, typer.Option(min=1, help="Typical answer length; likewise.")] = None,
    row: Annotated[
        int | None, typer.Option(min=1, help="For sft, reward and dpo: typical row length; likewise.")
    ] = None,
    json: Json = False,
) -> None:
    """Estimate memory by purpose, seconds per step, and which layouts fit, from config.json and safetensors headers
    alone."""
    if method not in SCHEMAS:
        raise UsageError(f"there is no plan for {method!r}; expected one of {', '.join(SCHEMAS)}")
    settings = gather(SCHEMAS[method], words, _options(method, model, scorer))
    from steersman.assemble.plan import plan_ppo, plan_supervised
    from steersman.costs.forecast import TypicalLengths
    from steersman.execution.capacity import memory_there

    lengths, there = TypicalLengths(prompt, answer, row), memory_there(memory)
    if isinstance(settings, PpoSettings):
        found = plan_ppo(settings, lengths, there, memory_said=memory is not None)
    elif isinstance(settings, SftSettings | RewardSettings | DpoSettings):
        found = plan_supervised(settings, lengths, there, memory_said=memory is not None)
    else:
        raise AssertionError(method)
    lines = [f"{found.method} of {found.shape.name}: {found.shape.parameters:,} parameters; {found.words}"]
    if found.device == "cuda" and memory is not None:
        lines.append("planned for a GPU of this memory; to plan for a CPU: run.device=cpu")
    lines += [f"micro-batches of up to {found.chosen.micro_batch:,} tokens (tokens_per_micro_batch)", ""]
    lines += [
        f"  {role.replace('_', ' '):<12} {_gb(size)}" for role, size in found.chosen.memory.rows().items() if size
    ]
    lines += [f"  {'total':<12} {_gb(found.chosen.memory.total)}, without the imported libraries"]
    if found.chosen.parked:
        lines.append(f"  {'offloaded':<12} {_gb(found.chosen.parked)} in CPU memory (compute.offload)")
    elif isinstance(settings, PpoSettings) and settings.compute.offload:
        lines.append("  compute.offload has no effect on a CPU; to plan for a GPU, give its memory: --memory 24GB")
    lines.append("")
    for one in found.forecasts:
        mark = "→" if one.chosen else " "
        fits = "fits" if one.fits(there) else "does not fit"
        seconds = "" if one.seconds is None else f"  {one.seconds:8.2f} s"
        lines.append(f"{mark} {one.name:<52} {_gb(one.memory.total)}{seconds}  {fits}")
    lines += ["", f"available memory: {_gb(there)}"]
    say(found.as_dict(), as_json=json, lines=lines)


def _options(method: str, model: str | None, scorer: str | None) -> dict[str, object]:
    """The options, with placeholders for settings that a run requires and a plan does not use (folder and data)."""
    needed: dict[str, object] = {"model.path": model, "run.out": "runs/plan"}
    if STAGES[method].forecast == "ppo":
        return {**needed, "scorer.path": scorer, "prompts.source": "prompts.jsonl"}
    return {**needed, "data.source": "data.jsonl"}


def _gb(size: int | float) -> str:
    return f"{size / 1e9:7.3f} GB"
