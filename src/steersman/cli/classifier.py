"""`steersman classifier`: train a text classifier, for toxicity for instance, on labelled texts."""

from typing import Annotated

import typer

from steersman.cli.command import Json, Profile, Seeds, Words, gather
from steersman.settings.classifier import ClassifierSettings

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
    out: Annotated[str | None, typer.Option(help="Run folder. The same command with the same folder resumes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of data order and of the new output layer.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    profile: Profile = None,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """Train a classifier of two classes (`not toxic` and `toxic`), as a metric of `evaluate` or a scorer of `ppo`."""
    options = {
        "model.path": model,
        "data.source": data,
        "positive": positive or None,
        "run.out": out,
        "run.seed": seed,
        "run.device": device,
        "run.profile": profile,
    }
    settings = gather(ClassifierSettings, words, options)
    from steersman.assemble.classifier import run_classifier
    from steersman.cli.repeat import run_and_say

    run_and_say(run_classifier, settings, seeds=seeds, as_json=json)
