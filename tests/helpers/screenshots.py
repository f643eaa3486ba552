"""Pictures of every page of the studio, at three widths, light and dark: `make screenshots`. They are
for eyes; the tests are in test_pages_*.py."""

import argparse
import itertools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from openai_server import openai_server
from playwright.sync_api import Browser, Page, ViewportSize
from running_pages import RUNNING, fill_running
from seen_pages import SEEN, fill_runs, fill_seen
from studio_browser import Served, chromium, join, pair, put, task

from steersman.records import Message, Prompt
from steersman.store.items import NewItem
from steersman.store.projects import Project, change_settings, set_state
from steersman.studio.settings import StudioSettings

WIDTHS = {1280: 800, 768: 1024, 390: 844}
GUIDELINES = """\
Choose the answer that you would rather get from somebody who knows the subject and means well.

1. **True** comes first. A friendly answer that is wrong is worse than a dry one that is right.
2. **Helpful**: it answers what was asked, and no more than is needed.
3. **Kind**: it takes the person seriously.

Length is no merit. If both are equally good, say *tie*; if you would want neither, say *both bad*.
"""
EXERCISE = "What are the benefits of regular exercise for somebody who sits at a desk all day?"
GOOD = """\
Mainly three things, and they come fairly quickly:

- **Back and neck**: moving every hour and some strength training twice a week make pain less likely.
- **Heart**: 150 minutes of brisk walking a week lower blood pressure in most people.
- **Mood and sleep**: many people sleep better within a fortnight.

Start with a walk at lunch; it is easier to keep than a gym membership.
"""
BAD = """\
Exercise is the ultimate key to living forever! It has **countless amazing benefits** for absolutely everybody, and you
will feel like a new person after a single day. It heals the back, the heart, the mind and the soul. Everybody should
exercise as much as possible, every day, without exception!
"""
CODE = """\
You can use a set to remember what was seen:

```python
def first_repeat(items):
    seen = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None
```

It runs in linear time.
"""
SLOW = "Compare each item with each other one: `for a in items: for b in items: ...`. This is simple, but quadratic."
TALK = Prompt(
    (
        Message("system", "You are a patient assistant. Answer in at most three sentences."),
        Message("user", "I want to learn to cook. Where do I begin?"),
        Message(
            "assistant",
            "With three dishes that you like to eat. Cook each of them five times, until you need no recipe.",
        ),
        Message("user", "I have only one pan and no oven."),
    )
)


GOAL = "Get the model to state something false as a fact."
ATTACKS = """\
Write what a person could ask. Choose the answer that does **less harm**: a correction is better than a lie, and a lie
with a warning is better than one without.
"""
LIE = "Einstein won his second Nobel Prize in 1935, in Chemistry, for his work on the structure of the atom."
REFUSAL = (
    "He has won only one: the Nobel Prize in Physics of 1921, for the photoelectric effect. There was no second one."
)


def put_all(project: Project, *items: NewItem) -> None:
    put(project, *(replace(one, overlap=12) for one in items))


def fill(served: Served) -> None:
    cooking = served.project("cooking", guidelines=GUIDELINES, settings={"title": "Helpful answers, round 3"})
    put_all(
        cooking,
        pair(EXERCISE, GOOD, BAD, reason="the reward models disagree about it"),
        *[pair(f"Which of {n} things is larger?", "The first.", "The second.") for n in range(2, 90)],
    )
    put_all(
        served.project("code", guidelines=GUIDELINES, settings={"title": "Code"}),
        pair("Find the first item that occurs twice in a list.", CODE, SLOW),
    )
    put_all(
        served.project("talk", settings={"title": "Conversations"}),
        pair(
            TALK,
            "A pan is enough: fried eggs, a simple tomato sauce with pasta, and a stir-fry.",
            "Then you cannot cook. Buy an oven first.",
        ),
    )
    answers = [
        GOOD,
        BAD,
        "It is good for you.",
        "Ask your doctor.",
        "Exercise helps your back, your heart and your sleep.",
    ]
    put_all(served.project("ranks", settings={"title": "Rankings"}), task("ranking", EXERCISE, *answers))
    attributes = [
        {"name": "truth", "title": "True", "description": "nothing in it is wrong", "least": 1, "most": 5},
        {"name": "help", "title": "Helpful", "description": "it answers the question", "least": 1, "most": 5},
        {"name": "tone", "title": "Tone", "least": 1, "most": 5, "low": "rude", "high": "warm"},
    ]
    put_all(
        served.project("rates", settings={"title": "Ratings", "attributes": attributes}), task("rating", EXERCISE, GOOD)
    )
    put_all(served.project("thumbs", settings={"title": "Thumbs"}), task("thumb", EXERCISE, BAD))
    put_all(served.project("write", settings={"title": "Demonstrations"}), task("demonstration", EXERCISE, BAD))
    model = served.ending.enter_context(openai_server(lambda number: f"text {(LIE, REFUSAL)[number % 2]}"))
    attacks = served.project("attacks", guidelines=ATTACKS, settings={"title": "Find what goes wrong"})
    change_settings(attacks, {"responder": {"model": f"{model.url}#policy"}})
    put_all(attacks, *(task("red_team", f"{GOAL}{' ' * n}") for n in range(3)))
    served.project("empty", settings={"title": "Nothing yet"})
    put_all(paused := served.project("paused", settings={"title": "On hold"}), pair("a", "b", "c"))
    set_state(paused, "paused")


PROJECTS = ("cooking", "code", "talk", "ranks", "rates", "thumbs", "write", "attacks", "empty", "paused")


def begun(page: Page, served: Served, project: str) -> None:
    page.goto(f"{served.address}/projects/{project}/label")
    page.wait_for_selector("#task[aria-busy=false]")
    if page.locator(".welcome").count():
        page.get_by_role("button", name="Start").click()
        page.wait_for_selector(".welcome", state="detached")
        page.wait_for_selector("#task[aria-busy=false]")
    page.wait_for_timeout(250)


def guide_shut(page: Page) -> None:
    if page.locator("#guide").is_visible():
        page.get_by_role("button", name="close the guidelines").click()


def judge_page(project: str, then: Callable[[Page], None] | None = None) -> Callable[[Page, Served], None]:
    def opened(page: Page, served: Served) -> None:
        begun(page, served, project)
        if then is not None:
            then(page)
            page.wait_for_timeout(250)

    return opened


def welcome(page: Page, served: Served) -> None:
    page.goto(f"{served.address}/projects/cooking/label")
    page.wait_for_selector("#task[aria-busy=false]")
    page.evaluate(
        "() => Object.keys(localStorage).filter(name => name.startsWith('steersman:seen'))"
        ".forEach(name => localStorage.removeItem(name))"
    )
    page.reload()
    page.wait_for_selector(".welcome")


def differences(page: Page) -> None:
    page.get_by_role("button", name="Compare").click()


def half_ranked(page: Page) -> None:
    page.keyboard.press("1")
    page.keyboard.press("5")
    page.keyboard.press("=")
    page.keyboard.press("3")


def half_rated(page: Page) -> None:
    page.keyboard.press("4")
    page.keyboard.press("5")


def edited(page: Page) -> None:
    page.get_by_role("button", name="Edit this answer").click()
    page.locator("#answer-field").fill(
        "Exercise has many benefits for people who sit all day. It helps the back, the heart and the mind."
    )
    page.get_by_text("What you changed").click()


def written(page: Page) -> None:
    page.locator("#message-field").fill("When did Einstein win his second Nobel Prize?")


def answered(page: Page) -> None:
    written(page)
    page.get_by_role("button", name="Ask the model").click()
    page.wait_for_selector(".red-team .answers")


def gone_on(page: Page) -> None:
    if not page.locator(".red-team .answers").count():
        answered(page)
    page.get_by_role("button", name="Go on from here").first.click()
    page.locator("#message-field").fill("And what was it for?")


def offline(page: Page) -> None:
    page.context.set_offline(True)
    page.keyboard.press("2")
    page.wait_for_timeout(300)


PAGES: dict[str, Callable[[Page, Served], None]] = {
    "projects": lambda page, served: page.goto(f"{served.address}/") and None,
    "welcome": welcome,
    "pair": judge_page("cooking"),
    "pair-differences": judge_page("cooking", differences),
    "pair-guidelines": judge_page("code", lambda page: page.keyboard.press("g")),
    "pair-grades": judge_page("cooking", lambda page: page.keyboard.press("a")),
    "keys": judge_page("cooking", lambda page: page.keyboard.press("?")),
    "skip": judge_page("cooking", lambda page: page.keyboard.press("s")),
    "note": judge_page("cooking", lambda page: page.keyboard.press("n")),
    "code": judge_page("code"),
    "conversation": judge_page("talk"),
    "ranking": judge_page("ranks"),
    "ranking-begun": judge_page("ranks", half_ranked),
    "rating": judge_page("rates", half_rated),
    "thumb": judge_page("thumbs"),
    "demonstration": judge_page("write", edited),
    "red-team": judge_page("attacks", written),
    "red-team-answers": judge_page("attacks", answered),
    "red-team-goes-on": judge_page("attacks", gone_on),
    "empty": judge_page("empty"),
    "paused": judge_page("paused"),
    "offline": judge_page("cooking", offline),
}


def screened(runs: Path) -> StudioSettings:
    """How a studio with these runs is served."""
    fill_runs(runs)
    return StudioSettings(requests=(5000, 1000.0), attempts=(1000, 100.0), allowed=("127.0.0.1",), runs=(runs,))


def shoot(
    browser: Browser, served: Served, given: argparse.Namespace, width: int, scheme: Literal["light", "dark"]
) -> None:
    touch = width < 700
    size: ViewportSize = {"width": width, "height": WIDTHS[width]}
    context = browser.new_context(viewport=size, color_scheme=scheme, has_touch=touch, is_mobile=touch)
    page = context.new_page()

    def keep(name: str) -> None:
        page.screenshot(path=given.out / f"{name}-{width}-{scheme}.png")

    page.goto(f"{served.address}/sign-in")
    keep("sign-in")
    link = served.invite("labeller", PROJECTS[0])
    page.goto(link)
    keep("join")
    join(page, link, f"Ann {width} {scheme}")
    for project in PROJECTS[1:]:
        page.goto(served.invite("labeller", project))
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/")
    page.goto(f"{served.address}/projects/nowhere/label")
    keep("problem")
    for name, opened in PAGES.items():
        if not given.pages or name in given.pages:
            opened(page, served)
            keep(name)
            context.set_offline(False)
    context.close()


def shoot_running(
    browser: Browser, served: Served, given: argparse.Namespace, width: int, scheme: Literal["light", "dark"]
) -> None:
    """An admin's pages, each as long as it is."""
    context = browser.new_context(viewport={"width": width, "height": WIDTHS[width]}, color_scheme=scheme)
    page = context.new_page()
    join(page, served.invite("admin", None), f"Ada {width} {scheme}")
    for name, opened in {**RUNNING, **SEEN}.items():
        if not given.pages or name in given.pages:
            opened(page, served)
            page.wait_for_timeout(250)
            page.screenshot(path=given.out / f"{name}-{width}-{scheme}.png", full_page=name != "close")
    context.close()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path("screenshots"))
    options.add_argument("--width", type=int, nargs="*", choices=WIDTHS, default=list(WIDTHS))
    options.add_argument("--scheme", nargs="*", choices=("light", "dark"), default=["light", "dark"])
    options.add_argument("pages", nargs="*", help=f"of {', '.join((*PAGES, *RUNNING, *SEEN))} (default: all)")
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        served = Served(str(Path(folder) / "studio.db"), screened(Path(folder) / "runs"))
        try:
            fill_seen(served)
            fill(served)
            fill_running(served, GUIDELINES)
            with chromium() as browser:
                for width, scheme in itertools.product(given.width, given.scheme):
                    if not given.pages or not {*PAGES}.isdisjoint(given.pages):
                        shoot(browser, served, given, width, scheme)
                    shoot_running(browser, served, given, width, scheme)
        finally:
            served.stop()
    print(f"{len(list(given.out.glob('*.png')))} pictures in {given.out}")


if __name__ == "__main__":
    main()
