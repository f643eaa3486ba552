"""The version of a build: from the git tag (v0.3.0), else from the source distribution, else the newest release of the
changelog. Hatchling calls `version()`; no package is needed for it."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_TAG = re.compile(r"v(\d+)\.(\d+)\.(\d+)-(\d+)-g([0-9a-f]+)(-dirty)?")
_RELEASE = re.compile(r"^## (\d+\.\d+\.\d+) \(\d{4}-\d{2}-\d{2}\)$", re.MULTILINE)
_PACKED = re.compile(r"^Version: (\S+)$", re.MULTILINE)


def version(root: Path = ROOT) -> str:
    return of_tag(root) or packed(root) or released(root)


def of_tag(root: Path) -> str | None:
    """0.3.0 on its tag, 0.3.1.dev5+gabc1234 five commits later; None without git or without a tag."""
    if not (root / ".git").exists():  # a repository around this folder is somebody else's
        return None
    command = ["git", "-C", str(root), "describe", "--tags", "--long", "--dirty", "--match", "v[0-9]*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return None
    found = _TAG.fullmatch(done.stdout.strip())
    if done.returncode != 0 or found is None:
        return None
    major, minor, patch, distance, commit, dirty = found.groups()
    if distance == "0" and not dirty:
        return f"{major}.{minor}.{patch}"
    return f"{major}.{minor}.{int(patch) + 1}.dev{distance}+g{commit}{'.dirty' if dirty else ''}"


def packed(root: Path) -> str | None:
    """The version in a source distribution."""
    about = root / "PKG-INFO"
    found = _PACKED.search(about.read_text(encoding="utf-8")) if about.is_file() else None
    return found[1] if found else None


def released(root: Path) -> str:
    """The newest release in the changelog."""
    found = _RELEASE.search((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    if found is None:
        raise RuntimeError("CHANGELOG.md has no release; expected a heading such as ## 0.3.0 (2026-12-01)")
    return found[1]
