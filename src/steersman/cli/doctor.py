"""`steersman doctor`: is this machine fit to train?"""

from pathlib import Path
from typing import Annotated

import typer

from steersman.cli.command import Json, say

EXAMPLE = "Example: steersman doctor --out runs"


def doctor(
    out: Annotated[Path, typer.Option(help="Where runs will be kept; its disk is looked at.")] = Path("runs"),
    json: Json = False,
) -> None:
    """Look at Python, libraries, memory, disk, device and kernels, and take three training steps with a tiny model."""
    from steersman.assemble.doctor import examine

    findings = examine(out)
    marks = {"good": "✓", "note": "·", "bad": "✗"}
    lines = [f"{marks[finding.verdict]} {finding.name:<14} {finding.words}" for finding in findings]
    fit = all(finding.verdict != "bad" for finding in findings)
    lines.append("ready" if fit else "not ready: mend what is marked ✗")
    say({"ready": fit, "findings": [finding.as_dict() for finding in findings]}, as_json=json, lines=lines)
    if not fit:
        raise typer.Exit(1)
