"""`steersman export`: a run's model for others: a Hugging Face folder, an adapter, GGUF."""

from pathlib import Path
from typing import Annotated

import typer

from steersman.cli.command import Json, say
from steersman.cli.recipes import Recipe
from steersman.errors import UsageError

EXAMPLE = "Example: steersman export runs/ppo --out exported"


def export(
    model: Annotated[str, typer.Argument(help="A run, a model or adapter folder, a checkpoint, or a reward model.")],
    out: Annotated[Path, typer.Option(help="The new folder. Nothing is overwritten.")],
    adapter: Annotated[
        str, typer.Option(help="merge it into the weights, or leave it apart as a peft folder.")
    ] = "merge",
    base: Annotated[str | None, typer.Option(help="What an adapter's base is called on the hub: ORG/NAME.")] = None,
    dtype: Annotated[str, typer.Option(help="auto (that of the source), float32, bfloat16 or float16.")] = "auto",
    gguf: Annotated[
        bool, typer.Option("--gguf", help="Write model.gguf and a Modelfile, too (Llama-like models).")
    ] = False,
    card: Annotated[bool, typer.Option(help="Write README.md, the model card.")] = True,
    licence: Annotated[
        str | None, typer.Option(help="The licence in the card, as the hub names it: apache-2.0.")
    ] = None,
    json: Json = False,
    recipe: Recipe = None,
) -> None:
    """Write a model as a Hugging Face folder, reopen it in plain transformers, and compare it with its source."""
    from steersman.assemble.export import ExportOptions, run_export

    if adapter not in ("merge", "apart"):
        raise UsageError(f"--adapter {adapter} is unknown; expected merge or apart")
    done = run_export(
        model, out, ExportOptions("merge" if adapter == "merge" else "apart", dtype, base, gguf, card, licence)
    )
    result = {
        "folder": str(done.folder),
        "kind": done.kind,
        "difference": done.difference.largest,
        "notes": [*done.notes],
    }
    lines = [f"{done.folder}: {done.difference.shown}", *(f"  {note}" for note in done.notes)]
    say(result, as_json=json, lines=lines)
