"""The pages of quality in a browser: a reviewer decides with the keyboard, hostile text stays text, axe finds nothing.
A labeller practises with feedback, and sees skipped tasks again."""

from pathlib import Path

import pytest
from hostile_pages import ALL, ON_PAGE
from page_checks import guarded
from studio_browser import Judge, join, put, task

from steersman.records import Comparison, Prompt
from steersman.store.content import Content
from steersman.store.items import NewItem, add_items, list_items
from steersman.store.labelling import Submission, comment_item, flag_item, submit_label
from steersman.store.projects import change_settings, find_project
from steersman.store.reading import read_records
from steersman.store.reading_cursor import cursor_of

AXE = Path(__file__).parents[1] / "helpers" / "axe" / "axe.min.js"
PLACES = """() => { const main = document.getElementById('main'); main.querySelectorAll('form').forEach(one => {
  one.replaceWith(...one.childNodes); }); main.id = 'task'; }"""


@pytest.fixture
def project(served):
    found = find_project(served.database, "helpful")
    put(
        found,
        *(task("pair", f"Question {n}?", f"Good answer {n}", f"Bad answer {n}", overlap=2) for n in range(4)),
        task("ranking", "Rank these", "one", "two", "three"),
        task("rating", "Rate this", "An answer"),
        task("thumb", "Good?", "An answer"),
    )
    for one in list_items(found)[:4]:
        for who, preference in (("ann", 1.0), ("ben", 0.0 if one.id < 3 else 1.0)):
            verdict = {"preference": preference, "shown": "first", "metadata": {"seconds": 9.0}}
            submit_label(found, Submission(who, one.id, f"{who}{one.id}", verdict))
    for one in list_items(found)[4:]:
        flag_item(found, Submission("ann", one.id, f"f{one.id}"), "cut off")
    return found


def test_a_reviewer_decides_a_doubtful_item_with_the_keyboard(browser, served, project):
    context = browser.new_context()
    page = context.new_page()
    join(page, served.invite("reviewer"), "Rob")
    page.goto(f"{served.address}/projects/helpful/quality/doubtful")
    assert page.locator(".doubtful li").count() == 5
    page.get_by_role("link", name="Item 1", exact=True).press("Enter")
    page.wait_for_url("**/items/1")
    page.get_by_label("Tie").focus()
    page.keyboard.press("Space")
    page.get_by_label("Reason").fill("Equally good.")
    page.get_by_role("button", name="Decide").press("Enter")
    page.get_by_text("What people said").wait_for()
    page.get_by_text("What people said").click()
    assert page.get_by_text("Equally good.").is_visible()
    page.get_by_role("link", name="Next doubtful item").press("Enter")
    page.wait_for_url("**/items/2")
    judged = [one.preference for one in read_records(project, cursor_of(project)) if isinstance(one, Comparison)]
    assert judged.count(0.5) == 1
    context.close()


def test_axe_finds_nothing_serious_on_the_pages_of_quality(browser, served, project):
    context = browser.new_context(bypass_csp=True)
    page = context.new_page()
    join(page, served.invite("admin", None), "Ada")
    served.project("empty")
    items = [one.id for one in list_items(project)]
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for path in (
            *("quality", "quality/doubtful", f"quality/items/{items[0]}"),
            *(f"quality/items/{number}" for number in items[4:]),
        ):
            page.goto(f"{served.address}/projects/helpful/{path}")
            page.evaluate("document.querySelectorAll('main details').forEach(one => { one.open = true; })")
            page.add_script_tag(path=str(AXE))
            found = page.evaluate("async () => (await axe.run()).violations")
            assert [(path, one["id"], one["nodes"][0]["html"]) for one in found] == []
    for path in ("quality", "quality/doubtful"):
        page.goto(f"{served.address}/projects/empty/{path}")
        assert page.locator(".empty h2").is_visible()
    context.close()


def test_hostile_text_stays_text_on_the_pages_of_quality(browser, served):
    project = find_project(served.database, "helpful")
    prompt = Prompt(text=ALL[0])
    from steersman.records import Completion

    for start in range(0, len(ALL) - 3, 3):
        pair = Content(
            "pair", Prompt(text=ALL[start]), tuple(Completion(ALL[start + k], model=ALL[start]) for k in (1, 2))
        )
        add_items(project, [NewItem(pair, overlap=2, reason=ALL[start][:500], choice="random")])
    assert prompt.text
    items = list_items(project)
    for place, one in enumerate(items):
        verdict = {"preference": 1.0, "margin": 1.0, "shown": "first", "rationale": ALL[place]}
        submit_label(project, Submission(ALL[place][:150] or "x", one.id, f"l{place}", verdict))
        flag_item(project, Submission("ann", one.id, f"f{place}"), ALL[-place])
        comment_item(project, Submission("ann", one.id, f"c{place}"), ALL[-place])
    context = browser.new_context()
    page = context.new_page()
    faults = guarded(page, served.address)
    join(page, served.invite("reviewer"), "Rob")
    paths = ["quality", "quality/doubtful", *(f"quality/items/{one.id}" for one in items)]
    for path in paths:
        page.goto(f"{served.address}/projects/helpful/{path}")
        page.evaluate(PLACES)
        found = [one for one in page.evaluate(ON_PAGE) if one != "svg"]
        assert found == [], path
    assert faults == []
    context.close()


def test_a_labeller_practises_and_begins(browser, served):
    project = find_project(served.database, "helpful")
    known = [
        NewItem(
            task("pair", f"Practice {n}?", f"Good {n}", f"Bad {n}").content,
            gold={"preference": 1.0, "rationale": f"Good {n} is true."},
            purpose="practice",
        )
        for n in range(2)
    ]
    add_items(project, known)
    put(project, task("pair", "A real one?", "Good", "Bad"))
    change_settings(project, {"practice": {"pass": 1.0, "attempts": 2}})
    context = browser.new_context()
    page = context.new_page()
    join(page, served.invite(), "Ann")
    page.goto(f"{served.address}/projects/helpful/label")
    page.get_by_text("First 2 practice tasks").wait_for()
    page.keyboard.press("Enter")
    judge = Judge(page, served)

    def answer(good: bool) -> None:
        page.wait_for_selector("#bar .tag, .tools .tag")
        judge.settle()
        first = judge.answers[0].startswith("Good")
        page.keyboard.press("1" if first == good else "9")
        page.locator(".welcome").wait_for()

    answer(True)
    assert page.get_by_role("heading", name="Right").is_visible()
    page.keyboard.press("Enter")
    answer(False)
    assert page.get_by_role("heading", name="Another answer was expected").is_visible()
    assert page.get_by_text("is true.").is_visible()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Not enough were right").wait_for()
    page.keyboard.press("Enter")
    for _ in range(2):
        answer(True)
        page.keyboard.press("Enter")
    page.get_by_text("A real one?").wait_for()
    judge.settle()
    judge.press("1")
    judge.all_sent()
    assert len([one for one in read_records(project, cursor_of(project)) if isinstance(one, Comparison)]) == 1
    context.close()


def test_skipped_tasks_are_shown_again(browser, served):
    project = find_project(served.database, "helpful")
    put(project, task("pair", "Skipped?", "Good", "Bad"), task("pair", "Judged?", "Good", "Bad"))
    context = browser.new_context()
    page = context.new_page()
    join(page, served.invite(), "Ann")
    judge = Judge(page, served).open()
    page.keyboard.press("s")
    page.get_by_role("button", name="Skip", exact=True).last.click()
    page.get_by_text("Judged?").wait_for()
    judge.settle()
    judge.press("1")
    page.get_by_role("button", name="See 1 skipped task again").click()
    page.get_by_text("Skipped?").wait_for()
    judge.settle()
    judge.press("1")
    judge.all_sent()
    assert len([one for one in read_records(project, cursor_of(project)) if isinstance(one, Comparison)]) == 2
    context.close()
