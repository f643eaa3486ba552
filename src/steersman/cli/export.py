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
    evaluation: Annotated[
        Path | None,
        typer.Option(help="The evaluation for the card's table. Default: one beside the run that measured this model."),
    ] = None,
    push_to_hub: Annotated[
        str | None, typer.Option("--push-to-hub", metavar="ORG/NAME", help="Upload the folder to the hub as well.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Everybody may read it there. It is private otherwise.")] = (
        False
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --push-to-hub: say what would be uploaded, and upload nothing.")
    ] = False,
    json: Json = False,
    recipe: Recipe = None,
) -> None:
    """Write a model as a Hugging Face folder, reopen it in plain transformers, and compare it with its source."""
    from steersman.assemble.export import ExportOptions, PushOptions, run_export

    if adapter not in ("merge", "apart"):
        raise UsageError(f"--adapter {adapter} is unknown; expected merge or apart")
    if push_to_hub is None and (public or dry_run):
        raise UsageError("--public and --dry-run go with --push-to-hub ORG/NAME")
    push = None if push_to_hub is None else PushOptions(push_to_hub, public, dry_run)
    kept = "merge" if adapter == "merge" else "apart"
    done = run_export(model, out, ExportOptions(kept, dtype, base, gguf, card, licence, evaluation, push))
    result = {
        "folder": str(done.folder),
        "kind": done.kind,
        "difference": done.difference.largest,
        "notes": [*done.notes],
        "push": None if done.push is None else done.push.as_dict(),
    }
    lines = [f"{done.folder}: {done.difference.shown}", *(f"  {note}" for note in done.notes)]
    say(result, as_json=json, lines=[*lines, *(done.push.lines if done.push else [])])
