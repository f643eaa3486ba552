"""Requests that somebody else made a browser send, addresses that are not the studio's, and texts that want to run."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest
from payloads import PATHS, SCRIPTS
from studio_visits import calls_of, path_of

from steersman.records import Completion, Message, Prompt
from steersman.store.content import Content
from steersman.store.items import NewItem, add_items
from steersman.studio.rendering import safe_html

WRITES = ("POST", "PUT", "PATCH", "DELETE")


def test_every_write_of_a_browser_shows_a_token(site):
    """Whoever is signed in, and on every route: without the token of a page the write is refused before anything."""
    ada = site.admin()
    me = ada.get("/api/me").json()
    for method, route in calls_of(site.app):
        if method in WRITES:
            for token in ("", "x" * 27, me["csrf"][:-1]):
                reply = ada.client.request(method, path_of(route), headers={"X-CSRF": token}, json={})
                assert (reply.status_code, "too old" in reply.text) == (403, True), (method, route.path)
    assert ada.get("/api/me").status_code == 200, "nothing was done: the session is as it was"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8401"},
        {"Origin": "http://localhost.evil.example:8400"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_write_from_another_site_is_refused_even_with_the_token(site, headers):
    ann = site.person("Ann")
    refused = ann.post("/api/tokens", {"name": "script"}, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "origin")
    assert ann.post("/api/tokens", {"name": "script"}, headers={"Origin": "http://localhost:8400"}).status_code == 201


def test_a_token_of_one_session_is_none_in_another(site):
    ann, ben = site.person("Ann"), site.person("Ben")
    ann.csrf, ben.csrf = ben.csrf, ann.csrf
    assert ann.post("/api/tokens", {"name": "x"}).status_code == 403


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "evil.example:8400", "127.0.0.1.nip.io", "", "[::2]", "127.0.0.2"],
)
def test_other_names_are_refused(site, host):
    """A page of an attacker whose name leads to 127.0.0.1 (DNS rebinding) is not served."""
    reply = site.person("Ann").client.get("/api/me", headers={"Host": host})
    assert (reply.status_code, reply.json()["error"]["code"]) == (421, "host")


def test_headers_of_every_reply(site):
    ann = site.person("Ann")
    for path in ("/", "/api/me", "/nothing", "/static/css/studio.css", "/api/projects/other", "/sign-in"):
        headers = ann.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src 'self';" in policy
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert headers["cache-control"] == ("no-cache" if "static" in path else "no-store")
        assert "server" not in headers


def test_pages_hold_no_inline_script_or_style(site, tasks):
    tasks(1)
    ada = site.admin()
    for path in ("/", "/nothing", "/projects/helpful/label"):
        page = ada.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", page)
        assert not re.search(r"\son\w+\s*=|<style|\sstyle=|javascript:", page)
        assert not re.search(r"""(src|href)=["'](https?:)?//""", page), "no request to another host"


def test_bodies_have_a_size(site):
    ann = site.person("Ann")
    large = "x" * (site.app.state.studio.settings.max_body + 1)
    assert ann.event("comment", 1, text=large).status_code == 413
    chunks = (b"x" * 2**20 for _ in range(6))
    streamed = ann.send("POST", "/api/projects/helpful/events", content=chunks)
    assert streamed.status_code == 413


def test_deep_and_odd_bodies_are_refused_in_words(site):
    ann = site.person("Ann")
    bodies = ["[" * 100_000, '{"key": "\\ud800"}', "{", "", "[]", "null", '{"key": 1e999}', '{"key": NaN}', "\x00"]
    for body in bodies:
        reply = ann.send(
            "POST", "/api/projects/helpful/events", content=body, headers={"Content-Type": "application/json"}
        )
        assert reply.status_code in (400, 422), body[:20]
        assert reply.json()["error"]["message"]


class Seen(HTMLParser):
    """The tags and attributes of a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


HARMLESS = {
    *("p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "code", "em", "strong", "s", "del"),
    *("ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "a"),
}


def inert(html: str) -> bool:
    """Whether a text has only tags and attributes that can do nothing by themselves."""
    for tag, attributes in Seen(html).tags:
        if tag not in HARMLESS or not set(attributes) <= {"href", "title", "rel", "start", "class"}:
            return False
        link = attributes.get("href") or ""
        if tag == "a" and not re.match(r"(https?://|mailto:|[^:]*$)", link, re.IGNORECASE):
            return False
    return True


def test_there_are_two_hundred_scripts():
    assert len(set(SCRIPTS)) >= 200


def test_scripts_in_markdown_do_nothing():
    assert [text for text in SCRIPTS if not inert(safe_html(text))] == []
    assert not inert("<p onclick=x>"), "the check finds what it looks for"
    assert not inert('<a href="javascript:alert(1)">x</a>')


def test_scripts_come_back_as_text(site):
    """As prompt, answer, title, guidelines, rationale and names, through the API and on pages."""
    from steersman.store.projects import change_settings, set_guidelines

    add_items(
        site.project,
        [
            NewItem(
                Content("pair", Prompt((Message("user", text),)), (Completion(text or "a"), Completion(f"{text} b"))),
                overlap=1,
                reason=text,
            )
            for text in SCRIPTS
        ],
    )
    ada = site.admin()
    shown: list[str] = []
    while tasks := ada.next(ahead=12):
        for task in tasks:
            shown += [one["content"] for one in task["prompt"]]
            assert all(inert(one["html"]) for one in (*task["prompt"], *task["answers"]))
            text = task["prompt"][0]["content"]
            said = ada.event("label", task["id"], choice="first", rationale=text[:5000])
            assert said.status_code == 200
    assert sorted(shown) == sorted(SCRIPTS)
    kept = [one["said"].get("rationale") for one in ada.get("/api/projects/helpful/events?limit=1000").json()]
    assert sorted(filter(None, kept)) == sorted(filter(None, SCRIPTS))
    for text in SCRIPTS[::10]:
        change_settings(site.project, {"title": text})
        set_guidelines(site.project, text)
        reply = ada.get("/api/projects/helpful")
        assert reply.headers["content-type"] == "application/json"
        assert inert(reply.json()["guidelines"])
        before = [tag for tag, _ in Seen(ada.get("/sign-in", follow_redirects=True).text).tags]
        page = Seen(ada.get("/").text).tags
        assert all(not name.startswith("on") for _, attributes in page for name in attributes)
        assert all(attributes.get("src") for tag, attributes in page if tag == "script")
        assert before


def test_scripts_as_names_are_text_or_refused(site):
    ada = site.admin()
    for text in SCRIPTS[::20]:
        visit = site.stranger()
        joined = visit.join(site.invite("labeller"), text)
        assert joined.status_code in (200, 400)
        assert all(attributes.get("src") for tag, attributes in Seen(joined.text).tags if tag == "script")
        if joined.status_code == 200:
            assert "csrf" in visit.get("/api/me").json()
    assert ada.get("/api/people").status_code == 200


def test_there_are_a_hundred_paths():
    assert len(set(PATHS)) >= 100


def test_paths_lead_nowhere_else(site, tmp_path):
    """In addresses, as file names, as formats and names of exports: nothing outside is read or written."""
    ada = site.admin()
    secret = tmp_path / "secret.jsonl"
    secret.write_text('{"prompt": "SECRET"}\n')
    before = sorted(path for path in tmp_path.rglob("*") if "studio.db" not in path.name)
    wrong: list[str] = []
    for number, path in enumerate(PATHS):
        asked = [
            ("GET", f"/static/{path}", None),
            ("GET", f"/api/projects/{path}", None),
            ("GET", f"/join/{path}", None),
        ]
        if number % 4 == 0:
            query = {"to": path[:40], "round": path[:100]}
            asked += [("GET", "/api/projects/helpful/export", query)]
        for method, address, query in asked:
            try:
                reply = ada.client.request(method, address, params=query)
            except (httpx2.InvalidURL, httpx2.LocalProtocolError, UnicodeError):
                continue  # an address that no client can send
            if reply.status_code >= 500 or "SECRET" in reply.text or "root:" in reply.text:
                wrong.append(f"{address}: {reply.status_code} {reply.text[:80]}")
    assert wrong == []
    for path in PATHS[::5]:
        name = f"{path}.jsonl".replace("\x00", "%00").replace("\n", "").replace("\r", "")
        files = {"file": (name, b'{"prompt": "Hello"}\n')}
        reply = ada.send("POST", "/api/projects/helpful/files", files=files)
        assert reply.status_code in (201, 400, 422), reply.text
        kept: dict[str, Any] = {"file": path[:64], "task": "demonstration"}
        assert ada.post("/api/projects/helpful/imports", kept).status_code in (400, 422)
        named = ada.post("/api/projects", {"name": path[:64]}).status_code
        # A name such as NUL is one like others: it is never a path.
        assert (named == 201) == (re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", path[:64]) is not None), path
        assert named in (201, 400, 422)
    assert sorted(path for path in tmp_path.rglob("*") if "studio.db" not in path.name) == before
    assert json.loads(secret.read_text()) == {"prompt": "SECRET"}
