"""The documentation site builds without a warning, every link in it leads somewhere, nothing is fetched from elsewhere,
and the search finds settings. Each page begins with what its reader can do after it."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from steersman.assemble.stages import STAGES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OPENING = re.compile(r"# .+\n\nAfter this page you (?:can|have|know) .+\.\n")


def test_each_page_begins_with_what_its_reader_can_do_after_it():
    pages = [page for page in sorted(DOCS.glob("*.md")) if not OPENING.match(page.read_text(encoding="utf-8"))]
    assert [page.name for page in pages] == []


def test_each_page_has_its_place_in_the_site():
    placed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    missing = [
        page.name for page in sorted(DOCS.glob("*.md")) if not re.search(rf"[ :]{re.escape(page.name)}$", placed, re.M)
    ]
    assert missing == [], "add them to nav in mkdocs.yml"


class Page(HTMLParser):
    """The links, anchors and fetched files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("script", "img", "iframe") and values.get("src"):
            self.fetched.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon", "preconnect"):
            self.fetched.append(values.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


@pytest.mark.slow
def test_every_link_of_the_site_leads_somewhere(site, pages):
    broken: list[str] = []
    for path, page in pages.items():
        for link in [*page.links, *page.fetched]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            if not target.exists():
                broken.append(f"{path.relative_to(site)}: {link}")
            elif anchor and target in pages and anchor not in pages[target].anchors and anchor != "__skip":
                broken.append(f"{path.relative_to(site)}: {link} (no such heading)")
    assert broken == []


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site, pages):
    outside = {link for page in pages.values() for link in page.fetched if urlsplit(link).netloc}
    assert outside == set()
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.findall(r"url\(['\"]?https?:", styles)


@pytest.mark.slow
def test_the_reference_names_every_setting_command_and_call(site):
    import steersman
    from steersman.cli.main import app

    shown = {path.stem: path.read_text(encoding="utf-8") for path in (site / "reference").rglob("*.html")}
    assert "<code>kl.coefficient</code>" in shown["ppo"]
    assert "beta, the KL coefficient" in shown["ppo"]
    assert {name.replace(" ", "-") for name, stage in STAGES.items() if stage.schema is not None} <= shown.keys()
    missing = [one.name for one in app.registered_commands if f"steersman {one.name}" not in shown["commands"]]
    assert missing == []
    assert [name for name in steersman.__all__ if f"steersman.{name}" not in shown["python"]] == []


@pytest.mark.slow
def test_the_search_finds_settings_and_terms(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    texts = {one["location"]: one["text"] for one in index["docs"]}
    assert any("kl.coefficient" in text for where, text in texts.items() if where.startswith("reference/settings/ppo"))
    assert any("Bradley" in text for where, text in texts.items() if where.startswith("glossary"))
