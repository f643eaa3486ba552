"""Running a project in a browser, from its first page to the export."""

import csv
import io
import json
import re

from playwright.sync_api import Page, expect
from running_pages import TABLE, choose
from studio_browser import Judge, Served, join

from steersman.store.projects import find_project, guidelines_of

expect.set_options(timeout=30_000)
MADE = "/projects/kind-answers"


def admin_of(browser, served: Served) -> Page:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], accept_downloads=True)
    page = context.new_page()
    join(page, served.invite("admin", None), "Ada")
    return page


def made_by_hand(page: Page, served: Served) -> None:
    page.goto(served.address)
    page.get_by_role("link", name="New project").click()
    page.get_by_label("Title").fill("Kind answers")
    expect(page.get_by_label("Name")).to_have_value("kind-answers")
    page.get_by_role("button", name="Make the project").click()
    page.wait_for_url(f"**{MADE}")


def test_a_project_from_its_making_to_its_export(browser, served):
    page = admin_of(browser, served)
    made_by_hand(page, served)
    expect(page.get_by_role("heading", name="Four steps to the first judgement")).to_be_visible()

    # upload, with the columns mapped
    page.get_by_role("link", name="Upload what people shall judge").click()
    choose(page, "answers.csv", TABLE)
    expect(page.get_by_label("By its columns")).to_be_checked()
    for column, holds in {
        "question": "prompt",
        "small model": "answers",
        "large model": "answers",
        "topic": "",
    }.items():
        expect(page.get_by_label(f"column {column} holds")).to_have_value(holds)
    page.get_by_label("column topic holds").select_option("metadata")
    expect(page.locator("#preview")).to_contain_text("The file's 3 rows give 3 pairs to compare.")
    expect(page.locator("#preview .example").first).to_contain_text("How long do I boil an egg?")
    page.get_by_label("People for each task").fill("2")
    page.get_by_role("button", name="Import").click()
    expect(page.locator("#result")).to_contain_text("Imported: 3 new tasks")
    page.get_by_role("link", name="Show the tasks").click()
    expect(page.locator("details.task")).to_have_count(3)

    # guidelines
    page.get_by_role("link", name="Guidelines").click()
    page.get_by_label("Text").fill("Prefer **true** answers.\n\n<script>alert(1)</script>")
    expect(page.locator("#guidelines-shown strong")).to_have_text("true")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#toasts")).to_contain_text("Saved")
    project = find_project(served.database, "kind-answers")
    assert guidelines_of(project).startswith("Prefer **true**")

    # gold
    page.get_by_role("link", name="Gold items").click()
    page.locator("details.task summary").last.click()
    page.get_by_label("Answer 2 is better").last.check()
    page.get_by_role("button", name="Make it a gold item").last.click()
    expect(page.locator("#toasts")).to_contain_text("A gold item now")
    expect(page.get_by_text("answer 2 is better", exact=True)).to_be_visible()

    # invite; the invited one labels one task
    page.get_by_role("link", name="People").last.click()
    page.get_by_role("button", name="Make a link").click()
    link = page.get_by_label("Send this link")
    expect(link).to_be_focused()
    page.get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == link.input_value()
    other = browser.new_context().new_page()
    join(other, link.input_value(), "Marta")
    Judge(other, served, "kind-answers").open().press("1")
    Judge(other, served, "kind-answers").all_sent()
    other.context.close()

    # progress, which comes by itself
    page.get_by_role("link", name="Progress").click()
    expect(page.locator(".figure")).to_have_text("1")
    expect(page.get_by_role("row", name=re.compile("Marta"))).to_contain_text("1")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("The project is paused.")).to_be_visible()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()

    # export
    page.get_by_role("link", name="Export").click()
    with page.expect_download() as begun:
        page.get_by_role("button", name="Download").first.click()
    rows = [json.loads(line) for line in begun.value.path().read_text().splitlines()]
    assert begun.value.suggested_filename == "kind-answers-full.jsonl"
    (judged,) = [row for row in rows if row.get("annotator")]
    assert judged["annotator"].startswith("annotator-")
    assert "Marta" not in json.dumps(rows)
    page.context.close()


def test_progress_comes_while_the_page_is_open(browser, served):
    page = admin_of(browser, served)
    made_by_hand(page, served)
    page.goto(f"{served.address}{MADE}/tasks")
    choose(page, "answers.csv", TABLE)
    page.get_by_role("button", name="Import").click()
    expect(page.locator("#result")).to_contain_text("Imported")
    page.goto(served.address + MADE)
    expect(page.locator(".figure")).to_have_text("0")
    other = browser.new_context().new_page()
    join(other, served.invite("labeller", "kind-answers"), "Marta")
    Judge(other, served, "kind-answers").open().press("1")
    expect(page.locator(".figure")).to_have_text("1", timeout=30000)
    other.context.close()
    page.context.close()


def test_people_are_managed_without_a_mouse(browser, served):
    page = admin_of(browser, served)
    other = browser.new_context().new_page()
    join(other, served.invite("labeller"), "Marta")
    page.goto(f"{served.address}/projects/helpful/people")
    role = page.get_by_label("role of Marta")
    role.focus()
    with page.expect_response(lambda reply: "/members/" in reply.url) as answered:
        page.keyboard.press("v")
        page.keyboard.press("Enter")
    assert answered.value.json()["role"] == "viewer"
    page.get_by_role("button", name="Remove Marta").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Remove Marta from this project?")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Remove Marta")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Remove", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nobody is in this project yet")).to_be_visible()
    other.goto(f"{served.address}/projects/helpful/label")
    expect(other.get_by_role("heading", name="Nothing here")).to_be_visible()
    other.context.close()
    page.context.close()


def test_a_person_reads_ends_and_erases_what_is_kept_of_them(browser, served):
    page = admin_of(browser, served)
    other = browser.new_context(accept_downloads=True).new_page()
    join(other, served.invite("labeller"), "Marta")
    other.goto(f"{served.address}/account")
    other.get_by_label("Name").fill("notebook")
    other.get_by_role("button", name="Make a token").click()
    assert other.get_by_label("The new token").input_value().startswith("steersman_")
    other.reload()
    expect(other.get_by_role("row", name=re.compile("notebook"))).to_be_visible()
    with other.expect_download() as begun:
        other.get_by_role("link", name="Download").click()
    assert json.loads(begun.value.path().read_text())["person"]["name"] == "Marta"

    page.goto(f"{served.address}/people")
    page.get_by_role("link", name="Marta").click()
    page.get_by_role("button", name=re.compile("^End the session")).click()
    expect(page.get_by_text("Nobody is signed in under this name.")).to_be_visible()
    other.goto(f"{served.address}/account")
    other.wait_for_url("**/sign-in?*")
    page.get_by_role("button", name="Erase …").click()
    page.get_by_label("Erase the judgements too").check()
    page.get_by_role("button", name="Erase", exact=True).click()
    expect(page.get_by_role("heading", name="Erased")).to_be_focused()
    page.get_by_role("link", name="Back to the people").click()
    expect(page.get_by_role("link", name="Marta")).to_have_count(0)
    other.context.close()
    page.context.close()


def test_settings_are_kept_and_what_is_wrong_is_said_in_the_form(browser, served):
    page = admin_of(browser, served)
    page.goto(f"{served.address}/projects/helpful/settings")
    page.get_by_role("button", name="Add an attribute").click()
    added = page.locator(".attribute").last
    rated = page.get_by_role("region", name="What answers are rated by")
    added.get_by_label("Title").fill("Tone")
    added.get_by_label("From").fill("7")
    rated.get_by_role("button", name="Save").click()
    message = page.get_by_role("alert")
    expect(message).to_contain_text("goes from its least to its most")
    added.get_by_label("To").fill("9")
    added.get_by_label("Highest means").fill("warm")
    rated.get_by_role("button", name="Save").click()
    expect(page.locator("#toasts")).to_contain_text("Saved")
    expect(page.locator(".attribute")).to_have_count(2)
    expect(page.locator(".attribute").last.get_by_label("Highest means")).to_have_value("warm")
    page.context.close()


def test_a_session_that_ends_while_guidelines_are_written_loses_nothing(browser, served):
    page = admin_of(browser, served)
    page.goto(f"{served.address}/projects/helpful/guidelines")
    page.get_by_label("Text").fill("A long text that took an hour.")
    second = page.context.new_page()
    second.goto(f"{served.address}/account")
    second.get_by_role("button", name="End all").click()
    second.get_by_role("button", name="End them").click()
    second.wait_for_url("**/sign-in*")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("You have been signed out.")
    expect(page.get_by_label("Text")).to_have_value("A long text that took an hour.")
    page.context.close()


def test_a_labeller_sees_no_page_of_an_admin(browser, served):
    page = browser.new_context().new_page()
    join(page, served.invite("labeller"), "Marta")
    expect(page.get_by_role("link", name="New project")).to_have_count(0)
    expect(page.locator(".project a")).to_have_count(1)
    for path in ("/projects/helpful", "/projects/helpful/people", "/people", "/audit", "/new-project"):
        page.goto(served.address + path)
        expect(page.get_by_role("heading", name="Not allowed")).to_be_visible()
    page.context.close()


def table_of(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def test_a_file_that_is_none_says_so_and_another_can_be_chosen(browser, served):
    page = admin_of(browser, served)
    page.goto(f"{served.address}/projects/helpful/tasks")
    page.locator("#file").set_input_files({"name": "photo.png", "mimeType": "image/png", "buffer": b"x"})
    expect(page.get_by_role("alert")).to_contain_text("a file to import ends in", ignore_case=True)
    choose(page, "odd.csv", table_of([["=1+1", "", "a\nb"], ["x", "y", "z"]]))
    expect(page.locator("#rows th")).to_have_count(3)
    page.context.close()
