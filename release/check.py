"""Checks dist/: metadata, both distributions, the wheel installed in an empty environment, and a command of it.

    python release/check.py dist

The empty environment sees the libraries of the environment that runs this (torch is large), but not its Steersman.
"""

import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

NEEDED = {
    ".whl": ("steersman/harbour/base/model.safetensors", "steersman/recipes/sft-harbour.toml", "steersman/py.typed"),
    ".gz": ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "release/version.py", "src/steersman/api.py"),
}


def main(folder: Path) -> None:
    wheel, source = one(folder, "*.whl"), one(folder, "*.tar.gz")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, source)
    for path in (wheel, source):
        names = names_in(path)
        missing = [name for name in NEEDED[path.suffix] if not any(found.endswith(name) for found in names)]
        if missing:
            raise SystemExit(f"{path.name} has no {', '.join(missing)}")
    version = wheel.name.split("-")[1]
    if version not in source.name:
        raise SystemExit(f"{wheel.name} and {source.name} are of two versions")
    with tempfile.TemporaryDirectory(prefix="steersman-dist-") as place:
        check_installed(Path(place), wheel, version)
    print(f"{wheel.name} and {source.name}: checked")


def one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"{folder} has {len(found)} files {pattern}; expected one (make dist empties it first)")
    return found[0]


def names_in(path: Path) -> list[str]:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as packed:
            return packed.namelist()
    with tarfile.open(path) as packed:
        return packed.getnames()


def check_installed(place: Path, wheel: Path, version: str) -> None:
    """Install the wheel where nothing of a checkout is, and run it."""
    venv.create(place / "empty", with_pip=False)
    python = place / "empty" / "bin" / "python"
    there = Path(out(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place))
    # A path in a .pth file is searched, and the .pth files in it (an editable install) are not read.
    (there / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=place)
    home = out(python, "-c", "import steersman; print(steersman.__file__)", cwd=place)
    if not Path(home).resolve().is_relative_to(place.resolve()):
        raise SystemExit(f"the wheel was not what was imported, but {home}")
    told = out(python, "-c", "from importlib.metadata import version; print(version('steersman'))", cwd=place)
    if told != version:
        raise SystemExit(f"the installed version is {told}; the wheel's is {version}")
    command = place / "empty" / "bin" / "steersman"
    if "--out" not in out(command, "quickstart", "--help", cwd=place):
        raise SystemExit("steersman quickstart --help does not name --out")
    run(command, "data", "inspect", "harbour:comparisons?count=20", "--json", cwd=place)
    run(command, "recipe", "show", "ppo-harbour", cwd=place)


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def out(*command: object, cwd: Path) -> str:
    words = [str(one) for one in command]
    done = subprocess.run(words, cwd=cwd, env=clean(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout.strip()


def run(*command: object, cwd: Path = Path()) -> None:
    out(*command, cwd=cwd)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist"))
