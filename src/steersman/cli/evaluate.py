"""`steersman evaluate`: metrics of models' answers to the same prompts, with confidence intervals."""

import re
from typing import Annotated

import typer

from steersman.cli.command import Json, Words, gather, say
from steersman.errors import UsageError
from steersman.settings.evaluate import EvaluateSettings

EXAMPLE = (
    "Example: steersman evaluate --model before=runs/sft --model after=runs/ppo --prompts prompts.jsonl "
    "--scorer runs/reward --toxicity runs/classifier --out runs/evaluation"
)


Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="name=folder, or a folder, a run, a checkpoint, an adapter, a hub id or harbour:base. The first is the "
        "baseline.",
    ),
]
Checkpoints = Annotated[
    list[str] | None,
    typer.Option(
        "--checkpoints", help="A run: evaluate all its checkpoints, to find where more optimisation stops helping."
    ),
]
Scorers = Annotated[
    list[str] | None,
    typer.Option(
        "--scorer",
        help="name=scorer, or a scorer: a reward model, file.py:function, https://…, verify:numeric, harbour:taste.",
    ),
]
Toxicity = Annotated[str | None, typer.Option(help="A classifier with a toxic class, such as runs/classifier.")]
Reference = Annotated[str | None, typer.Option(help="The reference of KL and perplexity; the baseline if not given.")]
Judged = Annotated[str | None, typer.Option(help="Human comparisons of the models' answers, for win rates.")]
Out = Annotated[str | None, typer.Option(help="The result folder. The same command continues where it stopped.")]


def evaluate(
    words: Words = None,
    models: Models = None,
    checkpoints: Checkpoints = None,
    prompts: Annotated[str | None, typer.Option(help="Prompts, or records with prompts.")] = None,
    scorers: Scorers = None,
    toxicity: Toxicity = None,
    reference: Reference = None,
    judged: Judged = None,
    corpus: Annotated[str | None, typer.Option(help="Held-out texts, for perplexity.")] = None,
    choices: Annotated[str | None, typer.Option(help="Multiple-choice questions.")] = None,
    answers: Annotated[int | None, typer.Option(help="Answers per model and prompt.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use at most this many prompts.")] = None,
    out: Out = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answers.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    json: Json = False,
) -> None:
    """Compare models on the same prompts: scores, KL, length and repetition, toxicity, win rates, perplexity and
    knowledge. Each number has a 95 % interval. Prints a table and writes a folder."""
    options = {
        **{f"models.{name}": place for name, place in named(models or [], "model").items()},
        **{f"scorers.{name}.path": place for name, place in named(scorers or [], "scorer").items()},
        "checkpoints": checkpoints or None,
        "prompts.source": prompts,
        "prompts.limit": limit,
        "toxicity.path": toxicity,
        "reference": reference,
        "judged.source": judged,
        "corpus.source": corpus,
        "choices.source": choices,
        "drawing.answers": answers,
        "run.out": out,
        "run.seed": seed,
        "run.device": device,
    }
    settings = gather(EvaluateSettings, words, options)
    from steersman.assemble.evaluate import run_evaluate
    from steersman.evaluate.results_table import show_results

    found = run_evaluate(settings, quiet=json)
    if json:
        return say(found.as_dict(), as_json=True, lines=[])
    return show_results(found)


def named(options: list[str], what: str) -> dict[str, str]:
    """Places by name, from `name=place`, or from a place whose last part becomes the name. Names must differ."""
    found: dict[str, str] = {}
    for text in options:
        name, equals, place = text.partition("=")
        if not equals or not re.fullmatch(r"[\w-]+", name):
            name, place = name_of(text), text
        if name in found:
            raise UsageError(f"two of --{what} have the name {name!r}; choose other names: --{what} NAME={place}")
        found[name] = place
    return found


def name_of(place: str) -> str:
    """The default name of a place: runs/ppo is ppo, runs/ppo/checkpoints/step-000040 is ppo-step-000040,
    mine.py:kindness is kindness."""
    parts = [part for part in re.split(r"[/\\]", place.rstrip("/")) if part]
    last = parts[-1] if parts else place
    if len(parts) > 2 and parts[-2] == "checkpoints":
        last = f"{parts[-3]}-{last}"
    elif len(parts) > 1 and last == "model":
        last = parts[-2]
    if ":" in last and not last.endswith(":"):
        last = last.rpartition(":")[2]
    return re.sub(r"[^\w-]+", "-", last).strip("-") or "model"
