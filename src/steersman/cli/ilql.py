"""`steersman ilql`: offline Q-learning (ILQL) from scored or judged answers."""

from typing import Annotated

import typer

from steersman.cli.command import Json, Profile, Seeds, Words, gather
from steersman.settings.ilql import IlqlSettings

EXAMPLE = "Example: steersman ilql --model runs/sft --data scored.jsonl --out runs/ilql beta=4"


def ilql(
    words: Words = None,
    model: Annotated[str | None, typer.Option(help="The initial model: usually a fine-tuned model or its run.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Scored answers, comparisons, rankings, thumbs or steps: a file, a folder, a hub id or a named source."
        ),
    ] = None,
    reward: Annotated[
        str | None, typer.Option(help="The name of the score that is the reward, if answers have several.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Run folder. The same command with the same folder resumes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of data order, adapters and heads.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    profile: Profile = None,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Train Q heads on existing answers (ILQL). Decoding then adds beta * (Q - V) to the logits; `sample` and `chat`
    can override beta (q_beta). Full or LoRA (model.lora.rank=16)."""
    options = {
        "model.path": model,
        "data.source": data,
        "reward": reward,
        "run.out": out,
        "run.seed": seed,
        "run.device": device,
        "run.profile": profile,
    }
    settings = gather(IlqlSettings, words, options)
    from steersman.assemble.ilql import run_ilql
    from steersman.cli.repeat import run_and_say

    run_and_say(run_ilql, settings, seeds=seeds, as_json=json)
