"""`steersman online-dpo`: learn from a scorer's judgements of the policy's own answers."""

from typing import Annotated

import typer

from steersman.cli.command import Json, Profile, Seeds, Words, gather
from steersman.settings.dpo import OnlineDpoSettings

EXAMPLE = "Example: steersman online-dpo --model runs/sft --scorer runs/reward --prompts prompts.jsonl --out runs/online-dpo beta=0.1"


def online_dpo(
    words: Words = None,
    model: Annotated[str | None, typer.Option(help="Where to start, and the reference.")] = None,
    scorer: Annotated[
        str | None,
        typer.Option(help="A reward model or run, a classifier, file.py:function, https://… or verify:numeric."),
    ] = None,
    prompts: Annotated[str | None, typer.Option(help="Prompts: a file, a folder, a hub id or a named source.")] = None,
    out: Annotated[str | None, typer.Option(help="Run folder. The same command on the same folder resumes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of sampling and of the order of prompts.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    profile: Profile = None,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Online DPO: the policy answers, a scorer picks the better of two answers, and DPO learns from the pair; loss=dpo, ipo, …"""
    options = {
        "model.path": model,
        "scorer.path": scorer,
        "prompts.source": prompts,
        "run.out": out,
        "run.seed": seed,
        "run.device": device,
        "run.profile": profile,
    }
    settings = gather(OnlineDpoSettings, words, options)
    from steersman.assemble.online_dpo import run_online_dpo
    from steersman.cli.repeat import run_and_say

    run_and_say(run_online_dpo, settings, seeds=seeds, as_json=json)
