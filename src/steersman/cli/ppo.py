"""`steersman ppo`: improve a policy against a reward."""

from typing import Annotated

import typer

from steersman.cli.command import Json, Seeds, Words, gather
from steersman.settings.ppo import PpoSettings

EXAMPLE = "Example: steersman ppo --model runs/sft --scorer runs/reward --prompts prompts.jsonl --out runs/ppo kl.coefficient=0.05"


def ppo(
    words: Words = None,
    model: Annotated[
        str | None, typer.Option(help="The policy to begin with; where it begins is the reference.")
    ] = None,
    scorer: Annotated[
        str | None,
        typer.Option(help="A reward model or run, a classifier, file.py:function, https://… or verify:numeric."),
    ] = None,
    prompts: Annotated[str | None, typer.Option(help="Prompts: a file, a folder, a hub id or a named source.")] = None,
    out: Annotated[str | None, typer.Option(help="Run folder. The same command on the same folder resumes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of sampling and of the order of prompts.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """PPO: answers are sampled, scored, compared with what was expected, and made likelier or less likely, near a reference."""
    options = {
        "model.path": model,
        "scorer.path": scorer,
        "prompts.source": prompts,
        "run.out": out,
        "run.seed": seed,
        "run.device": device,
    }
    settings = gather(PpoSettings, words, options)
    from steersman.assemble.ppo import run_ppo
    from steersman.assemble.repeat import run_and_say

    run_and_say(run_ppo, settings, seeds=seeds, as_json=json)
