"""What a browser keeps: drafts through a reload and an ended session, judgements through a lost connection and a shared
device, each counted once and for who made it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, Route
from sqlalchemy import select
from studio_browser import Judge, Served, join, pair, put, task

from steersman.store.entry import sign_out_everywhere
from steersman.store.people import list_people, members_of, person_named
from steersman.store.projects import Project, change_settings, find_project
from steersman.store.reading import read_labels
from steersman.store.reading_cursor import cursor_of
from steersman.store.schema import event

PASSWORD = "a long enough password"


def some_pairs(served: Served, count: int = 6) -> None:
    put(find_project(served.database, "helpful"), *(pair(f"Question {n}?", "Good.", "Bad.") for n in range(count)))


@contextmanager
def visiting(browser: Browser) -> Iterator[Page]:
    """A browser of one's own, with its cookies and storage."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def labels(served: Served) -> list[tuple[str, str]]:
    """Who judged what, by name."""
    found = find_project(served.database, "helpful")
    with served.database.read() as connection:
        members = members_of(connection, found.id)
        names = {one.pseudonym: name_of(served, one.person_id) for one in members}
    return [(names[one.annotator], one.prompt.messages[-1].content) for one in records(found)]


def records(found: Project) -> list[Any]:
    return [one.record for one in read_labels(found, cursor_of(found))]


def name_of(served: Served, person_id: int) -> str:
    return next(one.name for one in list_people(served.database) if one.id == person_id)


def events(served: Served) -> list[tuple[str, dict]]:
    with served.database.read() as connection:
        rows = connection.execute(select(event.c.kind, event.c.body).order_by(event.c.number)).all()
    return [(row.kind, json.loads(row.body)) for row in rows]


def end_sessions(served: Served, name: str) -> None:
    """As when a session is too old."""
    with served.database.write() as connection:
        person = person_named(connection, name)
        assert person is not None
        sign_out_everywhere(connection, person.id)


def sign_in(page: Page, name: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_drafts_survive_a_reload(browser, served):
    project = find_project(served.database, "helpful")
    answers = ("One.", "Two.", "Three.")
    put(project, task("ranking", "Order these.", *answers), task("demonstration", "Write."), pair("Which?", "x", "y"))
    with visiting(browser) as page:
        join(page, served.invite())
        judge = Judge(page, served).open()
        for key in ("2", "1", "="):
            page.keyboard.press(key)
        page.keyboard.press("n")
        page.keyboard.type("The second is kind.")
        page.reload()
        judge.settle()
        assert page.locator(".order .tier b").all_inner_texts() == ["2", "1"]
        assert page.get_by_label("Note").input_value() == "The second is kind."
        page.keyboard.press("3")
        judge.press("Enter")
        page.keyboard.press("w")
        page.keyboard.type("A half")
        page.reload()
        judge.settle()
        assert page.get_by_label("Your answer").input_value() == "A half"
        page.keyboard.press("w")
        page.keyboard.type(" no more.")
        judge.press("Control+Enter")
        judge.all_sent()
        assert not page.evaluate("Object.keys(localStorage).filter(name => name.startsWith('steersman:draft:')).length")
    found = records(project)
    assert found[0].metadata["rationale"] == "The second is kind."
    assert found[1].completion.text == "A half no more."


def test_an_ended_session_keeps_the_draft_and_what_waits(browser, served):
    some_pairs(served)
    with visiting(browser) as page:
        join(page, served.invite(), "Ann", password=PASSWORD)
        judge = Judge(page, served).open()
        judge.press("1")
        judge.all_sent()
        end_sessions(served, "Ann")
        judge.press("9")
        page.wait_for_selector("[data-name=signed_out]")
        page.keyboard.press("n")
        page.keyboard.type("half a thought")
        page.wait_for_timeout(300)
        assert judge.waiting == 1
        page.locator("[data-name=signed_out]").get_by_role("link", name="Sign in").click()
        sign_in(page, "Ann")
        page.wait_for_url("**/label")
        judge.settle()
        assert page.get_by_label("Note").input_value() == "half a thought"
        judge.all_sent()
    assert labels(served) == [("Ann", "Question 0?"), ("Ann", "Question 1?")]


def test_each_judgement_counts_once_although_its_reply_was_lost(browser, served):
    some_pairs(served)
    with visiting(browser) as page:
        join(page, served.invite())
        judge = Judge(page, served).open()

        def lose_the_reply(route: Route) -> None:
            route.fetch()  # the studio has it; the page never hears of it
            route.abort()

        page.route("**/events", lose_the_reply, times=2)
        judge.press("1")
        judge.press("2")
        judge.all_sent()
    assert [one[1] for one in labels(served)] == ["Question 0?", "Question 1?"]
    assert [kind for kind, _ in events(served)] == ["label", "label"]


def test_what_waits_survives_a_closed_tab(browser, served):
    some_pairs(served)
    context = browser.new_context()
    page = context.new_page()
    join(page, served.invite())
    judge = Judge(page, served).open()
    context.set_offline(True)
    judge.press("1")
    judge.press("2")
    page.close()
    context.set_offline(False)
    page = context.new_page()
    page.goto(served.address)
    Judge(page, served).all_sent()
    context.close()
    assert [one[1] for one in labels(served)] == ["Question 0?", "Question 1?"]


def test_two_tabs_have_different_tasks(browser, served):
    some_pairs(served, 6)
    context = browser.new_context()
    page = context.new_page()
    join(page, served.invite())
    one = Judge(page, served).open()
    other = Judge(context.new_page(), served).open()
    seen = []
    for _ in range(3):
        for judge in (one, other):
            assert one.task != other.task
            seen.append(judge.task)
            judge.press("5")
    assert sorted(seen) == sorted(set(seen))
    assert len(seen) == 6
    for judge in (one, other):
        assert "All done" in judge.page.locator("#task").inner_text()
        judge.all_sent()
    context.close()
    assert len(labels(served)) == 6
    assert {kind for kind, _ in events(served)} == {"label"}


def test_on_a_shared_device_what_waits_belongs_to_who_made_it(browser, served):
    some_pairs(served, 12)  # one person holds five at once
    context = browser.new_context()
    page = context.new_page()
    join(page, served.invite(), "Ann", password=PASSWORD)
    judge = Judge(page, served).open()
    judge.all_sent()
    end_sessions(served, "Ann")
    judge.press("1")
    page.wait_for_selector("[data-name=signed_out]")
    # Somebody else takes the phone.
    page.goto(served.invite())
    page.get_by_label("Your name").fill("Ben")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/")
    assert "somebody else" in page.locator("#unsent").inner_text()
    Judge(page, served).open().press("9")
    page.wait_for_function(
        "() => Object.keys(localStorage).filter(name => name.startsWith('steersman:outbox:')).length === 1"
    )
    sign_out(page)
    page.wait_for_url("**/sign-in")
    assert Judge(page, served).waiting == 1, "Ann's is still here"
    sign_in(page, "Ann")
    Judge(page, served).all_sent()
    context.close()
    assert sorted(name for name, _ in labels(served)) == ["Ann", "Ben"]


def sign_out(page: Page) -> None:
    page.locator("summary[aria-label='Account and appearance']").click()
    page.get_by_role("button", name="Sign out").click()


def test_another_tab_that_signs_in_somebody_else_gets_nobodys_judgements(browser, served):
    some_pairs(served)
    context = browser.new_context()
    page = context.new_page()
    join(page, served.invite(), "Ann", password=PASSWORD)
    judge = Judge(page, served).open()
    end_sessions(served, "Ann")
    join(context.new_page(), served.invite(), "Ben")
    judge.press("1")
    page.wait_for_selector("[data-name=other_person]")
    assert "Ben is signed in" in page.locator("[data-name=other_person]").inner_text()
    assert judge.waiting == 1
    context.close()
    assert labels(served) == []


def test_signing_out_asks_before_unsent_judgements_are_deleted(browser, served):
    some_pairs(served)
    context = browser.new_context()
    page = context.new_page()
    join(page, served.invite())
    judge = Judge(page, served).open()
    judge.all_sent()
    context.set_offline(True)
    judge.press("1")
    sign_out(page)
    dialog = page.get_by_role("dialog")
    assert "1 judgement is not sent yet" in dialog.inner_text()
    dialog.get_by_role("button", name="Stay signed in").click()
    assert judge.waiting == 1
    context.set_offline(False)
    judge.all_sent()
    page.keyboard.press("n")
    page.keyboard.type("a draft")
    page.wait_for_timeout(300)
    sign_out(page)
    page.wait_for_url("**/sign-in")
    kept = page.evaluate("Object.keys(localStorage).filter(name => /^steersman:(draft|outbox|seen)/.test(name))")
    assert kept == []
    context.close()
    assert len(labels(served)) == 1


def test_undo_reaches_back_beyond_a_reload(browser, served):
    some_pairs(served)
    with visiting(browser) as page:
        join(page, served.invite())
        judge = Judge(page, served).open()
        first = judge.prompt
        judge.press("1")
        judge.all_sent()
        page.reload()
        judge.settle()
        judge.press("u")
        assert judge.prompt == first
        judge.press("9")
        judge.all_sent()
    assert [kind for kind, _ in events(served)] == ["label", "undo", "label"]
    assert len(labels(served)) == 1


def test_skips_and_flags_say_why(browser, served):
    some_pairs(served)
    with visiting(browser) as page:
        join(page, served.invite())
        judge = Judge(page, served).open()
        judge.press("s", "2")
        page.keyboard.press("f")
        page.get_by_role("dialog").get_by_label("another reason").fill("It is about me.")
        page.keyboard.press("Enter")
        judge.press("c")
        page.keyboard.press("s")
        page.keyboard.press("Escape")
        assert judge.task
        judge.press("s", "Enter")
        judge.all_sent()
    assert events(served) == [
        ("skip", {"reason": "The prompt is unclear"}),
        ("flag", {"reason": "It is about me."}),
        ("skip", {"reason": "cannot judge"}),
        ("skip", {}),
    ]


def test_what_the_studio_does_not_accept_is_shown_and_kept(browser, served):
    project = find_project(served.database, "helpful")
    change_settings(project, {"attributes": [{"name": "truth", "title": "True", "least": 1, "most": 5}]})
    put(project, task("rating", "Is it?", "It is."), pair("Which?", "x", "y"))
    with visiting(browser) as page:
        join(page, served.invite())
        judge = Judge(page, served).open()
        change_settings(project, {"attributes": [{"name": "truth", "title": "True", "least": 1, "most": 3}]})
        judge.press("5", "Enter")
        page.wait_for_selector("[data-name=refused]")
        assert "truth is rated from 1 to 3; seen 5" in page.locator("[data-name=refused]").inner_text()
        assert judge.waiting == 1
        judge.press("u")
        assert judge.prompt == "Is it?"
        assert judge.waiting == 0
        judge.press("3", "Enter")
        judge.all_sent()
    (rated,) = records(project)
    assert rated.ratings == {"truth": 3}


def test_a_project_without_grades_takes_one_key(browser, served):
    project = find_project(served.database, "helpful")
    change_settings(project, {"strength": False})
    some_pairs(served, 4)
    with visiting(browser) as page:
        join(page, served.invite())
        judge = Judge(page, served).open()
        expected = [judge.answers[0]]
        judge.press("a")
        expected.append(judge.answers[1])
        judge.press("ArrowRight")
        judge.press("t")
        judge.press("x")
        judge.all_sent()
    found = records(project)
    assert [one.chosen.text for one in found[:2]] == expected
    assert [(one.tied, one.both_bad, one.margin) for one in found] == [
        (False, False, None),
        (False, False, None),
        (True, False, None),
        (True, True, None),
    ]


def test_a_reason_is_asked_for_where_the_project_wants_one(browser, served):
    change_settings(find_project(served.database, "helpful"), {"rationale_required": True})
    some_pairs(served, 2)
    with visiting(browser) as page:
        join(page, served.invite())
        judge = Judge(page, served).open()
        task_before = judge.task
        page.wait_for_timeout(200)
        page.keyboard.press("1")
        assert "asks for a reason" in judge.said
        assert judge.task == task_before
        page.keyboard.type("It is kinder.")
        page.keyboard.press("Escape")
        judge.press("1")
        judge.all_sent()
    project = find_project(served.database, "helpful")
    (found,) = records(project)
    assert found.rationale == "It is kinder."


def test_thumbs_by_key_and_a_break_after_forty(browser, served):
    project = find_project(served.database, "helpful")
    put(project, *(task("thumb", f"Question {n}?", "Yes.") for n in range(41)))
    with visiting(browser) as page:
        join(page, served.invite())
        judge = Judge(page, served).open()
        for n in range(40):
            assert not page.locator("[data-name=break]").count()
            judge.press("1" if n % 2 else "2")
        assert "40 without a break" in page.locator("[data-name=break]").inner_text()
        page.get_by_role("button", name="Go on").click()
        judge.press("1")
        judge.all_sent()
    found = records(project)
    assert [one.desirable for one in found] == [bool(n % 2) for n in range(40)] + [True]
