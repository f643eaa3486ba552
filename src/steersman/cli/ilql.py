"""`steersman ilql`: offline Q-learning (ILQL) from scored or judged answers."""

from typing import Annotated

import typer

from steersman.cli.command import Extend, Json, Profile, Seeds, Words
from steersman.cli.training import Device, Out, train

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
    out: Out = None,
    seed: Annotated[int | None, typer.Option(help="Seed of data order, adapters and heads.")] = None,
    device: Device = None,
    profile: Profile = None,
    extend: Extend = None,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Train Q heads on existing answers (ILQL). Decoding then adds beta * (Q - V) to the logits; `sample` and `chat`
    can override beta (q_beta). Full or LoRA (model.lora.rank=16)."""
    options = {
        "model": model,
        "data": data,
        "reward": reward,
        "out": out,
        "seed": seed,
        "device": device,
        "profile": profile,
        "extend": extend,
    }
    train("ilql", words, options, seeds=seeds, as_json=json)
