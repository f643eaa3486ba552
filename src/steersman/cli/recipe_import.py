"""`steersman recipe import`: a recipe of another library as one of ours."""

from pathlib import Path
from typing import Annotated

import typer

from steersman.cli.command import Json, say
from steersman.cli.recipes import Recipe
from steersman.errors import UsageError

EXAMPLE = "Example: steersman recipe import llama3_lora_sft.yaml --out sft.toml"


def import_recipe(
    file: Annotated[
        Path, typer.Argument(help="YAML of LLaMA-Factory or TRL, or a script that starts OpenRLHF or TRL.")
    ],
    out: Annotated[Path | None, typer.Option(help="The file to write; printed if not given.")] = None,
    method: Annotated[
        str | None, typer.Option(help="The trainer that a configuration of TRL is for, if its names do not say it.")
    ] = None,
    devices: Annotated[int, typer.Option(help="Devices that it ran on: they multiply the batch of one device.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Convert a recipe of another library, and say what has no counterpart here."""
    from steersman.assemble.stages import stage_of
    from steersman.importing.read import as_toml, read_foreign
    from steersman.runs.folder import atomic_write_text
    from steersman.settings.base import check

    found = read_foreign(file, method=method, devices=devices)
    if not found.missing:
        check(stage_of(found.method).schema, found.settings)
    text = as_toml(found, file.name)
    if out is not None:
        if out.exists() and not force:
            raise UsageError(f"{out} exists already; give another name, or --force to overwrite it")
        atomic_write_text(out, text)
    result = {
        "library": found.library,
        "method": found.method,
        "settings": found.settings,
        "remarks": [*found.remarks],
        "without": found.without,
        "missing": [*found.missing],
        "out": None if out is None else str(out),
    }
    give = "".join(f" {name}=…" for name in found.missing)
    lines = [text.rstrip()] if out is None else [f"{out}: a recipe of {found.library} for steersman {found.method}"]
    if out is not None:
        lines += [f"  {remark}" for remark in found.remarks]
        lines += [f"  no counterpart: {name} ({reason})" for name, reason in found.without.items()]
        lines += [f"  missing: {', '.join(found.missing)}"] if found.missing else []
        lines.append(f"  next: steersman {found.method} {out}{give}")
    say(result, as_json=json, lines=lines)
