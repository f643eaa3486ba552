"""`steersman ppo`: optimise a policy against a reward with PPO. `steersman rloo` shares the options."""

from typing import Annotated

import typer

from steersman.cli.command import Json, Profile, Seeds, Words, gather
from steersman.settings.ppo import PpoSettings

EXAMPLE = (
    "Example: steersman ppo --model runs/sft --scorer runs/reward --prompts prompts.jsonl --out runs/ppo "
    "kl.coefficient=0.05"
)

Model = Annotated[str | None, typer.Option(help="The initial policy, which is also the reference.")]
Scorer = Annotated[
    str | None, typer.Option(help="A reward model or run, a classifier, file.py:function, https://… or verify:numeric.")
]
Prompts = Annotated[str | None, typer.Option(help="Prompts: a file, a folder, a hub id or a named source.")]
Out = Annotated[str | None, typer.Option(help="Run folder. The same command with the same folder resumes.")]
Seed = Annotated[int | None, typer.Option(help="Seed of sampling and prompt order.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")]


def ppo(
    words: Words = None,
    model: Model = None,
    scorer: Scorer = None,
    prompts: Prompts = None,
    out: Out = None,
    seed: Seed = None,
    device: Device = None,
    profile: Profile = None,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """PPO: sample answers, score them, compute advantages with a critic, and update the policy with a KL penalty from
    the reference."""
    options = options_of(model, scorer, prompts, out, seed, device, profile)
    improve(gather(PpoSettings, words, options), seeds=seeds, as_json=json)


def options_of(
    model: str | None,
    scorer: str | None,
    prompts: str | None,
    out: str | None,
    seed: int | None,
    device: str | None,
    profile: int | None,
) -> dict[str, object]:
    """The settings that the options set, by dotted name."""
    return {
        "model.path": model,
        "scorer.path": scorer,
        "prompts.source": prompts,
        "run.out": out,
        "run.seed": seed,
        "run.device": device,
        "run.profile": profile,
    }


def improve(settings: PpoSettings, *, seeds: int, as_json: bool) -> None:
    from steersman.assemble.ppo.run import run_ppo
    from steersman.cli.repeat import run_and_say

    run_and_say(run_ppo, settings, seeds=seeds, as_json=as_json)
