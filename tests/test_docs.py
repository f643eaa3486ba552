"""What the docs point at exists: links, anchors, paths, tests and settings; both indexes name every page, and the
changelog the version."""

import importlib
import pkgutil
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import steersman.settings
from steersman.assemble.stages import STAGES
from steersman.settings.base import Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"(?<![\w./-])(?:docs|src|tests|bench)/[\w./-]*\w")
SOURCE = re.compile(r"`([a-z_0-9]+(?:/[a-z_0-9]+)+\.py)`")
TEST = re.compile(r"`(test_\w+)")
SETTING = re.compile(r"(?<![\w./])([a-z_]+(?:\.[a-z_]+)+)=")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_relative_link_leads_to_a_file_and_every_anchor_to_a_heading():
    broken: list[str] = []
    for page in PAGES:
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            if "://" in link:
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{name(page)}: {link}")
    assert not broken, "\n".join(broken)


def test_every_path_that_the_docs_name_exists():
    broken: list[str] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        broken += [f"{name(page)}: {path}" for path in PATH.findall(text) if not (ROOT / path).exists()]
        for path in SOURCE.findall(text):
            if not any((place / path).exists() for place in (ROOT, ROOT / "src" / "steersman", ROOT / "src")):
                broken.append(f"{name(page)}: {path}")
    assert not broken, "\n".join(broken)


def test_every_test_that_the_docs_name_exists():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    files = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    broken: list[str] = []
    for page in PAGES:
        for test in TEST.findall(page.read_text(encoding="utf-8")):
            if test not in files and not any(f"def {test}" in source for source in sources):
                broken.append(f"{name(page)}: {test}")
    assert not broken, "\n".join(broken)


def classes_in(annotation: object) -> Iterator[type]:
    if isinstance(annotation, type):
        yield annotation
    for part in typing.get_args(annotation):
        yield from classes_in(part)


def patterns(schema: type[Settings], before: str = "") -> Iterator[str]:
    """A regular expression for each setting of a schema, with its dotted path; any name stands for the key of a
    table."""
    for field, info in schema.model_fields.items():
        path = before + field
        if "dict[" in str(info.annotation):
            path += r"\.\w+"
        yield path
        for inner in classes_in(info.annotation):
            if issubclass(inner, Settings):
                yield from patterns(inner, path + r"\.")


def test_every_dotted_setting_that_the_docs_show_with_a_value_exists():
    modules = [
        importlib.import_module(f"steersman.settings.{module.name}")
        for module in pkgutil.iter_modules(steersman.settings.__path__)
    ]
    schemas = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Settings)
    }
    known = {path for schema in schemas for path in patterns(schema)}
    broken: list[str] = []
    for page in PAGES:
        for setting in SETTING.findall(page.read_text(encoding="utf-8")):
            # In a recipe of stages, a setting follows its stage, which is named like its command.
            stage, _, rest = setting.partition(".")
            if not any(re.fullmatch(path, rest if stage in (*STAGES, "rounds") else setting) for path in known):
                broken.append(f"{name(page)}: {setting}")
    assert not broken, "\n".join(broken)


def test_every_page_is_in_the_index_of_docs():
    linked = set(LINK.findall((DOCS / "README.md").read_text(encoding="utf-8")))
    assert not [page.name for page in DOCS.glob("*.md") if page.name not in {*linked, "README.md"}]


def test_every_decision_is_in_the_index_of_decisions():
    decisions = DOCS / "decisions"
    linked = set(LINK.findall((decisions / "README.md").read_text(encoding="utf-8")))
    assert not [page.name for page in decisions.glob("*.md") if page.name not in {*linked, "README.md"}]
