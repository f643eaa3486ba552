"""The stamp of a run, `stamp.json`: code, libraries, machine, seeds, hashes of data and parents. Written once.

Comparing two stamps shows whether a resumed run can be bit-exact (`changes`) and whether it is the same run at all
(`conflicts`). Versions come from package metadata; no large library is imported.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from steersman.errors import DataError
from steersman.runs.folder import atomic_write_text
from steersman.secrets import concealed, concealed_arguments

LIBRARIES = ("torch", "transformers", "peft", "datasets", "numpy", "tokenizers")

# What the last bits of floats depend on: (path in the stamp, its name in messages). Measured: one thread and two give
# the same loss to the printed digits, but different parameters.
BIT_EXACT = (
    (("steersman",), "the Steersman version"),
    (("commit",), "the commit of Steersman"),
    (("python",), "the Python version"),
    (("libraries", "torch"), "the torch version"),
    (("libraries", "transformers"), "the transformers version"),
    (("libraries", "peft"), "the peft version"),
    (("libraries", "numpy"), "the numpy version"),
    (("libraries", "tokenizers"), "the tokenizers version"),
    (("threads",), "the thread count"),
    (("world_size",), "the world size"),
    (("device",), "the device"),
    (("processor",), "the processor"),
    (("deterministic",), "the deterministic setting"),
)
SAME_RUN = ("kind", "seeds", "data", "parents")


@dataclass(frozen=True)
class RunIdentity:
    """What makes two runs the same run. `data` and `parents` map names to hashes."""

    kind: str
    seeds: Mapping[str, int]
    data: Mapping[str, str]
    parents: Mapping[str, str]


@dataclass(frozen=True)
class MachineFacts:
    """What of the machine the last bits of a result depend on, besides its processor and its libraries."""

    threads: int
    device: str
    world_size: int
    deterministic: Mapping[str, bool]


def make_stamp(identity: RunIdentity, machine: MachineFacts, *, command: Sequence[str] | None = None) -> dict[str, Any]:
    """The stamp of a run that starts now. `command` defaults to sys.argv."""
    return {
        "kind": identity.kind,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": concealed_arguments(sys.argv if command is None else command),
        "steersman": version_of("steersman"),
        "commit": commit_of(Path(__file__).parents[1]),
        "python": platform.python_version(),
        "libraries": {name: version_of(name) for name in LIBRARIES},
        "platform": platform.platform(),
        "processor": processor_name(),
        "cpus": os.cpu_count(),
        "threads": machine.threads,
        "device": machine.device,
        "world_size": machine.world_size,
        "deterministic": dict(machine.deterministic),
        "seeds": dict(identity.seeds),
        "data": concealed(identity.data),
        "parents": concealed(identity.parents),
    }


def write_stamp(path: Path, stamp: Mapping[str, Any]) -> None:
    atomic_write_text(path, json.dumps(concealed(stamp), indent=2, ensure_ascii=False) + "\n")


def read_stamp(path: Path) -> dict[str, Any]:
    try:
        stamp = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read as a run's stamp: {error}. Restore it from a backup or start a new run."
        ) from error
    if not isinstance(stamp, dict):
        raise DataError(f"{path} holds a {type(stamp).__name__}; expected a JSON object. Start a new run.")
    return concealed(stamp)  # a stamp of an earlier release may hold secrets


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The reasons why resuming run `old` as `new` is not bit-exact, one sentence each. Empty if it is bit-exact."""
    sentences: list[str] = []
    for path, name in BIT_EXACT:
        before, after = _at(old, path), _at(new, path)
        if before != after:
            sentences.append(f"not bit-exact because {name} was {_shown(before)} and is now {_shown(after)}")
    return sentences


def conflicts(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The reasons why `new` is not the same run as `old` (another kind, seed, data or parent) and must not resume
    it."""
    sentences: list[str] = []
    for name in SAME_RUN:
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            for key in sorted({*before, *after}):
                if before.get(key) != after.get(key):
                    sentences.append(f"{name}.{key} was {_shown(before.get(key))} and is now {_shown(after.get(key))}")
        elif before != after:
            sentences.append(f"{name} was {_shown(before)} and is now {_shown(after)}")
    return sentences


def _at(stamp: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = stamp
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _shown(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={'on' if on is True else 'off' if on is False else on}" for key, on in value.items())
    return str(value)


def version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def commit_of(package: Path) -> str | None:
    """The git commit of this package's checkout, with `+changes` if files under src differ. None if not in a
    checkout."""
    checkout = package.parents[1]
    # A package installed inside a user's repository must not be stamped with that repository's commit.
    if package.parent.name != "src" or not (checkout / ".git").exists():
        return None
    commit = _git(checkout, "rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("+changes" if _git(checkout, "status", "--porcelain", "--", "src") else "")


def _git(checkout: Path, *arguments: str) -> str | None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(checkout), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def processor_name() -> str:
    """The CPU's model name. Another model may use wider instructions and round differently."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
