"""Every page of the studio, in a real browser, with hostile text in every place that somebody else can write into:
names, roles' pseudonyms, titles, licences, guidelines, rounds, attributes, prompts, answers, models, reasons, notes,
flags, comments, decisions, tokens, and folders, journals and answers of runs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from hostile_pages import ALL, EVERYWHERE
from observed_runs import PLAIN, ppo_run, rounds_folder
from page_checks import guarded
from playwright.sync_api import Page
from studio_browser import Served, join

from steersman.errors import UsageError
from steersman.records import Completion, Prompt
from steersman.runs.folder import RunFolder
from steersman.runs.journal import Journal
from steersman.store.audit import note
from steersman.store.content import Content
from steersman.store.entry import make_invite, make_token
from steersman.store.gold import set_gold
from steersman.store.items import NewItem, add_items, list_items
from steersman.store.labelling import Submission, adjudicate, comment_item, flag_item, skip_task, submit_label
from steersman.store.people import add_person, join_project
from steersman.store.projects import change_settings, find_project, set_guidelines, set_licence, set_role
from steersman.store.webhooks import add_webhook
from steersman.studio.app import all_routes
from steersman.studio.settings import StudioSettings

ENOUGH = 200


def shown_part(text: str) -> str:
    """What of a text is there on a page, however it is drawn: letters and digits, one after the other."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"&#?\w+;", "", text).lower())


class Visitor:
    """A browser that looks at page after page, and remembers which of the hostile strings it has seen."""

    def __init__(self, browser: Any, served: Served, name: str) -> None:
        self.served = served
        self.page: Page = browser.new_context().new_page()
        self.page.set_default_timeout(60_000)
        self.faults = guarded(self.page, served.address)
        join(self.page, served.invite("admin", None), name)
        self.wanted = {text: part for text in ALL if len(part := shown_part(text)) > 5}
        self.seen: set[str] = set()

    def visit(self, path: str) -> None:
        reply = self.page.goto(self.served.address + path)
        assert reply is not None
        assert reply.status == 200, path
        self.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        self.look(path)

    def look(self, path: str) -> None:
        assert self.page.evaluate(EVERYWHERE) == [], path
        everything = shown_part(
            self.page.evaluate(
                "[document.body.textContent,"
                " ...[...document.querySelectorAll('input, textarea')].map(one => one.value),"
                " ...[...document.querySelectorAll('[aria-label], [title], [data-ask]')].map("
                "one => `${one.ariaLabel} ${one.title} ${one.dataset.ask}`)].join(' ')"
            )
        )
        self.seen |= {text for text, part in self.wanted.items() if part in everything}

    def done(self) -> None:
        assert self.faults == []
        assert len(self.seen) >= ENOUGH, f"only {len(self.seen)} of {len(ALL)} strings were shown"
        self.page.context.close()


def pair_of(place: int) -> NewItem:
    one = ALL[place % len(ALL)]
    answers = tuple(Completion(ALL[(place + k) % len(ALL)], model=one) for k in (1, 2))
    return NewItem(Content("pair", Prompt(text=one), answers), one[:200], 2, float(place), one, choice="random")


def others_of(place: int) -> list[NewItem]:
    texts = [ALL[(place + k) % len(ALL)] for k in range(4)]
    answers = tuple(Completion(text, model=texts[0]) for text in texts[1:])
    prompt = Prompt(text=texts[0])
    return [
        NewItem(Content("ranking", prompt, answers), texts[0][:200], 1, 0.0, texts[1]),
        NewItem(Content("rating", prompt, answers[:1]), texts[0][:200], 1, 0.0, texts[1]),
        NewItem(Content("thumb", prompt, answers[:1]), texts[0][:200], 1, 0.0, texts[1]),
        NewItem(Content("demonstration", prompt, answers[:1]), texts[0][:200], 1, 0.0, texts[1]),
    ]


def fill(served: Served) -> None:
    """A project "helpful" whose every text is hostile."""
    project = find_project(served.database, "helpful")
    names = ("quality", *(f"a{n}" for n in range(12)))
    attributes = [
        {"name": name, "title": ALL[n], "description": ALL[n + 20], "low": ALL[n + 40], "high": ALL[n + 60]}
        for n, name in enumerate(names)
    ]
    change_settings(project, {"title": ALL[7], "attributes": attributes})
    set_licence(project, ALL[8])
    for text in (*ALL[:19], "\n\n".join(ALL)):
        set_guidelines(project, text)
    add_items(project, [*(pair_of(place) for place in range(0, len(ALL), 3)), *others_of(11), *others_of(90)])
    items = list_items(project, limit=1000)
    for place, one in enumerate(items):
        text = ALL[place % len(ALL)]
        who = (text[:190], ALL[-place - 1][:190])
        for number, name in enumerate(who if one.content.kind == "pair" else ()):
            verdict = {"preference": float(number), "margin": 1.0, "shown": "first", "rationale": text}
            submit_label(project, Submission(name, one.id, f"label-{place}-{number}", verdict))
        flag_item(project, Submission(who[0], one.id, f"flag-{place}"), text)
        comment_item(project, Submission(who[1], one.id, f"comment-{place}"), ALL[-place])
        skip_task(project, Submission("skipper", one.id, f"skip-{place}"), text)
        if one.content.kind == "pair" and place % 3 == 0:
            set_role(project, who[0], "reviewer")
            said = {"preference": 0.5, "rationale": text}
            adjudicate(project, Submission(who[0], one.id, f"decision-{place}", said))
        if one.content.kind == "pair" and place % 9 == 4:
            set_gold(project, "ada", one.id, f"gold-{place}", {"preference": 1.0, "rationale": text})
    people(served)
    with served.database.write() as connection:
        add_webhook(connection, project, "https://example.org/" + ALL[3].replace(" ", "")[:60])


def people(served: Served) -> None:
    """Members whose names, and whose tokens' names, are hostile."""
    project = find_project(served.database, "helpful")
    with served.database.write() as connection:
        for place, text in enumerate(ALL):
            try:
                person = add_person(connection, text[:100])
            except UsageError:  # a name without letters that can be shown, or of which only the case differs
                continue
            join_project(connection, project, person.id, ("labeller", "reviewer", "viewer")[place % 3])
            make_token(connection, person.id, text[:100], "read")
            about = {"of": person.id, "changed": [text], "to": text, "name": text}
            note(connection, "change_role", person_id=person.id, project_id=project.id, about=about)
        make_invite(connection, "labeller", found=project)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A studio full of hostile text, with runs."""
    runs = tmp_path_factory.mktemp("hostile") / "runs"
    settings = StudioSettings(requests=(50000, 10000.0), attempts=(1000, 100.0), runs=(runs,), webhooks=True)
    served = Served(str(tmp_path_factory.mktemp("studio") / "studio.db"), settings)
    served.project("helpful")
    fill(served)
    fill_runs(runs)
    yield served
    served.stop()


def fill_runs(runs: Path) -> None:
    """Runs and rounds with hostile names, sentences, prompts, answers and evidence."""
    for place in range(0, len(ALL) - 4, 15):
        name = ALL[place].replace("/", "∕").replace("\x00", "").encode()[:120].decode("utf-8", "ignore")
        run = RunFolder(ppo_run(runs / f"{place} {name}", steps=6, texts=ALL[place : place + 3]))
        with Journal(run.journal_path) as journal:
            for text in ALL[place : place + 15]:
                journal.write({"step": 6, "notice": text})
            journal.write({"step": 7, "score": 0.5, ALL[place + 3]: 1.0})
        sample = json.loads(run.samples_path(6).read_text(encoding="utf-8").split("\n")[0])
        rows = [
            {**sample, "prompt": ALL[place + k], "answer": ALL[place + k + 1], "offsets": [[0, 1], [1, 2], [2, 3]]}
            for k in range(4)
        ]
        run.samples_path(6).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for place in (5, 200):
        rounds_folder(runs / f"rounds {place}", texts=ALL[place : place + 3])
    rounds_folder(runs / "rounds", texts=PLAIN)


PROJECT = "/projects/helpful"
VISITED = {
    "admin": (
        *("/", "/new-project", "/people", "/account", "/audit", "/people/{person}"),
        *("/projects/{project}", "/projects/{project}/tasks", "/projects/{project}/gold"),
        *("/projects/{project}/guidelines", "/projects/{project}/people", "/projects/{project}/export"),
        *("/projects/{project}/settings", "/projects/{project}/audit"),
    ),
    "quality": (
        *("/projects/{project}/quality", "/projects/{project}/quality/doubtful"),
        "/projects/{project}/quality/items/{item}",
    ),
    "observatory": (
        *("/runs", "/runs/compare", "/runs/{run}", "/runs/{run}/sections", "/runs/{run}/lineage"),
        *("/rounds/{rounds}", "/rounds/{rounds}/prompts/{prompt}"),
    ),
    "labelling": ("/projects/{project}/label",),  # test_pages_hostile_text.py
    "outside": ("/sign-in", "/join/{secret}"),  # they show nothing of others; likewise there
    "no pages": ("/api/openapi.json", "/static/shared/{name}"),
}


def test_every_page_is_visited_by_these_tests(hostile):
    pages = {
        one.path
        for one in all_routes(hostile.app.routes)
        if isinstance(one, APIRoute) and not one.include_in_schema and "GET" in (one.methods or ())
    }
    assert pages == {path for group in VISITED.values() for path in group}


def test_hostile_text_stays_text_on_the_pages_of_an_admin(browser, hostile):
    visitor = Visitor(browser, hostile, "Ada")
    with hostile.database.read() as connection:
        from steersman.store.people import members_of

        ids = [one.person_id for one in members_of(connection, find_project(hostile.database, "helpful").id)]
    for path in VISITED["admin"]:
        if "{person}" not in path:
            visitor.visit(path.replace("{project}", "helpful"))
    for page in ("tasks", "gold", "audit"):
        visitor.visit(f"{PROJECT}/{page}")
        while (more := visitor.page.get_by_role("link", name=re.compile("^(Next tasks|Earlier)"))).count():
            visitor.visit(more.first.get_attribute("href") or "")
    for number in ids[:: len(ids) // 8]:
        visitor.visit(f"/people/{number}")
    ask_about_people(visitor)
    visitor.visit(f"{PROJECT}/guidelines")
    for button in visitor.page.locator("[data-version]").all()[:4]:
        button.click()
        visitor.page.wait_for_timeout(400)
        visitor.look("a preview of guidelines")
    visitor.done()


def ask_about_people(visitor: Visitor) -> None:
    """What the page makes of a name by itself: a question before somebody is removed, a message after a change."""
    visitor.visit(f"{PROJECT}/people")
    removes = visitor.page.get_by_role("button", name=re.compile("^Remove"))
    for place in range(0, removes.count(), 60):
        removes.nth(place).click()
        visitor.page.wait_for_selector("dialog[open]")
        visitor.look("the question before a person is removed")
        visitor.page.keyboard.press("Escape")
    roles = visitor.page.locator("select[data-send]")
    for place in range(0, roles.count(), 110):
        roles.nth(place).select_option("viewer")
        visitor.page.wait_for_timeout(300)
        visitor.look("the message after a change of role")


def test_hostile_text_stays_text_on_the_pages_of_quality(browser, hostile):
    visitor = Visitor(browser, hostile, "Rob")
    items = list_items(find_project(hostile.database, "helpful"), limit=1000)
    for path in ("quality", "quality/doubtful", "quality/doubtful?skip=50", "quality/doubtful?skip=100"):
        visitor.visit(f"{PROJECT}/{path}")
    for one in [*items[:-8:3], *items[-8:]]:
        visitor.visit(f"{PROJECT}/quality/items/{one.id}")
    visitor.done()


def test_hostile_text_stays_text_on_the_pages_of_runs(browser, hostile):
    visitor = Visitor(browser, hostile, "Vera")
    visitor.visit("/runs")
    runs = [one for one in hostile.app.state.studio.runs.runs().values() if not one.within]
    for one in runs:
        visitor.visit(f"/runs/{one.id}")
        visitor.page.wait_for_selector("#charts canvas")
        visitor.look(one.name)
    for one in runs[:3]:
        visitor.visit(f"/runs/{one.id}/lineage")
        visitor.visit(f"/runs/{one.id}/sections")
    visitor.visit("/runs/compare?" + "&".join(f"run={one.id}" for one in runs[:4]))
    for one in hostile.app.state.studio.runs.graphs().values():
        visitor.visit(f"/rounds/{one.id}")
        visitor.visit(f"/rounds/{one.id}?q=%3Cscript%3Ewindow.__ran%3D1%3C%2Fscript%3E")
        visitor.visit(f"/rounds/{one.id}")
        links = visitor.page.locator(".prompts a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
        for link in links[:4]:
            visitor.visit(link)
    visitor.done()
