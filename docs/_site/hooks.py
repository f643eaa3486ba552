"""Hooks of MkDocs: the pages of the reference are made while the site is built, and links that lead out of docs/ go to
the repository."""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import reference
from mkdocs.structure.files import File

_LINK = re.compile(r"(\[[^\]]*\]\()([^)\s]+)(\))")
_ITEM = re.compile(r"(?:[-*]|\d+\.) ")
_INDENTED = re.compile(r"^ {2,3}(?=[-*] )")


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    for path, text in reference.pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Write what GitHub's Markdown allows and Python-Markdown does not, and turn links that lead out of docs/."""
    return _lists(_LINK.sub(lambda found: _turned(found, page), markdown))


def _turned(found: re.Match[str], page: Any) -> str:
    link = found[2]
    target = posixpath.normpath(posixpath.join(posixpath.dirname(f"docs/{page.file.src_uri}"), link.partition("#")[0]))
    if "://" in link or link.startswith("#") or target.startswith("docs/"):
        return found[0]
    # A file of the repository that is not part of the site: its name, as code.
    label = found[1][1:-2]
    return label if label.startswith("`") else f"{label} (`{target}` in the repository)"


def _lists(markdown: str) -> str:
    """A blank line before each list, and four spaces before an item of an inner list."""
    lines: list[str] = []
    fenced = False
    for line in markdown.split("\n"):
        fenced ^= line.lstrip().startswith("```")
        if not fenced:
            line = _INDENTED.sub("    ", line)
            before = lines[-1] if lines else ""
            starts = bool(_ITEM.match(line)) and before.strip() and not _ITEM.match(before.lstrip())
            if starts and not before.startswith(" "):
                lines.append("")
        lines.append(line)
    return "\n".join(lines)
