"""Pages of quality and of runs, for tests and pictures: a project that six people have judged, and folders of runs."""

import random
from collections.abc import Callable
from pathlib import Path

from observed_runs import ppo_run, rounds_folder, sft_run
from playwright.sync_api import Page
from studio_browser import Served, pair, put, task

from steersman.store.gold import set_gold
from steersman.store.items import list_items
from steersman.store.labelling import Submission, flag_item, skip_task, submit_label
from steersman.store.people import add_person, join_project

QUESTION = "How do I get a stain of red wine out of a white shirt, number {}?"
GOOD = "Cover it with salt at once, and rinse it with cold water. Then wash it as usual, without drying it first."
BAD = "You can not get it out. Buy another shirt, and **never** drink red wine again!"
ANNOTATORS = {"Marta": 0.95, "Jun": 0.9, "Amara": 0.85, "Tomasz": 0.75, "Ines": 0.6, "Oskar": 0.5}
"""How often each of them chooses the better answer."""


def fill_seen(served: Served) -> None:
    """The project "judged", with agreement, doubtful items, gold items, flags and skips."""
    lot, project = random.Random(3), served.project("judged", settings={"title": "Laundry", "second_opinions": 4})
    put(project, *(pair(QUESTION.format(n), f"{GOOD} ({n})", BAD, overlap=3) for n in range(60)))
    put(project, *(task("rating", QUESTION.format(f"r{n}"), f"{GOOD} ({n})", overlap=3) for n in range(12)))
    names: list[str] = []
    with served.database.write() as connection:
        for name in ANNOTATORS:
            names.append(
                join_project(connection, project, add_person(connection, f"{name} B").id, "labeller").pseudonym
            )
    skill = dict(zip(names, ANNOTATORS.values(), strict=True))
    items = list_items(project, limit=100)
    for one in items[:4]:
        set_gold(project, names[0], one.id, f"gold-{one.id}", {"preference": 1.0})
    for one in items:
        for who in lot.sample(names, 3):
            right, seconds = lot.random() < skill[who], {"seconds": round(lot.lognormvariate(2.5, 0.5), 1)}
            shown = {"shown": lot.choice(("first", "second")), "margin": float(lot.randint(1, 4))}
            verdict = {"preference": float(right), **shown, "metadata": seconds}
            if one.content.kind == "rating":
                verdict = {"ratings": {"quality": float(4 + right - lot.randint(0, 2))}, "metadata": seconds}
            submit_label(project, Submission(who, one.id, f"{who}-{one.id}", verdict))
    flag_item(project, Submission(names[1], items[7].id, "flag"), "An answer is cut off")
    skip_task(project, Submission(names[2], items[9].id, "skip"), "cannot judge: I know nothing of wine")


def fill_runs(folder: Path) -> None:
    ppo_run(folder / "ppo")
    ppo_run(folder / "ppo-stronger", coefficient=0.5)
    sft_run(folder / "sft")
    rounds_folder(folder / "rounds")


def _address(served: Served, name: str) -> str:
    runs = served.app.state.studio.runs
    return next(f"/runs/{one.id}" for one in runs.runs().values() if one.name == name)


def to(path: Callable[[Served], str], *, curves: bool = False) -> Callable[[Page, Served], None]:
    def opened(page: Page, served: Served) -> None:
        page.goto(served.address + path(served))
        if curves:
            page.wait_for_selector("#charts canvas")
        page.wait_for_timeout(200)

    return opened


def _rounds(served: Served) -> str:
    return f"/rounds/{next(iter(served.app.state.studio.runs.graphs()))}"


def prompt(page: Page, served: Served) -> None:
    page.goto(served.address + _rounds(served))
    page.goto(served.address + (page.locator(".prompts a").first.get_attribute("href") or ""))


def item(page: Page, served: Served) -> None:
    page.goto(f"{served.address}/projects/judged/quality/doubtful")
    page.locator(".doubtful a").first.click()
    page.wait_for_url("**/items/*")
    page.evaluate("for (const one of document.querySelectorAll('main details')) one.open = true")


def compared(served: Served) -> str:
    return "/runs/compare?" + "&".join(
        f"run={_address(served, name).rpartition('/')[2]}" for name in ("ppo", "ppo-stronger")
    )


SEEN: dict[str, Callable[[Page, Served], None]] = {
    "quality": to(lambda _: "/projects/judged/quality"),
    "quality-new": to(lambda _: "/projects/fresh/quality"),
    "doubtful": to(lambda _: "/projects/judged/quality/doubtful"),
    "doubtful-new": to(lambda _: "/projects/fresh/quality/doubtful"),
    "item": item,
    "runs": to(lambda _: "/runs"),
    "run": to(lambda served: _address(served, "ppo"), curves=True),
    "run-sft": to(lambda served: _address(served, "sft"), curves=True),
    "lineage": to(lambda served: f"{_address(served, 'ppo')}/lineage"),
    "compare": to(compared, curves=True),
    "rounds": to(_rounds),
    "prompt": prompt,
}
"""Pages of whoever may see what others did, by the name of their picture."""
