"""What was run, on what data, with which versions, and the commands that do it again: from the stamps of runs."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.pages.parts import Commands, Facts

COMMANDS = ("sft", "reward", "classifier", "ppo", "rloo", "dpo", "ilql", "online-dpo", "best-of-n", "evaluate")


def facts_of(stamps: Mapping[str, Mapping[str, Any]]) -> Facts:
    """What made the runs; a fact in which they differ is shown for each by name."""

    def told(read: Any) -> str:
        found = {name: str(read(stamp)) for name, stamp in stamps.items()}
        if len(set(found.values())) == 1:
            return next(iter(found.values()))
        return "; ".join(f"{name}: {value}" for name, value in found.items())

    def short(content: Any, key: str) -> str:
        given = content.get(key) or {}
        return (
            ", ".join(f"{name} {str(value)[:12] if key == 'data' else value}" for name, value in given.items())
            or "none"
        )

    return Facts(
        (
            (
                "steersman",
                told(lambda s: f"{s.get('steersman')}" + (f", commit {s['commit'][:12]}" if s.get("commit") else "")),
            ),
            ("Python", told(lambda s: s.get("python"))),
            ("libraries", told(lambda s: ", ".join(f"{k} {v}" for k, v in (s.get("libraries") or {}).items()))),
            ("machine", told(lambda s: f"{s.get('platform')}, {s.get('processor')}, {s.get('cpus')} processors")),
            (
                "computed on",
                told(lambda s: f"{s.get('device')}, {s.get('threads')} thread{'s' if s.get('threads') != 1 else ''}"),
            ),
            ("seed", told(lambda s: json.dumps(list((s.get("seeds") or {}).values())).strip("[]"))),
            ("data, by hash", told(lambda s: short(s, "data"))),
            ("made from", told(lambda s: short(s, "parents"))),
            ("began", told(lambda s: s.get("started"))),
        )
    )


def commands_of(folder: Path, stamp: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The command as it was typed, and one that needs nothing but the resolved recipe in the folder."""
    found: list[tuple[str, str]] = []
    typed = [str(word) for word in stamp.get("command") or []]
    if typed:
        found.append((shlex.join(["steersman", *typed[1:]]), "as it was typed"))
    kind = str(stamp.get("kind", ""))
    command = kind if kind in COMMANDS else "ppo"
    again = ["steersman", command, str(folder / "recipe.toml"), f"run.out={folder}-again"]
    found.append((shlex.join(again), "from the resolved recipe"))
    return found


def reproduction(runs: Sequence[tuple[Path, Mapping[str, Any]]]) -> Commands:
    return Commands(tuple(line for folder, stamp in runs for line in commands_of(folder, stamp)))
