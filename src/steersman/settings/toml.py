"""Reading TOML: whatever is wrong with it is a UsageError that says where and what."""

import tomllib
from pathlib import Path
from typing import Any

from steersman.errors import UsageError
from steersman.settings.file_text import MEND, decode, read_bytes

# What tomllib raises: for text that is not TOML and numbers of thousands of digits, and for thousands of brackets.
NOT_TOML = (ValueError, RecursionError)


def read_toml(path: Path, *, otherwise: str = MEND) -> dict[str, Any]:
    """The content of a TOML file. `otherwise` says what to do where it cannot be read."""
    return parse_toml(read_bytes(path, otherwise), str(path), otherwise=otherwise)


def parse_toml(raw: bytes, name: str, *, otherwise: str = MEND) -> dict[str, Any]:
    text = decode(raw, name, otherwise)
    try:
        # as `read_text` would: tomllib takes no lone carriage return
        return tomllib.loads(text.replace("\r\n", "\n"))
    except RecursionError as error:
        raise UsageError(f"{name} is not valid TOML: it is nested too deeply; {otherwise}") from error
    except ValueError as error:
        raise UsageError(f"{name} is not valid TOML: {error}; {otherwise}") from error
