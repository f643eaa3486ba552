"""A real browser for pages: found, or installed where that is allowed, or its absence said clearly; never missing in
CI."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


@dataclass(frozen=True)
class Opened:
    """A page as the browser made it, and what it complained of."""

    dom: str
    complaints: tuple[str, ...]


@lru_cache
def browser() -> str | None:
    """The browser's program; as root on Debian it is installed if it is missing."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in ("update", "install -y --no-install-recommends chromium"):
            subprocess.run(["apt-get", "-q", *words.split()], env=quiet, capture_output=True, timeout=420, check=False)
        found = shutil.which("chromium")
    return found


def need_browser() -> str:
    program = browser()
    if program is None:
        told = (
            "no Chromium here, and it could not be installed; install it (Debian: apt-get install chromium) "
            "and run this again"
        )
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    return program


def open_page(path: Path, scratch: Path, *, width: int = 1280, dark: bool = False) -> Opened:
    """Open a file in the browser, without network."""
    command = [
        need_browser(),
        *QUIET,
        f"--user-data-dir={scratch / 'profile'}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        f"--window-size={width},1200",
        "--proxy-server=127.0.0.1:9",
        "--enable-logging=stderr",
        "--dump-dom",
        path.resolve().as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    complaints = re.findall(r'CONSOLE[^"]*"(.*?)", source', done.stderr)
    return Opened(done.stdout, tuple(complaints))
