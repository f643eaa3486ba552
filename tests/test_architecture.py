"""The architecture, as a table that fails the build when it stops being true."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = "steersman"
ROOT = Path(__file__).parents[1] / "src" / PACKAGE

# Read downwards: a line may only name lines above it, so circles cannot be written down.
EVERYTHING_BELOW_STUDIO = "errors records settings maths costs batches runs text models parallel data rollout reward train evaluate watch pages methods harbour judging"
MAY_IMPORT = {
    "errors": "",
    "records": "errors",
    "settings": "errors",
    "maths": "",
    "costs": "errors",
    "batches": "errors",
    "runs": "errors records",
    "text": "errors records",
    "models": "errors batches maths",
    "parallel": "errors",
    "data": "errors records batches text",
    "rollout": "errors records batches text maths models parallel",
    "reward": "errors records batches text maths models rollout",
    "train": "errors batches maths models parallel runs",
    "evaluate": "errors records batches text maths models data rollout reward runs",
    "watch": "errors records batches maths models runs evaluate reward",
    "pages": "errors records maths evaluate",
    "methods": "errors records settings maths batches runs text models parallel data rollout reward train evaluate watch",
    "harbour": "errors records text models data maths",
    "judging": "errors records runs",
    "assemble": EVERYTHING_BELOW_STUDIO,
    "cli": EVERYTHING_BELOW_STUDIO + " assemble",
    "__main__": "cli",
}
# third-party library -> the only packages that may touch it
ONLY_IN = {
    "torch.distributed": "parallel",
    "rich.progress": "runs",
    "typer": "cli",
    "sqlalchemy": "store",
    "vllm": "rollout",
}
WITHOUT_TORCH = [
    "records",
    "settings.sft",
    "runs.listing",
    "data.sources",
    "data.formats.registry",
    "maths.statistics",
    "costs.memory",
    "judging.session",
    "pages.render",
    "cli.main",
]
# file or file::function -> why it may be longer
LONGER: dict[str, str] = {}
MAX_LINES, MAX_FUNCTION = 350, 60

EMPTY = [path for path in sorted(ROOT.rglob("__init__.py")) if path.parent != ROOT]
FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_names(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_table_has_no_circles():
    above: set[str] = set()
    for name, allowed in MAY_IMPORT.items():
        assert set(allowed.split()) <= above, name
        above.add(name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_keeps_to_its_layer_and_size(path: Path):
    source = path.read_text()
    tree = ast.parse(source)
    here = package_of(path)
    for name in imported_names(tree):
        if name.startswith(f"{PACKAGE}."):
            there = name.split(".")[1]
            assert there == here or there in MAY_IMPORT[here].split(), f"{here} must not import {there}"
        for library, homes in ONLY_IN.items():
            if name == library or name.startswith(f"{library}."):
                assert here in homes.split(), f"{library} belongs in {homes}"
    name = str(path.relative_to(ROOT))
    assert len(source.splitlines()) <= MAX_LINES or name in LONGER, "look for the missing noun"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MAX_FUNCTION or f"{name}::{node.name}" in LONGER, node.name


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_imports_without_torch(module: str):
    code = f"import sys, {PACKAGE}.{module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("path", EMPTY, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_hand_nothing_on(path: Path):
    assert path.read_text() == ""


def test_no_pickle_no_eval_and_no_remote_code_by_default():
    for path in FILES:
        source = path.read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in (
                    "eval",
                    "exec",
                    "torch.load",
                    "torch.save",
                    "pickle.load",
                    "pickle.loads",
                    "yaml.load",
                ), f"{path}: {name}"
                for keyword in node.keywords:
                    allowed = keyword.arg != "trust_remote_code" or ast.unparse(keyword.value) != "True"
                    assert allowed, f"{path}: remote code must be the user's own wish"


def test_the_map_names_every_package():
    text = (ROOT.parents[1] / "docs" / "map.md").read_text()
    missing = [path.parent.name for path in EMPTY if f"{path.parent.name}/" not in text]
    assert not missing, f"docs/map.md lacks {missing}"
