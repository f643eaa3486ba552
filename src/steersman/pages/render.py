"""A report as one HTML file: it opens offline, asks nobody for anything, and runs only the script that it brings (by hash).

Every text is escaped by the template engine; what stands in the page's data is JSON in which nothing can end the element.
"""

import base64
import hashlib
import json
from importlib import resources
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from steersman.pages.parts import Microscope, Part, Report

FOLDER = "files"
SHELL, PARTS, STYLE, SCRIPT = "report.html.jinja", "parts.html.jinja", "report.css", "microscope.js"


def html_of(report: Report) -> str:
    """The page."""
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
        style=Markup(_file(STYLE)),
        script=Markup(script),
        script_hash=digest,
        scripted=any(_has_microscope(part) for section in report.sections for part in section.parts),
    )


def held(sentence: str) -> str:
    """With numbers held together: a line must not end inside "59–85" or "0.24 → 0.70", before "%", or inside "held-out"."""
    sentence = sentence.replace("held-out", "held\u2011out")
    return sentence.replace(" %", "\u00a0%").replace(" → ", "\u00a0→\u00a0").replace("–", "\u2060–\u2060")


def data(content: Any) -> Markup:
    """JSON that may stand inside a script element: no text in it can close the element or open another."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _has_microscope(part: Part) -> bool:
    inside = getattr(part, "parts", ())
    return isinstance(part, Microscope) or any(_has_microscope(one) for one in inside)


def _file(name: str) -> str:
    return resources.files("steersman.pages").joinpath(FOLDER, name).read_text(encoding="utf-8")
