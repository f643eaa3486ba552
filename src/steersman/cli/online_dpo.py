"""`steersman online-dpo`: DPO on pairs of the policy's own answers, ranked by a scorer."""

from typing import Annotated

import typer

from steersman.cli.command import Json, Profile, Seeds, Words, gather
from steersman.settings.dpo import OnlineDpoSettings

EXAMPLE = (
    "Example: steersman online-dpo --model runs/sft --scorer runs/reward --prompts prompts.jsonl --out runs/online-dpo "
    "beta=0.1"
)


def online_dpo(
    words: Words = None,
    model: Annotated[str | None, typer.Option(help="The initial policy, which is also the reference.")] = None,
    scorer: Annotated[
        str | None,
        typer.Option(help="A reward model or run, a classifier, file.py:function, https://… or verify:numeric."),
    ] = None,
    prompts: Annotated[str | None, typer.Option(help="Prompts: a file, a folder, a hub id or a named source.")] = None,
    out: Annotated[str | None, typer.Option(help="Run folder. The same command with the same folder resumes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of sampling and prompt order.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    profile: Profile = None,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Online DPO: sample answers from the policy, let a scorer choose the best and the worst, and train on the pair
    with loss=dpo, ipo, …"""
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
