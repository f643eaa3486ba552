"""`steersman best-of-n`: fine-tune on the best of several sampled answers."""

from typing import Annotated

import typer

from steersman.cli.command import Extend, Json, Profile, Seeds, Words
from steersman.cli.training import Device, Out, Prompts, Scorer, train

EXAMPLE = (
    "Example: steersman best-of-n --model runs/sft --scorer runs/reward --prompts prompts.jsonl --out runs/best-of-n "
    "--n 8"
)


def best_of_n(
    words: Words = None,
    model: Annotated[
        str | None, typer.Option(help="The model that samples the answers and is fine-tuned on the best ones.")
    ] = None,
    scorer: Scorer = None,
    prompts: Prompts = None,
    n: Annotated[int | None, typer.Option(help="Answers per prompt.")] = None,
    out: Out = None,
    seed: Annotated[int | None, typer.Option(help="Seed of sampling and of the order of rows.")] = None,
    device: Device = None,
    profile: Profile = None,
    extend: Extend = None,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Sample and score several answers per prompt and fine-tune the model on the best ones (rejection sampling).
    Reports the mean score of the best and of single answers, and the upper bound of best-of-n's KL."""
    options = {
        "model": model,
        "scorer": scorer,
        "prompts": prompts,
        "n": n,
        "out": out,
        "seed": seed,
        "device": device,
        "profile": profile,
        "extend": extend,
    }
    train("best-of-n", words, options, seeds=seeds, as_json=json)
