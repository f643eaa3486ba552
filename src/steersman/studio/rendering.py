"""Pages: templates with automatic escaping, and Markdown made into HTML that can do nothing.

Every template gets `person` (or None), `rights` (of the page's project), `csrf`, `path`, the pages to go to
(`studio_links`, `project_links`), and the filter `markdown`. A page of a project extends `project.html` and is made by
`project_page`.
"""

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import nh3
from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from steersman.pages.render import data, held
from steersman.store.projects import Project, facts_of
from steersman.studio.navigation import project_links, studio_links

HERE = Path(__file__).parent
TEMPLATES, STATIC = HERE / "templates", HERE / "static"
PARTS = HERE.parent / "pages" / "files"
"""Parts that reports and the studio both draw: a template, their style and script."""

_TAGS = {
    *("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "code", "em", "strong", "s", "del"),
    *("ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "a"),
}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "code": {"class"}}


@lru_cache
def _parser() -> MarkdownIt:
    # No HTML, and no images: an answer must not be able to send a request.
    return (
        MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"]).disable("image")
    )


@lru_cache(maxsize=4096)
def safe_html(text: str) -> str:
    """Markdown as HTML of a few harmless tags. Links lead to http, https and mail addresses, without a referrer."""
    made = _parser().render(text)
    return nh3.clean(
        made,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        attribute_filter=_harmless,
    )


def _harmless(tag: str, attribute: str, value: str) -> str | None:
    """Classes that name a language, and whole addresses: a link inside the studio is none that a text should make."""
    if attribute == "href":
        return value if value.lower().startswith(("http:", "https:", "mailto:")) else None
    if (tag, attribute) == ("code", "class"):
        return value if value.startswith("language-") and value[9:].replace("-", "").isalnum() else None
    return value


def slug(text: str) -> str:
    """A text as a part of an address."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def version(text: str) -> str:
    """A hash, to see whether a part of a page has changed."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


@lru_cache
def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader([TEMPLATES, PARTS]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"held": held, "data": data, "slug": slug, "version": version}
    made.filters["markdown"] = lambda text: Markup(safe_html(text))
    return made


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A page. `request.state.door` is who asks, and the token of this page's forms (`access`). An address that is none
    has no door."""
    door, path = getattr(request.state, "door", None), request.url.path
    project: Project | None = context.get("project")
    given: dict[str, Any] = {"person": None, "rights": frozenset[str](), "csrf": "", "path": path, "project": None}
    if door is not None:
        given |= {"person": door.person, "rights": door.rights, "csrf": door.csrf}
    given["studio_links"] = studio_links(given["person"], path, sees_runs=door is not None and door.sees_runs)
    given["project_links"] = [] if project is None else project_links(given["rights"], project.name, path)
    response = HTMLResponse(environment().get_template(template).render(**{**given, **context}), status)
    if door is not None:
        door.keep_visit(response)
    return response


def project_page(
    request: Request, project: Project, template: str, *, title: str, status: int = 200, **context: Any
) -> HTMLResponse:
    """A page of a project, in the frame that all of them have (`project.html`)."""
    facts = facts_of(project)
    shown = {"project": project, "project_title": str(facts.settings.get("title") or facts.name), "state": facts.state}
    return page(request, template, status=status, title=title, **shown, **context)
