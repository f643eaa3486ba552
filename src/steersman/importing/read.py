"""A recipe of TRL, OpenRLHF or LLaMA-Factory as one of ours. What it is, is seen from its content."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.errors import UsageError
from steersman.importing import llamafactory, openrlhf, trl
from steersman.importing.rules import Conversion
from steersman.secrets import is_secret
from steersman.settings.base import put

LIBRARIES = ("TRL", "OpenRLHF", "LLaMA-Factory")
LARGEST = 1 << 20
_REQUIRED = {"data": ("data.source",), "prompts": ("prompts.source", "scorer.path")}


@dataclass(frozen=True, slots=True)
class ImportedRecipe:
    """The recipe, nested as TOML has it; what was changed on the way; what has no counterpart, with the reason; what
    is missing and has to be given."""

    library: str
    method: str
    settings: dict[str, Any]
    remarks: tuple[str, ...]
    without: dict[str, str]
    missing: tuple[str, ...]


def read_foreign(path: Path, *, method: str | None = None, devices: int = 1) -> ImportedRecipe:
    """Convert a file."""
    if devices < 1:
        raise UsageError(f"--devices {devices}: expected 1 or more")
    text = _text(path)
    values = _values(path, text)
    found = _from_values(values, path, method, devices) if values is not None else _from_script(text, path, devices)
    nested: dict[str, Any] = {}
    found.settings.setdefault("run.out", f"runs/{found.method}")
    for name, value in found.settings.items():
        if value is not None:
            put(nested, f"{name}={json.dumps(value, ensure_ascii=False)}")
    group = "prompts" if found.method in ("ppo", "rloo") else "data"
    missing = tuple(name for name in ("model.path", *_REQUIRED[group]) if name not in found.settings)
    without = {name: reason for name, reason in found.without.items() if not is_secret(name)}
    return ImportedRecipe(found.library, found.method, nested, tuple(found.remarks), without, missing)


def _text(path: Path) -> str:
    if not path.is_file():
        raise UsageError(f"there is no file {path}; expected a recipe of {', '.join(LIBRARIES)}")
    if path.stat().st_size > LARGEST:
        raise UsageError(f"{path} has {path.stat().st_size:,} bytes; a recipe has less than {LARGEST:,}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text (byte {error.start + 1}); expected YAML, JSON or a script"
        ) from error


def _values(path: Path, text: str) -> dict[str, Any] | None:
    """The content of a YAML or JSON file; None for a script."""
    import yaml

    if path.suffix.lower() not in (".yaml", ".yml", ".json"):
        return None
    try:
        read = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = "" if where is None else f" on line {where.line + 1}"
        raise UsageError(
            f"{path} is no YAML{line}: {getattr(error, 'problem', None) or 'it cannot be read'}"
        ) from error
    if not isinstance(read, dict):
        raise UsageError(f"{path} holds a {type(read).__name__}; expected names with values")
    return {str(name): value for name, value in read.items()}


def _from_values(values: dict[str, Any], path: Path, method: str | None, devices: int) -> Conversion:
    if llamafactory.is_one(values):
        stage = str(values["stage"])
        if stage not in llamafactory.METHODS:
            raise UsageError(f"stage={stage!r} has no counterpart; expected one of {', '.join(llamafactory.METHODS)}")
        found = Conversion("LLaMA-Factory", llamafactory.METHODS[stage], values, devices)
        llamafactory.convert(found, path.parent)
        return found
    trainer = method or trl.guessed(values)
    if "model_name_or_path" not in values and not _known(values):
        raise UsageError(f"{path} is no recipe of {', '.join(LIBRARIES)}: none of their names was found in it")
    if trainer is None:
        raise UsageError(
            f"{path} does not say which trainer of TRL it is for; give --method, one of {', '.join(trl.COMMANDS)}"
        )
    return _of_trl(trainer, values, devices)


def _known(values: Mapping[str, Any]) -> bool:
    return bool({"dataset_name", "sft_model_path", "output_dir", "learning_rate"} & values.keys())


def _of_trl(trainer: str, values: dict[str, Any], devices: int) -> Conversion:
    if trainer not in trl.COMMANDS:
        raise UsageError(f"--method {trainer}: expected one of {', '.join(trl.COMMANDS)}")
    found = Conversion("TRL", trl.COMMANDS[trainer], values, devices)
    trl.convert(found, trainer)
    return found


def _from_script(text: str, path: Path, devices: int) -> Conversion:
    if (script := openrlhf.parsed(text)) is not None:
        found = Conversion("OpenRLHF", openrlhf.method_of(script[0]), script[1], devices)
        openrlhf.convert(found, script[0])
        return found
    if (script := trl.parsed(text)) is not None:
        return _of_trl(script[0], script[1], devices)
    raise UsageError(
        f"{path} is no recipe that can be imported: expected YAML of LLaMA-Factory or TRL, or a script with "
        "openrlhf.cli.train_… or trl …"
    )


def as_toml(found: ImportedRecipe, name: str) -> str:
    """The recipe as a file, with what was said about it as comments."""
    import tomli_w

    lines = [f"# From {name} ({found.library}), for: steersman {found.method}"]
    lines += [f"# {remark}" for remark in found.remarks]
    lines += [f"# no counterpart: {theirs} ({reason})" for theirs, reason in found.without.items()]
    return "\n".join([*lines, "", tomli_w.dumps(found.settings)])
