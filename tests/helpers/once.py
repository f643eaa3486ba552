"""A folder that is expensive to make, made once for all processes of a test session.

It lies beside the session's other temporary folders, so that no session meets what an older state of the code has made.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that `make` has filled, in this process or in another one of pytest-xdist's. Nobody writes in it
    afterwards."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, mark = root / f"once-{name}", root / f"once-{name}.made"
    with FileLock(root / f"once-{name}.lock"):
        if not mark.exists():
            make(folder)
            mark.touch()
    return folder
