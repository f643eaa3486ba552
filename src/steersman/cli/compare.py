"""`steersman compare`: answers of two or more models to the same prompts, side by side in the terminal or as a page."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from steersman import printing
from steersman.cli.command import Json, say
from steersman.cli.evaluate import named
from steersman.cli.recipes import Recipe

if TYPE_CHECKING:
    from rich.text import Text

    from steersman.assemble.compare import Compared
    from steersman.pages.word_diff import Stretch

EXAMPLE = (
    "Example: steersman compare --model before=runs/sft --model after=runs/ppo --prompts harbour:prompts/heldout "
    "--html compare.html"
)
STYLES = ("blue underline", "yellow underline")
"""Styles of words that only the first answer has, and of words that only the second one has."""


def compare(
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", help="name=folder, or a folder, a run, a checkpoint, an adapter, a hub id or harbour:base."
        ),
    ] = None,
    prompts: Annotated[str | None, typer.Option(help="Prompts, or records with prompts.")] = None,
    asked: Annotated[list[str] | None, typer.Option("--prompt", help="One prompt, as text.")] = None,
    scorers: Annotated[list[str] | None, typer.Option("--scorer", help="name=scorer, or a scorer.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Use at most this many prompts of the source.")] = 10,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy decoding.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Maximum length of an answer, in tokens.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same answers.")] = 0,
    html: Annotated[
        str | None, typer.Option("--html", "--out", help="Also write the comparison as an HTML page.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is no report of Steersman.")] = False,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Show the answers of two or more models to the same prompts side by side. With two models, differing words are
    marked."""
    places, judges = named(models or [], "model"), named(scorers or [], "scorer")
    from steersman.assemble.compare import check_page, run_compare, write_page
    from steersman.rollout.engine import Sampling

    if html is not None:
        check_page(html, reads=[prompts] if prompts else [], force=force)
    found = run_compare(
        places,
        source=prompts,
        asked=asked or [],
        limit=limit,
        scorers=judges,
        sampling=Sampling(max_new_tokens=max_new_tokens, temperature=temperature),
        seed=seed,
        device=device,
    )
    page = write_page(found, html) if html is not None else None
    if json:
        return say({**found.as_dict(), "page": page}, as_json=True, lines=[])
    show(found)
    if page is not None:
        printing.say(f"page: {page}")
    return None


def show(found: "Compared") -> None:
    """Print the comparison: side by side if each answer gets thirty columns or more, else one below the other."""
    from rich.table import Table
    from rich.text import Text

    from steersman.assemble.compare import sides

    console = printing.console()
    beside = console.width // len(found.models) >= 30
    for i, (prompt, row) in enumerate(zip(found.prompts, found.answers, strict=True)):
        console.print(Text(prompt.shown, style="bold"))
        texts = [_marked(stretches, STYLES[j % 2]) for j, stretches in enumerate(sides(row))]
        for j, text in enumerate(texts):
            numbers = [f"{name} {value:.2f}" for name, value in found.scores_of(i, j).items()]
            numbers += ["cut off"] if row[j].cut_off else []
            if numbers:
                text.append(f"\n{', '.join(numbers)}", style="dim")
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", expand=beside)
        if beside:
            for name in found.models:
                table.add_column(Text(name), ratio=1)
            table.add_row(*texts)
        else:
            table.add_column("", style="dim")
            table.add_column("")
            for name, text in zip(found.models, texts, strict=True):
                table.add_row(Text(name), text)
        console.print(table)
        console.print()
    for scorer in found.scores:
        means = ", ".join(f"{model} {found.mean(scorer, model):.2f}" for model in found.models)
        console.print(Text(f"mean {scorer}: {means}"))


def _marked(stretches: "Sequence[Stretch]", style: str) -> "Text":
    from rich.text import Text

    text = Text()
    for stretch in stretches:
        text.append(stretch.text, style=style if stretch.own else "")
    return text
