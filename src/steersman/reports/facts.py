"""Facts about runs (data, versions, machine) and the commands that reproduce them, from the runs' stamps."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.pages.parts import Commands, Facts
from steersman.runs.kinds import command_of


def facts_of(stamps: Mapping[str, Mapping[str, Any]]) -> Facts:
    """The facts of the runs. A fact in which they differ is listed for each run by name."""

    def fact(read: Any) -> str:
        found = {name: str(read(stamp)) for name, stamp in stamps.items()}
        if len(set(found.values())) == 1:
            return next(iter(found.values()))
        return "; ".join(f"{name}: {value}" for name, value in found.items())

    def short(content: Any, key: str) -> str:
        values = content.get(key) or {}
        return (
            ", ".join(f"{name} {str(value)[:12] if key == 'data' else value}" for name, value in values.items())
            or "none"
        )

    return Facts(
        (
            (
                "steersman",
                fact(lambda s: f"{s.get('steersman')}" + (f", commit {s['commit'][:12]}" if s.get("commit") else "")),
            ),
            ("Python", fact(lambda s: s.get("python"))),
            ("libraries", fact(lambda s: ", ".join(f"{k} {v}" for k, v in (s.get("libraries") or {}).items()))),
            ("machine", fact(lambda s: f"{s.get('platform')}, {s.get('processor')}, {s.get('cpus')} CPUs")),
            (
                "device",
                fact(lambda s: f"{s.get('device')}, {s.get('threads')} thread{'s' if s.get('threads') != 1 else ''}"),
            ),
            ("seed", fact(lambda s: json.dumps(list((s.get("seeds") or {}).values())).strip("[]"))),
            ("data, by hash", fact(lambda s: short(s, "data"))),
            ("parents", fact(lambda s: short(s, "parents"))),
            ("started", fact(lambda s: s.get("started"))),
        )
    )


def commands_of(folder: Path, stamp: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The original command, and one that needs only the resolved recipe in the folder."""
    found: list[tuple[str, str]] = []
    typed = [str(word) for word in stamp.get("command") or []]
    if typed:
        found.append((shlex.join(["steersman", *typed[1:]]), "the original command"))
    command = command_of(str(stamp.get("kind", "")))
    again = ["steersman", *command.split(), str(folder / "recipe.toml"), f"run.out={folder}-again"]
    found.append((shlex.join(again), "from the resolved recipe"))
    return found


def reproduction(runs: Sequence[tuple[Path, Mapping[str, Any]]]) -> Commands:
    return Commands(tuple(line for folder, stamp in runs for line in commands_of(folder, stamp)))
