"""`steersman model`: a new model from scratch."""

from pathlib import Path
from typing import Annotated

import typer

from steersman.cli.command import Json, say
from steersman.cli.recipes import Recipe
from steersman.runs.commands import command_line

app = typer.Typer(no_args_is_help=True, help="Make a model from scratch, of a known family and a given size.")


@app.callback()
def model() -> None:
    """Make a model from scratch, of a known family and a given size."""


@app.command(
    "new",
    epilog="Example: steersman model new --like llama --parameters 10M --tokeniser-from texts.jsonl --out models/mine",
)
def new_command(
    out: Annotated[Path, typer.Option(help="The new folder. Nothing is overwritten.")],
    tokeniser_from: Annotated[
        str,
        typer.Option(
            help="Rows to train the tokeniser on (a file, a folder, a hub id or a named source), or a model folder."
        ),
    ],
    like: Annotated[
        str, typer.Option(help="The family: llama, qwen3, gemma3, mistral, phi3, gpt2, gpt_neox or opt.")
    ] = "llama",
    parameters: Annotated[str, typer.Option(help="Its size: 300k, 10M, 1.5B. Width and depth follow from it.")] = "10M",
    vocabulary: Annotated[int, typer.Option(help="Tokens of the tokeniser, at most.")] = 8192,
    context: Annotated[int, typer.Option(min=8, help="Longest input, in tokens.")] = 1024,
    rows: Annotated[int, typer.Option(min=1, help="Train the tokeniser on at most this many rows.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the weights.")] = 0,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Write a model with random weights as a Hugging Face folder, with tokeniser and chat template, and reopen it in
    plain transformers. `steersman sft` trains it."""
    from steersman.assemble.new_model import NewModelOptions, run_new_model

    done = run_new_model(out, NewModelOptions(like, parameters, tokeniser_from, vocabulary, context, seed, rows))
    trained = f"trained on {done.tokeniser_rows:,} rows" if done.tokeniser_rows else "taken from the model"
    lines = [
        f"{done.folder}: {done.like} with {done.parameters:,} parameters ({done.layers} layers of width {done.hidden})",
        f"  tokeniser of {done.vocabulary:,} tokens, {trained}; context {done.context:,}",
        f"  next: {command_line('sft', '--model', done.folder, '--data', tokeniser_from, '--out', 'runs/sft')}",
    ]
    say(done.as_dict(), as_json=json, lines=lines)
