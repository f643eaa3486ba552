"""`steersman ilql`: Q-learning from answers that are given."""

from typing import Annotated

import typer

from steersman.cli.command import Json, Profile, Seeds, Words, gather
from steersman.settings.ilql import IlqlSettings

EXAMPLE = "Example: steersman ilql --model runs/sft --data scored.jsonl --out runs/ilql beta=4"


def ilql(
    words: Words = None,
    model: Annotated[str | None, typer.Option(help="Where to start: usually a fine-tuned model or its run.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Scored answers, comparisons, rankings, thumbs or steps: a file, a folder, a hub id or a named source."
        ),
    ] = None,
    reward: Annotated[
        str | None, typer.Option(help="Which of the answers' scores is the reward, where they have several.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Run folder. The same command on the same folder resumes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of data order, adapters and heads.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    profile: Profile = None,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Learn what each token is worth from answers that are there (ILQL); answers then lean on it: by beta, or as sample and chat ask
    (q_beta). Whole or LoRA (model.lora.rank=16)."""
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
