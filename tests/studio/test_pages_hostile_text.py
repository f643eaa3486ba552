"""Hostile text stays text: as prompt, answer, note, guideline, project's title and person's name, nothing of it runs,
makes an element, or asks for anything from elsewhere."""

import json
from html.parser import HTMLParser

from hostile_pages import ALL, ON_PAGE
from page_checks import guarded
from running_pages import choose
from studio_browser import Judge, join, put, task

from steersman.store.people import Person
from steersman.store.projects import find_project, set_guidelines
from steersman.studio.rendering import environment, safe_html


def test_there_are_enough_strings():
    assert len(ALL) >= 300
    assert len(set(ALL)) == len(ALL)


def test_hostile_prompts_answers_reasons_and_notes_stay_text(browser, served):
    project = find_project(served.database, "helpful")
    put(
        project,
        *(
            task("ranking", ALL[start], *ALL[start : start + 9], reason=ALL[start][:200])
            for start in range(0, len(ALL) - 9, 9)
        ),
        task("pair", ALL[0], ALL[1], ALL[2]),
        task("demonstration", ALL[3], ALL[4]),
    )
    set_guidelines(project, "\n\n".join(ALL))
    context = browser.new_context()
    page = context.new_page()
    faults = guarded(page, served.address)
    join(page, served.invite())
    judge = Judge(page, served).open()
    assert page.locator("#guide .prose").inner_text()
    shown = 0
    while page.locator("#task").get_attribute("data-kind") == "ranking":
        page.keyboard.press("n")
        page.get_by_label("Note").fill(ALL[shown])
        page.keyboard.press("Escape")
        assert page.evaluate(ON_PAGE) == []
        page.keyboard.press("m")
        # As text, everything is there, letter by letter (but for what is made visible).
        assert len(judge.answers) == 9
        assert page.evaluate(ON_PAGE) == []
        page.keyboard.press("m")
        shown += 9
        judge.press("t")
    assert page.locator("#task").get_attribute("data-kind") == "pair"
    page.keyboard.press("d")
    assert page.evaluate(ON_PAGE) == []
    judge.press("u")
    assert page.get_by_label("Note").input_value() == ALL[shown - 9]
    judge.press("t")
    judge.press("5")
    page.keyboard.press("1")
    page.keyboard.type(ALL[5])
    page.get_by_text("What you changed").click()
    assert page.evaluate(ON_PAGE) == []
    judge.press("Control+Enter")
    judge.all_sent()
    assert faults == []
    context.close()


def test_hostile_titles_of_projects_stay_text(browser, served):
    for number, text in enumerate(ALL):
        served.project(f"p{number}", settings={"title": text})
    context = browser.new_context()
    page = context.new_page()
    faults = guarded(page, served.address)
    join(page, served.invite("admin", None))
    assert page.locator(".project h2").count() == len(ALL) + 1
    assert page.evaluate(ON_PAGE) == []
    for number in (0, 30, 100):
        page.goto(f"{served.address}/projects/p{number}/label")
        page.wait_for_selector(".empty, .welcome")
        assert page.evaluate(ON_PAGE) == []
    assert faults == []
    context.close()


ON_ADMIN_PAGE = (
    ON_PAGE.replace("'.projects, .top'", "'.top, .frame, dialog'")
    .replace("[data-sign-out]", "[data-sign-out], form[data-send], form.inline, #import-form")
    .replace(".empty svg", ".empty svg, .days svg")
)
"""The same on a page of an admin, which has forms of its own."""


def test_hostile_files_stay_text(browser, served):
    """The name of a file, of its columns, and what its rows hold: in the table, the preview, and what is refused."""
    context = browser.new_context()
    page = context.new_page()
    faults = guarded(page, served.address)
    join(page, served.invite("admin", None))
    page.goto(f"{served.address}/projects/helpful/tasks")
    columns = [one.replace("\n", " ") for one in ALL[:24]]
    for start in range(0, len(ALL) - 24, 24):
        rows = [dict(zip(columns, ALL[start + k : start + k + 24], strict=False)) for k in range(3)]
        choose(page, f"{ALL[start][:60]}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
        assert page.evaluate(ON_ADMIN_PAGE) == []
    page.get_by_label(f"column {columns[3]} holds", exact=True).select_option("system")
    page.locator("#preview:not([aria-busy])").wait_for()
    assert page.evaluate(ON_ADMIN_PAGE) == []
    page.get_by_role("button", name="Import").click()
    page.wait_for_selector("#result .notice, #import-form .message")
    assert page.evaluate(ON_ADMIN_PAGE) == []
    assert faults == []
    context.close()


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, tuple(name for name, _ in attrs)))


def elements_of(html: str) -> list[tuple]:
    parser = Elements()
    parser.feed(html)
    return parser.seen


def test_hostile_names_and_messages_make_no_element():
    """Every page of a labeller has the same elements, whatever the person is called and whatever it says."""
    given = {"rights": frozenset(), "csrf": "c", "path": "/", "project": None, "studio_links": [], "project_links": []}
    for name, more in {
        "home.html": {"title": "Projects", "projects": []},
        "problem.html": {"title": "Nothing here", "message": "no"},
        "sign_in.html": {"title": "Sign in", "next": "/", "message": "no"},
        "join.html": {"title": "Welcome", "secret": "s", "role": "labeller", "to": "x", "back": False, "message": "no"},
    }.items():
        template = environment().get_template(name)
        plain = elements_of(template.render(**given, **more, person=Person(1, "Ann", False)))
        for text in ALL:
            hostile = {key: text if isinstance(value, str) and key != "role" else value for key, value in more.items()}
            assert elements_of(template.render(**given, **hostile, person=Person(1, text, False))) == plain


def test_markdown_of_hostile_text_has_harmless_tags_only():
    harmless = {"p", "br", "hr", *(f"h{level}" for level in range(1, 7)), "blockquote", "pre", "code", "em", "strong"}
    harmless |= {"s", "del", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "a"}
    attributes = {"href", "title", "rel", "start", "class"}
    for text in ALL:
        for tag, names in elements_of(safe_html(text)):
            assert tag in harmless
            assert set(names) <= attributes
