"""What the training commands share: their options, and one function that runs a stage of the table with what was given.

`from_rows` and `from_prompts` make the commands that differ only by their stage and their help.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import typer

from steersman.assemble.stages import stage_of
from steersman.cli.command import Extend, Json, Profile, Seeds, Words, gather

Scorer = Annotated[
    str | None, typer.Option(help="A reward model or run, a classifier, file.py:function, https://… or verify:numeric.")
]
Prompts = Annotated[str | None, typer.Option(help="Prompts: a file, a folder, a hub id or a named source.")]
Out = Annotated[str | None, typer.Option(help="Run folder. The same command with the same folder resumes.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")]

SETTING = {
    "model": "model.path",
    "data": "data.source",
    "scorer": "scorer.path",
    "prompts": "prompts.source",
    "out": "run.out",
    "seed": "run.seed",
    "device": "run.device",
    "profile": "run.profile",
    "extend": "run.extend",
}
"""The setting that each option stands for; an option that is not here is a setting by its own name."""


def train(
    command: str, words: Sequence[str] | None, options: Mapping[str, object], *, seeds: int, as_json: bool
) -> None:
    """Run the stage of this name with the settings that were given, and print how it ended."""
    stage = stage_of(command)
    settings = gather(stage.schema, words, {SETTING.get(name, name): value for name, value in options.items()})
    from steersman.cli.repeat import run_and_say

    run_and_say(stage.load_runner(), settings, seeds=seeds, as_json=as_json)


def from_rows(command: str, text: str, *, model_help: str, data_help: str, seed_help: str) -> Callable[..., None]:
    """A command that trains a model on a fixed set of rows."""

    def run(
        words: Words = None,
        model: Annotated[str | None, typer.Option(help=model_help)] = None,
        data: Annotated[str | None, typer.Option(help=data_help)] = None,
        out: Out = None,
        seed: Annotated[int | None, typer.Option(help=seed_help)] = None,
        device: Device = None,
        profile: Profile = None,
        extend: Extend = None,
        seeds: Seeds = 1,
        json: Json = False,
    ) -> None:
        options = {
            "model": model,
            "data": data,
            "out": out,
            "seed": seed,
            "device": device,
            "profile": profile,
            "extend": extend,
        }
        train(command, words, options, seeds=seeds, as_json=json)

    run.__doc__ = text
    return run


def from_prompts(command: str, text: str, *, model_help: str, seed_help: str) -> Callable[..., None]:
    """A command that trains a model on its own answers to prompts, as a scorer rates them."""

    def run(
        words: Words = None,
        model: Annotated[str | None, typer.Option(help=model_help)] = None,
        scorer: Scorer = None,
        prompts: Prompts = None,
        out: Out = None,
        seed: Annotated[int | None, typer.Option(help=seed_help)] = None,
        device: Device = None,
        profile: Profile = None,
        extend: Extend = None,
        seeds: Seeds = 1,
        json: Json = False,
    ) -> None:
        options = {"model": model, "scorer": scorer, "prompts": prompts, "out": out, "seed": seed}
        train(
            command,
            words,
            {**options, "device": device, "profile": profile, "extend": extend},
            seeds=seeds,
            as_json=json,
        )

    run.__doc__ = text
    return run
