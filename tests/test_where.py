"""docs/where.md is true: each answer names a file and a name in it, and what the page says to look for is there."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from steersman.data.formats import registry
from steersman.watch import watching

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "steersman"
ROW = re.compile(r"^\| (?P<question>[^|]+\?) \| `(?P<path>[^`]+)`::`(?P<name>[^`]+)` \| (?P<hint>[^|]+) \|$")
ROWS = [
    match
    for line in (ROOT / "docs" / "where.md").read_text(encoding="utf-8").splitlines()
    if (match := ROW.match(line))
]


def source_of(path: Path, name: str) -> str:
    """The source of a function, a method, a class or a constant."""
    source = path.read_text(encoding="utf-8")
    scope: ast.AST = ast.parse(source)
    for part in name.split("."):
        scope = next(node for node in ast.iter_child_nodes(scope) if part in names_of(node))
    return ast.get_source_segment(source, scope) or ""


def names_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def test_there_are_ten_answers():
    assert len(ROWS) == 10


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_an_answer_names_what_is_there(row: re.Match[str]):
    path = next(folder / row["path"] for folder in (PACKAGE, ROOT) if (folder / row["path"]).exists())
    source = source_of(path, row["name"])
    for code in re.findall(r"`([^`]+)`", row["hint"]):
        if "/" in code:
            assert (PACKAGE / code).exists(), code
        elif not row["hint"].startswith("a file in"):
            assert code in source, code
    if row["name"] == "iterate":
        assert all(
            f"{i}. {stage}" in source for i, stage in enumerate(("Collect", "Score", "Advantage", "Update", "Keep"), 1)
        )


def modules_in(folder: str, *, but: set[str]) -> list[str]:
    return sorted(path.stem for path in (PACKAGE / folder).glob("*.py") if path.stem not in but | {"__init__"})


def test_every_file_of_formats_is_in_the_registry():
    files = modules_in("data/formats", but={"format", "fields", "registry", "extras"})
    assert files == sorted(family.__name__.rpartition(".")[2] for family in registry._FAMILIES)


def test_every_file_of_detectors_is_in_the_list():
    for name in modules_in("watch/detectors", but={"detector"}):
        module = importlib.import_module(f"steersman.watch.detectors.{name}")
        assert any(value in watching.DETECTORS for value in vars(module).values() if hasattr(value, "measure")), name
