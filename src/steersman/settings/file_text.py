"""Reading recipe files as UTF-8 text: whatever is wrong is a UsageError that says where and what."""

from pathlib import Path

from steersman.errors import UsageError

MEND = "mend it, or give another one"


def read_bytes(path: Path, otherwise: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; {otherwise}") from error


def decode(raw: bytes, name: str, otherwise: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{name} is not UTF-8 text (byte {error.start + 1}, on line {line}), which recipes have to be; save it as "
            f"UTF-8, or {otherwise}"
        ) from error
