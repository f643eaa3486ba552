"""A report as one self-contained HTML file. It works offline, and its security policy allows only its own script (by
hash).

The template engine escapes every text. The page's data is JSON in which no text can close the script element.
"""

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from steersman.pages.parts import Microscope, Part, Report

FOLDER = "files"
SHELL, PARTS, SCRIPT = "report.html.jinja", "parts.html.jinja", "microscope.js"
STYLES = ("tokens.css", "report.css", "parts.css")

MARK = '<meta name="generator" content="steersman">'


def html_of(report: Report) -> str:
    """The HTML of a report."""
    script = _file(SCRIPT)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=DictLoader({name: _file(name) for name in (SHELL, PARTS)}),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["held"] = held
    environment.filters["data"] = data
    return environment.get_template(SHELL).render(
        report=report,
        style=Markup("".join(_file(name) for name in STYLES)),
        script=Markup(script),
        script_hash=digest,
        scripted=any(_has_microscope(part) for section in report.sections for part in section.parts),
    )


def is_page_of_ours(path: Path) -> bool:
    """Whether a file is a report that Steersman wrote, and may replace."""
    with path.open("rb") as file:
        head = file.read(4096).lower()
    return MARK.encode() in head or b"<title>steersman" in head  # the title is all that older reports have


def held(sentence: str) -> str:
    """The sentence with non-breaking characters: no line break inside "59–85", "0.24 → 0.70" or "held-out", or before
    "%"."""
    sentence = sentence.replace("held-out", "held\u2011out")
    return sentence.replace(" %", "\u00a0%").replace(" → ", "\u00a0→\u00a0").replace("–", "\u2060–\u2060")


def data(content: Any) -> Markup:
    """JSON for a script element, escaped so that no text in it can close the element or open another."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _has_microscope(part: Part) -> bool:
    inside = getattr(part, "parts", ())
    return isinstance(part, Microscope) or any(_has_microscope(one) for one in inside)


def _file(name: str) -> str:
    return resources.files("steersman.pages").joinpath(FOLDER, name).read_text(encoding="utf-8")
