"""Checks of the files that a command will write, before it reads or computes anything.

No command writes onto what it reads, not even with --force. A file that is there already is overwritten only with
--force, or if the command can tell that it made the file itself.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from steersman.data.sources import files_of
from steersman.errors import UsageError


def check_outputs(
    outputs: Sequence[Path],
    *,
    reads: Iterable[str | Path] = (),
    force: bool = False,
    is_own: Callable[[Path], bool] | None = None,
) -> None:
    """Raise UsageError if an output is a file that is read, is there twice, or is somebody else's file."""
    read = [file for source in reads for file in _files_read(Path(source).expanduser())]
    for number, output in enumerate(outputs):
        if any(output.resolve() == other.resolve() for other in outputs[:number]):
            raise UsageError(f"{output} would be written twice; give two names")
        if not output.exists():
            continue
        if output.is_dir():
            raise UsageError(f"{output} is a folder; name a file in it")
        source = next((file for file in read if output.samefile(file)), None)
        if source is not None:
            raise UsageError(f"{output} is {_the_same(output, source)} that is read; give another name")
        if output.is_file() and not force and not (is_own is not None and is_own(output)):
            raise UsageError(f"{output} exists already; give another name, or --force to overwrite it")


def _the_same(output: Path, source: Path) -> str:
    return "the file" if output == source else f"the same file as {source}"


def _files_read(path: Path) -> list[Path]:
    try:
        if path.is_dir():
            return [*files_of(path), *path.rglob("*.arrow")]
        return [path] if path.exists() else []
    except OSError:
        return []  # a source's name that is no possible path, such as harbour:… of great length
