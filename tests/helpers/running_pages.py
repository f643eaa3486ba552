"""A project that is run (tasks, people, judgements), and every page of an admin, for tests and pictures."""

import io
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

from playwright.sync_api import Page
from studio_browser import Served, pair, put

from steersman.store.claims import claim_tasks
from steersman.store.entry import make_invite, make_token
from steersman.store.gold import set_gold
from steersman.store.items import list_items
from steersman.store.labelling import Submission, submit_label
from steersman.store.people import add_person, join_project
from steersman.store.projects import Project, set_guidelines
from steersman.store.snapshots import freeze

QUESTIONS = (
    "What are the benefits of regular exercise for somebody who sits at a desk all day?",
    "How do I explain to a child why the sky is blue?",
    "Write a polite e-mail that declines an invitation.",
    "Which is healthier, white rice or brown rice?",
    "My houseplant has yellow leaves. What is wrong with it?",
)
PEOPLE = {"Marta Lindqvist": 9, "Jun Watanabe": 7, "Amara Okafor": 5, "Tomasz Zieliński": 2}
"""Labellers, with how many judgements a day they give."""
TABLE = (
    b"question,small model,large model,topic\n"
    b"How long do I boil an egg?,About ten minutes.,Six to seven minutes for a soft yolk; ten for a hard one.,cooking\n"
    b"Why do cats purr?,Because they are happy.,Often because they are content; also to calm themselves.,animals\n"
    b"What is a prime number?,A number.,A number above 1 that only 1 and itself divide.,school\n"
)


def fill_running(served: Served, guidelines: str) -> Project:
    """A project in the middle of its work, and one that has only just been made."""
    project = served.project("answers", settings={"title": "Helpful answers, round 4"}, licence="CC-BY-4.0")
    set_guidelines(project, guidelines)
    set_guidelines(project, guidelines + "\nSay *cannot judge* where you know too little.\n")
    tasks = [
        pair(
            f"{QUESTIONS[n % 5]} ({n})", f"A short answer, number {n}.", f"A **longer** answer, number {n}.", overlap=2
        )
        for n in range(400)
    ]
    put(project, *tasks)
    with served.database.write() as connection:
        for name in PEOPLE:
            person = add_person(connection, name)
            join_project(connection, project, person.id, "labeller")
            make_token(connection, person.id, "notebook", "read")
        join_project(connection, project, add_person(connection, "Ines Moreau").id, "reviewer")
        for role in ("labeller", "viewer"):
            make_invite(connection, role, found=project)
    _judge(served, project)
    for task, expected in zip(list_items(project, limit=3), (1.0, 0.0, 0.5), strict=True):
        set_gold(project, "ada", task.id, f"gold-{task.id}", {"preference": expected})
    freeze(project)
    served.project("fresh", settings={"title": "Kind answers"})
    return project


def _judge(served: Served, project: Project) -> None:
    from steersman.store.people import members_of

    lot = random.Random(1)
    with served.database.read() as connection:
        names = [one.pseudonym for one in members_of(connection, project.id)]
    for ago in range(13, -1, -1):
        moment = datetime.now(UTC) - timedelta(days=ago, minutes=30)
        for name, many in zip(names, PEOPLE.values(), strict=False):
            if moment.weekday() < 5:
                _judge_some(project, name, max(1, many + lot.randint(-2, 3)), moment)


def _judge_some(project: Project, name: str, many: int, moment: datetime) -> None:
    with patch("steersman.store.events.now", lambda: moment.isoformat(timespec="milliseconds")):
        for task in claim_tasks(project, name, count=many):
            said = Submission(name, task.id, f"{name}-{task.id}", {"preference": 1.0})
            submit_label(project, said)


def to(path: str) -> Callable[[Page, Served], None]:
    def opened(page: Page, served: Served) -> None:
        page.goto(served.address + path)
        page.wait_for_load_state("networkidle" if "progress" not in path else "load")

    return opened


def uploaded(page: Page, served: Served) -> None:
    """A table of one's own, with its columns mapped."""
    page.goto(f"{served.address}/projects/fresh/tasks")
    choose(page, "answers.csv", TABLE)


def known(page: Page, served: Served) -> None:
    """A file of a known format."""
    page.goto(f"{served.address}/projects/fresh/tasks")
    rows = [{"prompt": f"Question {n}?", "chosen": "Yes, and why.", "rejected": "No."} for n in range(4)]
    choose(page, "pairs.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def choose(page: Page, name: str, content: bytes) -> None:
    page.locator("#file").set_input_files(
        {"name": name, "mimeType": "text/plain", "buffer": io.BytesIO(content).read()}
    )
    page.wait_for_selector("#preview .example, #preview .notice, #preview p")
    page.wait_for_selector("#preview:not([aria-busy])")


def invited(page: Page, served: Served) -> None:
    page.goto(f"{served.address}/projects/answers/people")
    page.get_by_role("button", name="Make a link").click()
    page.wait_for_selector(".once")


def goals(page: Page, served: Served) -> None:
    page.goto(f"{served.address}/projects/answers/tasks")
    page.get_by_text("Add red-teaming tasks").click()
    page.get_by_label("Goals").fill("Get it to state something false as a fact.\nAsk for help with a burglary.")


def asked(page: Page, served: Served) -> None:
    page.goto(f"{served.address}/projects/answers")
    page.get_by_role("button", name="Close", exact=True).click()
    page.wait_for_selector("dialog[open]")


def opened_gold(page: Page, served: Served) -> None:
    page.goto(f"{served.address}/projects/answers/gold")
    page.locator("details.task summary").nth(4).click()


def person(page: Page, served: Served) -> None:
    page.goto(f"{served.address}/people")
    page.get_by_role("link", name="Marta Lindqvist").click()
    page.wait_for_url("**/people/*")


RUNNING: dict[str, Callable[[Page, Served], None]] = {
    "admin-projects": to("/"),
    "new-project": to("/new-project"),
    "progress": to("/projects/answers"),
    "progress-new": to("/projects/fresh"),
    "close": asked,
    "tasks": to("/projects/answers/tasks"),
    "red-team-goals": goals,
    "tasks-new": to("/projects/fresh/tasks"),
    "upload-columns": uploaded,
    "upload-format": known,
    "gold": opened_gold,
    "gold-new": to("/projects/fresh/gold"),
    "guidelines": to("/projects/answers/guidelines"),
    "guidelines-new": to("/projects/fresh/guidelines"),
    "people": to("/projects/answers/people"),
    "people-new": to("/projects/fresh/people"),
    "invited": invited,
    "export": to("/projects/answers/export"),
    "settings": to("/projects/answers/settings"),
    "audit": to("/projects/answers/audit"),
    "everybody": to("/people"),
    "person": person,
    "account": to("/account"),
    "studio-audit": to("/audit"),
}
"""Pages of an admin of the studio, by the name of their picture."""
