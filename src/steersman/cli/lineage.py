"""`steersman lineage`: what an artefact was made from, what was made from it, and whether it can be made again."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from steersman.cli.command import Json, say
from steersman.cli.recipes import Recipe
from steersman.lineage.inputs import content_at
from steersman.lineage.records import made_at
from steersman.lineage.walk import ancestors_of, artefact_named, descendants_of, lines_down, lines_up
from steersman.printing import tell
from steersman.runs.commands import command_line


class _ShowsByDefault(TyperGroup):
    """`steersman lineage ARTEFACT` is `steersman lineage show ARTEFACT`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {*self.commands, "--help", "-h"}
        return super().parse_args(ctx, args if not args or args[0] in known else ["show", *args])


app = typer.Typer(
    cls=_ShowsByDefault,
    no_args_is_help=True,
    help="What a run, a model or a file was made from, and what was made from it; by hash.",
)
Artefact = Annotated[
    str, typer.Argument(metavar="ARTEFACT", help="A run, a model's folder, or a file that a command has written.")
]


@app.command(epilog="Example: steersman lineage show runs/ppo --under runs")
def show(
    artefact: Artefact,
    under: Annotated[
        Path | None,
        typer.Option(help="Search this folder for what was made from it. Default: the folder that it is in."),
    ] = None,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Show what an artefact was made from, up to the first data and models, and what was made from it. `steersman
    lineage ARTEFACT` is the same."""
    path = artefact_named(artefact)
    made, content = made_at(path), content_at(path)
    up, down = ancestors_of(path), descendants_of(path, under or path.absolute().parent)
    kind = "" if made is None else made.kind
    lines = [f"{path}{f' ({kind})' if kind else ''}{f', hash {content[:12]}' if content else ''}"]
    lines += ["made from:", *lines_up(up)] if up else ["  nothing is recorded of what it was made from"]
    lines += ["used for:", *lines_down(down)] if down else []
    plain = {"path": str(path), "kind": kind, "content": content}
    plain |= {"ancestors": [one.as_dict() for one in up], "descendants": [one.as_dict() for one in down]}
    say(plain, as_json=json, lines=lines)


@app.command(epilog="Example: steersman lineage rebuild runs/reward --out runs/reward-again")
def rebuild(
    artefact: Artefact,
    out: Annotated[str, typer.Option(help="The folder, or the file, to rebuild into; it must not be there.")],
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Make an artefact again from its recipe, in another place, and say whether the bytes are the same. The exit code
    is 1 if they are not."""
    from steersman.assemble.rebuild import rebuild as make_again

    found = make_again(artefact, out, quiet=json)
    lines = [f"{found.path} ({found.kind}) is rebuilt in {found.out}: "]
    if found.identical:
        lines[0] += f"the same bytes, in {len(found.same)} files"
    else:
        lines[0] += f"{len(found.differing)} of {len(found.same) + len(found.differing)} files differ"
        lines += [f"  {name}" for name in found.differing[:20]]
    lines.append(f"  next: {command_line('lineage', 'show', found.out)}")
    say(found.as_dict(), as_json=json, lines=lines)
    if not found.identical:
        tell("steersman: another version of a library, processor or number of threads changes the last bits")
        raise typer.Exit(1)
