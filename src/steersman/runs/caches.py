"""Where caches are kept: in the user's cache folder, or elsewhere if that cannot be written. No cache is needed to run.

Libraries (the Hugging Face hub, Triton, TorchInductor) keep theirs beside ours, and some of them fail without.
"""

import os
import tempfile
from pathlib import Path

OTHERS = {"TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor", "MPLCONFIGDIR": "matplotlib"}
"""Variables of libraries that look for the home folder itself."""


def cache_folder() -> Path | None:
    """Steersman's folder among the user's caches; None if there is no home folder. It may not exist."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "steersman"
    except RuntimeError:  # no HOME, and the user has no entry in the list of users
        return None


def move_unwritable_caches() -> str:
    """If the cache folder cannot be written, let this process and its libraries use one among the temporary files.

    Returns a sentence that says so, or nothing. Call it before the libraries are imported.
    """
    wanted = cache_folder()
    if wanted is not None and _writable(wanted):
        return ""
    there = _temporary()
    os.environ["XDG_CACHE_HOME"] = str(there)
    for variable, name in OTHERS.items():
        os.environ.setdefault(variable, str(there / name))
    return (
        f"caches (measurements, downloaded models) are in {there}, because "
        f"{'there is no home folder' if wanted is None else f'{wanted.parent} cannot be written'}; give another folder "
        "by XDG_CACHE_HOME"
    )


def _writable(folder: Path) -> bool:
    """Whether the folder can be written, or created."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _temporary() -> Path:
    """A folder that is this user's alone, and the same one each time."""
    folder = Path(tempfile.gettempdir()) / f"steersman-cache-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not folder.is_symlink() and folder.stat().st_uid == os.getuid():
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="steersman-cache-"))
