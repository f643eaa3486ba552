"""`steersman dpo`: train on preferences directly, without a reward model."""

from typing import Annotated

import typer

from steersman.cli.command import Json, Profile, Seeds, Words, gather
from steersman.settings.dpo import DpoSettings

EXAMPLE = "Example: steersman dpo --model runs/sft --data judgements.jsonl --out runs/dpo beta=0.1 loss=ipo"


def dpo(
    words: Words = None,
    model: Annotated[
        str | None, typer.Option(help="The initial policy, also the reference: usually a fine-tuned model or its run.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Comparisons, rankings or thumbs: a file, a folder, a hub id or a named source.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Run folder. The same command with the same folder resumes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of data order and adapters.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    profile: Profile = None,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Train on preferences with loss=dpo, robust, ipo, hinge, simpo, orpo or kto. Full or LoRA (model.lora.rank=16)."""
    options = {
        "model.path": model,
        "data.source": data,
        "run.out": out,
        "run.seed": seed,
        "run.device": device,
        "run.profile": profile,
    }
    settings = gather(DpoSettings, words, options)
    from steersman.assemble.dpo import run_dpo
    from steersman.cli.repeat import run_and_say

    run_and_say(run_dpo, settings, seeds=seeds, as_json=json)
