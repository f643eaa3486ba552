"""Reading TOML: whatever is wrong with it is a UsageError that says where and what."""

import tomllib
from pathlib import Path
from typing import Any

from steersman.errors import UsageError

# What tomllib raises: for text that is not TOML and numbers of thousands of digits, and for thousands of brackets.
NOT_TOML = (ValueError, RecursionError)


def read_toml(path: Path, *, otherwise: str = "mend it, or give another one") -> dict[str, Any]:
    """The content of a TOML file. `otherwise` says what to do where it cannot be read."""
    try:
        return parse_toml(path.read_bytes(), str(path), otherwise=otherwise)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; {otherwise}") from error


def parse_toml(raw: bytes, name: str, *, otherwise: str = "mend it, or give another one") -> dict[str, Any]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{name} is not UTF-8 text (byte {error.start + 1}, on line {line}), which TOML has to be; save it as "
            f"UTF-8, or {otherwise}"
        ) from error
    try:
        # as `read_text` would: tomllib takes no lone carriage return
        return tomllib.loads(text.replace("\r\n", "\n"))
    except RecursionError as error:
        raise UsageError(f"{name} is not valid TOML: it is nested too deeply; {otherwise}") from error
    except ValueError as error:
        raise UsageError(f"{name} is not valid TOML: {error}; {otherwise}") from error
