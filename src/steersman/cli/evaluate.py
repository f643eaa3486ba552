"""`steersman evaluate`: what models' answers are worth, and what they cost, each number with its interval."""

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
        help="name=folder, or a folder, a run, a checkpoint, an adapter, a hub id or harbour:base. The first is the baseline.",
    ),
]
Checkpoints = Annotated[
    list[str] | None,
    typer.Option(
        "--checkpoints", help="A run: its every checkpoint against its start, where more optimisation stops helping."
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
Reference = Annotated[str | None, typer.Option(help="What KL is measured from; the baseline if not given.")]
Judged = Annotated[str | None, typer.Option(help="People's comparisons of the models' answers, for win rates.")]
Out = Annotated[str | None, typer.Option(help="The result folder. The same command goes on where it stopped.")]


def evaluate(
    words: Words = None,
    models: Models = None,
    checkpoints: Checkpoints = None,
    prompts: Annotated[str | None, typer.Option(help="Prompts, or records that have them.")] = None,
    scorers: Scorers = None,
    toxicity: Toxicity = None,
    reference: Reference = None,
    judged: Judged = None,
    corpus: Annotated[str | None, typer.Option(help="Held-out texts, for perplexity.")] = None,
    choices: Annotated[str | None, typer.Option(help="Multiple-choice questions.")] = None,
    answers: Annotated[int | None, typer.Option(help="Answers to each prompt.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use at most so many prompts.")] = None,
    out: Out = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answers.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    json: Json = False,
) -> None:
    """Models before and after, on the same prompts: scores, distance, words, toxicity, wins, and what they still know; each number
    with its 95 % interval, in a table and in a folder."""
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


def named(given: list[str], what: str) -> dict[str, str]:
    """name=place, or a place whose last part is the name; no two of one name."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, place = text.partition("=")
        if not equals or not re.fullmatch(r"[\w-]+", name):
            name, place = name_of(text), text
        if name in found:
            raise UsageError(f"two of --{what} are called {name!r}; give names of your own: --{what} NAME={place}")
        found[name] = place
    return found


def name_of(place: str) -> str:
    """runs/ppo is ppo, runs/ppo/checkpoints/step-000040 is ppo-step-000040, mine.py:kindness is kindness."""
    parts = [part for part in re.split(r"[/\\]", place.rstrip("/")) if part]
    last = parts[-1] if parts else place
    if len(parts) > 2 and parts[-2] == "checkpoints":
        last = f"{parts[-3]}-{last}"
    elif len(parts) > 1 and last == "model":
        last = parts[-2]
    if ":" in last and not last.endswith(":"):
        last = last.rpartition(":")[2]
    return re.sub(r"[^\w-]+", "-", last).strip("-") or "model"
