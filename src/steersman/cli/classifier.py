"""`steersman classifier`: train a text classifier, for toxicity for instance, on labelled texts."""

from typing import Annotated

import typer

from steersman.cli.command import Extend, Json, Profile, Seeds, Words
from steersman.cli.training import Device, Out, train

EXAMPLE = "Example: steersman classifier --data labelled.csv --positive hate --positive offensive --out runs/classifier"


def classifier(
    words: Words = None,
    model: Annotated[
        str | None, typer.Option(help="The initial model: any model folder or hub id; harbour:base if not given.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Texts with a label: a file (text,label), a hub id or a named source.")
    ] = None,
    positive: Annotated[
        list[str] | None, typer.Option(help="A label of the positive class (toxic). Repeatable.")
    ] = None,
    out: Out = None,
    seed: Annotated[int | None, typer.Option(help="Seed of data order and of the new output layer.")] = None,
    device: Device = None,
    profile: Profile = None,
    extend: Extend = None,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Train a classifier of two classes (`not toxic` and `toxic`), as a metric of `evaluate` or a scorer of `ppo`."""
    options = {
        "model": model,
        "data": data,
        "positive": positive or None,
        "out": out,
        "seed": seed,
        "device": device,
        "profile": profile,
        "extend": extend,
    }
    train("classifier", words, options, seeds=seeds, as_json=json)
