"""`steersman sft`: supervised fine-tuning on demonstrations."""

from typing import Annotated

import typer

from steersman.cli.command import Json, Profile, Seeds, Words, gather
from steersman.settings.sft import SftSettings

EXAMPLE = "Example: steersman sft --model harbour:base --data harbour:demonstrations --out runs/sft train.epochs=2"


def sft(
    words: Words = None,
    model: Annotated[
        str | None, typer.Option(help="Model to fine-tune: a folder, a hub id, harbour:base or tiny:llama.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Demonstrations: a file, a folder, a hub id or a named source.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Run folder. The same command with the same folder resumes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of data order and initialisation.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    profile: Profile = None,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Fine-tune a language model on demonstrations: full, LoRA (model.lora.rank=16) or QLoRA (model.quantise=4bit)."""
    options = {
        "model.path": model,
        "data.source": data,
        "run.out": out,
        "run.seed": seed,
        "run.device": device,
        "run.profile": profile,
    }
    settings = gather(SftSettings, words, options)
    from steersman.assemble.sft import run_sft
    from steersman.cli.repeat import run_and_say

    run_and_say(run_sft, settings, seeds=seeds, as_json=json)
