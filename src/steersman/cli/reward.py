"""`steersman reward`: train a reward model on human judgements."""

from typing import Annotated

import typer

from steersman.cli.command import Json, Profile, Seeds, Words, gather
from steersman.settings.reward import RewardSettings

EXAMPLE = "Example: steersman reward --model runs/sft --data judgements.jsonl --out runs/reward members=3"


def reward(
    words: Words = None,
    model: Annotated[
        str | None, typer.Option(help="The initial model: a language model, a run, or a reward model to continue from.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Comparisons, rankings or thumbs: a file, a folder, a hub id or a named source.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Run folder. The same command with the same folder resumes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of data order and of the new reward head.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    profile: Profile = None,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Train a reward model on pairs, graded pairs, ties, rankings or thumbs; one model or an ensemble (members=3)."""
    options = {
        "model.path": model,
        "data.source": data,
        "run.out": out,
        "run.seed": seed,
        "run.device": device,
        "run.profile": profile,
    }
    settings = gather(RewardSettings, words, options)
    from steersman.assemble.reward.run import run_reward
    from steersman.cli.repeat import run_and_say

    run_and_say(run_reward, settings, seeds=seeds, as_json=json)
