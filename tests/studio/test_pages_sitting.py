"""A whole sitting in a real browser, by keys alone and by touch on a phone. The project's export holds exactly what was
judged, whatever was undone and whenever the connection was lost."""

import json

import pytest
from playwright.sync_api import Page
from studio_browser import Judge, Served, pair, put, task

from steersman.store.export import export_project
from steersman.store.projects import find_project

PAIRS = 22
GOOD, BAD = "A careful answer.", "A careless answer."
ANSWERS = ("Alpha.", "Beta.", "Gamma.", "Delta.", "Epsilon.")
MODEL_ANSWER = "Exercise makes you live forever."


def served_here(address: str) -> Served:
    served = Served(address)
    project = served.project("helpful", guidelines="Be *kind*.", settings={"title": "Helpful answers"})
    put(
        project,
        *(pair(f"Question {n}?", GOOD, BAD) for n in range(PAIRS)),
        task("ranking", "Order these.", *ANSWERS),
        task("demonstration", "What are the benefits of exercise?", MODEL_ANSWER),
    )
    return served


@pytest.fixture
def served(address):
    served = served_here(address)
    yield served
    served.stop()


def exported(served: Served, tmp_path) -> list[dict]:
    path = tmp_path / "all.jsonl"
    export_project(find_project(served.database, "helpful"), path)
    return [row for row in map(json.loads, path.read_text().splitlines()) if row.get("annotator")]


def judged_pairs(rows: list[dict]) -> dict[str, tuple]:
    """Prompt -> (the better answer's text or what was said instead, strength)."""
    found = {}
    for row in rows:
        if row["kind"] != "comparison":
            continue
        asked = row["prompt"]["messages"][-1]["content"]
        better = {1.0: 0, 0.0: 1}.get(row["preference"])
        said = "both bad" if row.get("both_bad") else "tie"
        text = said if better is None else row["completions"][better]["text"]
        assert asked not in found, f"{asked} was judged twice"
        found[asked] = (text, row.get("margin"))
    return found


# Key -> (place of the better answer, or what is said instead; strength)
KEYS = {
    **{str(5 - grade): (0, float(grade)) for grade in (4, 3, 2, 1)},
    **{str(5 + grade): (1, float(grade)) for grade in (1, 2, 3, 4)},
    "5": ("tie", None),
    "0": ("both bad", None),
    "t": ("tie", None),
    "x": ("both bad", None),
}


def by_key(judge: Judge, expected: dict[str, tuple], key: str) -> None:
    place, strength = KEYS[key]
    text = judge.answers[place] if isinstance(place, int) else place
    expected[judge.prompt] = (text, strength)
    judge.press(key)


def tab_to(page: Page, name: str) -> None:
    """Go to a control by the keyboard alone."""
    for _ in range(40):
        page.keyboard.press("Tab")
        said = page.evaluate("document.activeElement.innerText || document.activeElement.labels?.[0]?.innerText || ''")
        if name in said:
            return
    raise AssertionError(f"no Tab leads to {name!r}")


def test_a_sitting_by_keys_alone(browser, served, tmp_path):
    page = browser.new_page()
    # Sign in by the invite's link, and find the project.
    page.goto(served.invite())
    tab_to(page, "Your name")
    page.keyboard.type("Ann")
    page.keyboard.press("Enter")
    page.wait_for_url("**/")
    tab_to(page, "Start")
    page.keyboard.press("Enter")
    page.wait_for_selector(".welcome")
    judge = Judge(page, served)
    page.keyboard.press("Enter")
    judge.settle(but="")

    expected: dict[str, tuple] = {}
    keys = ["1", "9", "5", "0", "2", "8", "3", "7", "4", "6"]
    for key in keys:
        by_key(judge, expected, key)
    # Two are taken back, newest first, and judged anew.
    last, before_last = list(expected)[-1], list(expected)[-2]
    judge.press("u")
    assert judge.prompt == last
    judge.press("Control+z")
    assert judge.prompt == before_last
    by_key(judge, expected, "x")
    assert judge.prompt == last
    by_key(judge, expected, "t")
    # Two keys for one judgement: the side, then how much better.
    expected[judge.prompt] = (judge.answers[0], 3.0)
    judge.press("a", "3")
    # The connection is lost for three of them, and one more that is taken back.
    judge.all_sent()
    page.context.set_offline(True)
    for key in ("9", "1", "5"):
        by_key(judge, expected, key)
    by_key(judge, {}, "1")
    judge.press("u")
    assert judge.waiting == 5
    assert "Offline" in page.locator("#connection").inner_text()
    page.context.set_offline(False)
    judge.all_sent()
    while judge.page.locator("#task").get_attribute("data-kind") == "pair":
        by_key(judge, expected, "8")
    assert len(expected) == PAIRS
    # A ranking of five: 4 is the best, 2 and 5 tie, 1 is next, 3 is not named.
    order = [text.strip() for text in judge.answers]
    judge.press("4", "2", "=", "5", "1", "Enter")
    # A demonstration, written with the keyboard.
    page.keyboard.press("Enter")
    page.keyboard.type("It helps you to sleep,\nand to think.")
    judge.press("Control+Enter")
    assert "All done" in page.locator("#task h2").inner_text()
    judge.all_sent()

    rows = exported(served, tmp_path)
    assert judged_pairs(rows) == expected
    (ranking,) = [row for row in rows if row["kind"] == "ranking"]
    ranks = {one["text"]: rank for one, rank in zip(ranking["completions"], ranking["ranks"], strict=True)}
    assert [ranks[text] for text in order] == [3, 2, 4, 1, 2]
    (written,) = [row for row in rows if row["kind"] == "demonstration"]
    assert written["completions"][0]["text"] == "It helps you to sleep,\nand to think."
    assert len(rows) == PAIRS + 2
    assert len({row["annotator"] for row in rows}) == 1


def test_a_sitting_by_touch_on_a_phone(browser, served, tmp_path):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(served.invite())
    page.get_by_label("Your name").tap()
    page.keyboard.type("Ben")
    page.get_by_role("button", name="Start").tap()
    page.wait_for_url("**/")
    page.get_by_role("link", name="Start").tap()
    page.wait_for_selector(".welcome")
    judge = Judge(page, served)
    page.get_by_role("button", name="Start").tap()
    judge.settle(but="")
    assert judge.touches
    expected: dict[str, tuple] = {}

    def graded(side: int, word: str, strength: float) -> None:
        expected[judge.prompt] = (judge.answers[side], strength)
        page.locator("#bar").get_by_role("button", name=f"{'AB'[side]} is better", exact=True).tap()
        judge.tap(f"{'AB'[side]} is {word} better")

    def plain(name: str, said: str) -> None:
        expected[judge.prompt] = (said, None)
        judge.tap(name)

    for _ in range(4):
        graded(0, "far", 4.0)
        graded(1, "barely", 1.0)
        plain("Tie", "tie")
        plain("Both bad", "both bad")
    last = judge.prompt
    judge.tap("Undo")
    judge.tap("Undo")
    graded(1, "slightly", 2.0)
    graded(0, "clearly", 3.0)
    assert judge.prompt == last
    judge.all_sent()
    context.set_offline(True)
    for _ in range(3):
        graded(0, "far", 4.0)
    context.set_offline(False)
    judge.all_sent()
    while page.locator("#task").get_attribute("data-kind") == "pair":
        graded(1, "far", 4.0)
    # The answers themselves are touched in order; the third one twice by its buttons: out, and in again.
    order = [text.strip() for text in judge.answers]
    for place in (5, 1, 3):
        page.locator(".answer .answer-text").nth(place - 1).tap()
    page.get_by_role("button", name="Answer 3: move up").tap()
    page.get_by_role("button", name="Answer 1: take out of the order").tap()
    judge.tap("Submit")
    # A demonstration that begins with the model's answer.
    page.get_by_role("button", name="Edit this answer").tap()
    field = page.get_by_label("Your answer")
    field.fill("Exercise helps you to live longer.")
    page.get_by_text("What you changed").tap()
    page.locator(".changes del").first.wait_for()
    assert page.locator(".changes ins").all_inner_texts()
    judge.tap("Submit")
    judge.all_sent()

    rows = exported(served, tmp_path)
    assert judged_pairs(rows) == expected
    assert len(expected) == PAIRS
    (ranking,) = [row for row in rows if row["kind"] == "ranking"]
    ranks = {one["text"]: rank for one, rank in zip(ranking["completions"], ranking["ranks"], strict=True)}
    assert [ranks[text] for text in order] == [3, 3, 2, 3, 1]
    (written,) = [row for row in rows if row["kind"] == "demonstration"]
    assert written["completions"][0]["text"] == "Exercise helps you to live longer."
    assert written["completions"][0]["sampling"]["edited_from"]["text"] == MODEL_ANSWER
    assert len(rows) == PAIRS + 2
    for bar_button in page.locator("#bar button:visible").all():
        assert bar_button.bounding_box()["height"] >= 40
    context.close()
