"""`steersman doctor`: check whether this machine can train."""

from pathlib import Path
from typing import Annotated

import typer

from steersman.cli.command import Json, say
from steersman.cli.recipes import Recipe

EXAMPLE = "Example: steersman doctor --out runs"


def doctor(
    out: Annotated[Path, typer.Option(help="Folder for runs; its disk is checked.")] = Path("runs"),
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Check Python, libraries, memory, disk, device and kernels, and run three training steps of a tiny model."""
    from steersman.inference.doctor import examine

    findings = examine(out)
    marks = {"good": "✓", "note": "·", "bad": "✗"}
    lines = [f"{marks[finding.verdict]} {finding.name:<14} {finding.words}" for finding in findings]
    fit = all(finding.verdict != "bad" for finding in findings)
    lines.append("ready" if fit else "not ready: fix what is marked ✗")
    say({"ready": fit, "findings": [finding.as_dict() for finding in findings]}, as_json=json, lines=lines)
    if not fit:
        raise typer.Exit(1)
