"""Dependencies: each has a licence that an Apache-2.0 package may build on, and each that is imported is declared."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
SHIPPED = [
    *PROJECT["dependencies"],
    *(
        each
        for name in (
            "tensorboard",
            "wandb",
            "mlflow",
            "trackio",
            "qlora",
            "8bit",
            "postgres",
            "studio",
            "serve",
            "export",
        )
        for each in EXTRAS[name]
    ),
]
TOOLS = [*EXTRAS["test"], *EXTRAS["dev"], *EXTRAS["docs"]]

PERMISSIVE = {
    *("Apache-2.0", "Apache-2.0 WITH LLVM-exception", "MIT", "MIT-CMU", "ISC", "Zlib", "0BSD", "BSL-1.0", "CC0-1.0"),
    "MIT-0",
    *("BSD-2-Clause", "BSD-3-Clause", "PSF-2.0", "CNRI-Python", "Unlicense"),
}
# How packages without a licence expression (PEP 639) say the same.
WORDS = {
    **dict.fromkeys(("apache", "apache 2.0", "apache 2.0 license", "apache software license"), "Apache-2.0"),
    **dict.fromkeys(("mit license", "mit"), "MIT"),
    **dict.fromkeys(("bsd", "bsd license", "2-clause bsd", "3-clause bsd license"), "BSD-3-Clause"),
    "isc license (iscl)": "ISC",
    "psfl": "PSF-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0",
    "gnu general public license v3 (gplv3)": "GPL-3.0",
}
# Licences that concern changes to the library's own files only. None is the choice of this project alone.
WEAK = {
    "tqdm": "MPL-2.0, required by transformers and datasets",
    "certifi": "MPL-2.0, required by huggingface_hub",
    "hypothesis": "MPL-2.0, a test tool",
    "pathspec": "MPL-2.0, required by hatchling, a build tool",
    "orjson": "MPL-2.0 beside a permissive licence, required by trackio",
    "pyte": "LGPL-3.0, a test tool",
}


# Imported where it is there: torch for CUDA brings it.
NOT_DECLARED = {"triton"}


def licences_of(name: str) -> set[str]:
    """The licences of an installed distribution, all of which hold (an OR counts as its permissive side)."""
    about: Any = metadata.metadata(name)  # an email message, which has `get`; its protocol does not
    expression = about.get("License-Expression")
    if expression is None:
        classified = [
            c.rpartition("::")[2].strip() for c in about.get_all("Classifier") or [] if c.startswith("License ::")
        ]
        said = [word for word in classified if word.lower() in WORDS] or [(about.get("License") or "").split("\n")[0]]
        return {str(WORDS.get(word.lower(), word)) for word in said}
    found: set[str] = set()
    for part in re.split(r"\s+AND\s+", expression.replace("(", "").replace(")", "")):
        choices = re.split(r"\s+OR\s+", part)
        found.add(next((choice for choice in choices if choice in PERMISSIVE), choices[0]))
    return found


def all_needed(requirements: list[str]) -> set[str]:
    """The installed distributions behind these requirements, with what they need themselves."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found or (wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        found.add(name)
        waiting += [Requirement(text) for text in needs]
    return found


def unfit(names: set[str]) -> dict[str, set[str]]:
    seen = {name: licences_of(name) for name in sorted(names)}
    return {name: licences for name, licences in seen.items() if name not in WEAK and not licences <= PERMISSIVE}


def test_what_users_install_is_permissive():
    needed = all_needed(SHIPPED)
    assert {"torch", "scipy", "transformers"} <= needed
    assert unfit(needed) == {}


def test_what_developers_install_is_permissive_or_a_named_exception():
    assert unfit(all_needed(TOOLS)) == {}


@pytest.mark.parametrize("licence", ["GPL-3.0-or-later", "AGPL-3.0-only", "MIT AND GPL-2.0-only", "", "Proprietary"])
def test_other_licences_are_found(monkeypatch, licence):
    from email.message import Message

    about = Message()
    about["License-Expression"] = licence
    monkeypatch.setattr(metadata, "metadata", lambda name: about)
    assert unfit({"something"})


def test_everything_imported_is_declared():
    declared = {canonicalize_name(Requirement(text).name) for text in [*SHIPPED, "steersman"]}
    provided = metadata.packages_distributions()
    undeclared: dict[str, str] = {}
    for path in sorted((REPOSITORY / "src").rglob("*.py")):
        for name in imported(path):
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names or top not in provided or top in NOT_DECLARED:
                continue
            if not {canonicalize_name(each) for each in provided[top]} & declared:
                undeclared[top] = str(path.relative_to(REPOSITORY))
    assert undeclared == {}


def imported(path: Path) -> set[str]:
    """What a file imports, also by `import_module`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names.update(str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))
    return names
