"""Red-teaming in a real browser, with a real `steersman serve`: written, answered twice, judged, by keyboard and by
touch; lost connections and reloads; hostile answers stay text."""

import json
import os
import re
import subprocess
import sys

import pytest
from hostile_pages import ALL, EVERYWHERE
from openai_server import openai_server
from page_checks import guarded, serious
from studio_browser import Judge, Served, join, put, task

from steersman.models.tiny import write_tiny_model
from steersman.records import Comparison
from steersman.store.projects import Project, change_settings, find_project
from steersman.store.reading import read_records
from steersman.store.reading_cursor import cursor_of

GOAL = "Get the model to say something false."


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The address and name of a tiny model that `steersman serve` serves in a process of its own."""
    folder = write_tiny_model(tmp_path_factory.mktemp("tiny"), "llama", context=256)
    words = ["serve", f"policy={folder}", "--port", "0", "--json", "--rows", "4", "--device", "cpu"]
    with subprocess.Popen(
        [sys.executable, "-m", "steersman", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        yield f"{ready['address']}/v1#{ready['models'][0]}"
        process.terminate()


def project_with(served: Served, place: str, *, tasks: int = 2, **more) -> Project:
    project = find_project(served.database, "helpful")
    change_settings(project, {"responder": {"model": place, "max_tokens": 24, **more}})
    put(project, *(task("red_team", f"{GOAL}{' ' * n}") for n in range(tasks)))
    return project


def comparisons(project: Project) -> list[Comparison]:
    return [one for one in read_records(project, cursor_of(project)) if isinstance(one, Comparison)]


def asked(judge: Judge) -> None:
    judge.page.locator(".red-team .answers").wait_for(timeout=150_000)
    judge.settle()


def test_the_keyboard_alone_writes_asks_goes_on_and_chooses(browser, served, model):
    project = project_with(served, model)
    context = browser.new_context()
    page = context.new_page()
    join(page, served.invite(), "Ann")
    judge = Judge(page, served).open()
    assert page.get_by_text(GOAL).is_visible()
    page.keyboard.press("w")
    page.keyboard.type("Who discovered Pluto?")
    page.keyboard.press("Control+Enter")
    asked(judge)
    assert len(judge.answers) == 2
    kept = judge.answers
    page.reload()
    judge.settle()
    assert judge.answers == kept
    page.keyboard.press("d")
    page.keyboard.press("d")
    page.keyboard.press("q")
    page.keyboard.type("And when?")
    page.keyboard.press("Control+Enter")
    page.get_by_text("And when?").wait_for(timeout=150_000)
    asked(judge)
    assert page.locator(".red-team .turn").count() == 3
    # What is chosen while there is no connection is sent later, once.
    context.set_offline(True)
    judge.press("2")
    page.keyboard.press("w")
    page.keyboard.type("Nobody hears this")
    page.keyboard.press("Control+Enter")
    page.get_by_text("There is no connection").wait_for()
    context.set_offline(False)
    page.keyboard.press("Control+Enter")
    asked(judge)
    judge.press("t")
    judge.all_sent()
    one, two = comparisons(project)
    assert [each.content for each in one.prompt.messages if each.role == "user"] == [
        "Who discovered Pluto?",
        "And when?",
    ]
    assert one.prompt.messages[1].content.strip() == kept[0].strip() or kept[0]
    assert (one.margin, two.preference) == (3.0, 0.5)
    assert [each.content for each in two.prompt.messages] == ["Nobody hears this"]
    assert {each.model for each in (one.first, one.second, two.first, two.second)} == {"policy"}
    assert one.first.seed != one.second.seed
    # Taken back, it is there again as it was.
    page.keyboard.press("u")
    asked(judge)
    assert page.get_by_text("Nobody hears this").is_visible()
    judge.press("0")
    judge.all_sent()
    assert [each.both_bad for each in comparisons(project)] == [False, True]
    context.close()


def test_a_finger_does_the_same_on_a_phone(browser, served, model):
    project = project_with(served, model, tasks=1)
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    join(page, served.invite(), "Ben")
    judge = Judge(page, served).open()
    page.locator("#message-field").tap()
    page.locator("#message-field").fill("Is the moon made of cheese?")
    page.get_by_role("button", name="Ask the model").tap()
    asked(judge)
    page.get_by_role("button", name="Write another message").tap()
    assert page.locator("#message-field").input_value() == "Is the moon made of cheese?"
    page.locator("#message-field").fill("Is Mars?")
    page.get_by_role("button", name="Ask the model").tap()
    asked(judge)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#bar").get_by_role("button", name="B is better", exact=True).tap()
    judge.tap("B is clearly better")
    judge.all_sent()
    (record,) = comparisons(project)
    assert (record.prompt.shown, record.margin) == ("Is Mars?", 3.0)
    context.close()


def test_hostile_messages_and_answers_stay_text(browser, served):
    texts = [one for one in ALL if one.strip()]
    with openai_server(lambda number: f"text {texts[number % len(texts)]}") as server:
        project = project_with(served, f"{server.url}#policy", tasks=110)
        context = browser.new_context()
        page = context.new_page()
        faults = guarded(page, served.address)
        join(page, served.invite("admin", None), "Ann")
        judge = Judge(page, served).open()
        for place in range(100):
            page.locator("#message-field").fill(texts[-place - 1])
            page.keyboard.press("Control+Enter")
            asked(judge)
            assert page.evaluate(EVERYWHERE) == []
            if place % 10 == 0:
                page.keyboard.press("m")
                assert page.evaluate(EVERYWHERE) == []
                page.keyboard.press("m")
                page.keyboard.press("d")
                assert page.evaluate(EVERYWHERE) == []
                page.keyboard.press("d")
            judge.press("1")
        judge.all_sent()
        assert len({each.text for one in comparisons(project) for each in (one.first, one.second)}) > 190
        for number in range(1, 100, 10):
            page.goto(f"{served.address}/projects/helpful/quality/items/{number}")
            assert page.get_by_text(re.compile("[AB] is far better")).count()
            assert page.evaluate(EVERYWHERE) == []
        assert faults == []
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_what_a_reviewer_sees_of_it(browser, served, scheme):
    with openai_server(lambda number: f"text Answer **{number}**") as server:
        project_with(served, f"{server.url}#policy")
        context = browser.new_context(bypass_csp=True, color_scheme=scheme)
        page = context.new_page()
        join(page, served.invite("admin", None), "Ada")
        judge = Judge(page, served).open()
        page.locator("#message-field").fill("A question?")
        page.get_by_role("button", name="Ask the model").click()
        asked(judge)
        judge.press("1")
        judge.all_sent()
        page.goto(f"{served.address}/projects/helpful/quality/items/1")
        assert page.get_by_text("A question?").is_visible()
        assert serious(page) == []
        context.close()
