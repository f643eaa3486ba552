"""Everybody can use the pages: axe finds no serious issue; the keyboard reaches everything, and its place is shown."""

import pytest
from page_checks import FOCUSABLE, FOCUSED, serious
from playwright.sync_api import Page
from running_pages import RUNNING, fill_running
from screenshots import GUIDELINES, PAGES, PROJECTS, fill
from studio_browser import Served, join


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    served = Served(str(tmp_path_factory.mktemp("studio") / "studio.db"))
    fill(served)
    fill_running(served, GUIDELINES)
    yield served
    served.stop()


@pytest.fixture(scope="module", params=[("light", 1280), ("dark", 390)], ids=["light-1280", "dark-390"])
def visitor(request, browser, filled):
    scheme, width = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    join(page, filled.invite("labeller", PROJECTS[0]), f"Ann {scheme}")
    for project in PROJECTS[1:]:
        page.goto(filled.invite("labeller", project))
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/")
    yield page
    context.close()


@pytest.fixture(scope="module", params=[("light", 1280), ("dark", 390)], ids=["light-1280", "dark-390"])
def admin(request, browser, filled):
    scheme, width = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    join(page, filled.invite("admin", None), f"Ada {scheme}")
    yield page
    context.close()


@pytest.mark.parametrize("name", list(PAGES))
def test_axe_finds_nothing_serious(visitor, filled, name):
    PAGES[name](visitor, filled)
    found = serious(visitor)
    visitor.context.set_offline(False)
    assert found == []


@pytest.mark.parametrize("path", ["/sign-in", "/projects/nowhere/label"])
def test_axe_finds_nothing_serious_outside(browser, filled, path):
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(filled.address + path)
    assert serious(page) == []
    page.goto(filled.invite("labeller", PROJECTS[0]))
    assert serious(page) == []
    context.close()


@pytest.mark.parametrize("name", list(RUNNING))
def test_axe_finds_nothing_serious_on_the_pages_of_an_admin(admin, filled, name):
    RUNNING[name](admin, filled)
    assert serious(admin) == []


@pytest.mark.parametrize(
    "name",
    [
        *("projects", "welcome", "pair", "ranking-begun", "rating", "thumb", "demonstration", "red-team"),
        *("red-team-answers", "empty"),
    ],
)
def test_the_keyboard_reaches_everything_and_shows_where_it_is(visitor, filled, name):
    PAGES[name](visitor, filled)
    walk(visitor)


@pytest.mark.parametrize(
    "name", ["progress", "upload-columns", "red-team-goals", "gold", "guidelines", "invited", "settings", "person"]
)
def test_the_keyboard_reaches_everything_on_the_pages_of_an_admin(admin, filled, name):
    RUNNING[name](admin, filled)
    walk(admin)


def walk(visitor: Page) -> None:
    """Go through the page with Tab: everything that can be used is reached, and it can be seen where one is."""
    wanted = set(visitor.evaluate(FOCUSABLE))
    assert wanted
    reached = set()
    for _ in range(3 * len(wanted) + 10):
        visitor.keyboard.press("Tab")
        at = visitor.evaluate(FOCUSED)
        if at is None:
            continue
        if at["probe"]:
            reached.add(at["probe"])
            assert at["shown"], f"the focus cannot be seen on {at['name']}"
        if wanted <= reached:
            break
    missing = [
        visitor.evaluate('probe => document.querySelector(`[data-probe="${probe}"]`).outerHTML.slice(0, 120)', one)
        for one in sorted(wanted - reached)
    ]
    assert missing == []
