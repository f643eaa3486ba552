"""Pages of runs in a real browser: curves draw, also of 50,000 rows; what is new comes by itself; hostile text stays
text; everybody can use them."""

import json
from pathlib import Path
from typing import Any

import pytest
from observed_runs import long_journal, ppo_run, rounds_folder, sft_run
from page_checks import FOCUSABLE, FOCUSED, guarded, serious
from playwright.sync_api import Page, expect
from studio_browser import Served, join
from xss_strings import strings

from steersman.runs.folder import RunFolder
from steersman.runs.journal import Journal
from steersman.runs.lock import lock_run
from steersman.studio.settings import StudioSettings

ALL = strings()
DRAWN = """() => [...document.querySelectorAll('#charts canvas')].map(canvas => {
  const context = canvas.getContext('2d');
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Set();
  for (let i = 0; i < pixels.length; i += 4) {
    if (pixels[i + 3] > 200) colours.add(`${pixels[i]},${pixels[i + 1]},${pixels[i + 2]}`);
  }
  return colours.size;
})"""
FOREIGN = """() => [...document.querySelectorAll('main *')].filter(node => {
  const name = node.tagName.toLowerCase();
  const never = ['iframe', 'object', 'embed', 'img', 'link', 'style', 'base', 'meta', 'video', 'audio', 'math'];
  const leads = one => one.name === 'href' && !/^[/#]/.test(one.value);
  const odd = [...node.attributes].some(one => one.name.startsWith('on') || leads(one));
  const script = name === 'script' && node.type !== 'application/json';
  return never.includes(name) || odd || script;
}).map(node => node.outerHTML.slice(0, 120)).concat(window.__ran ? ['a script ran'] : [], window.__violations || [])"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("observed") / "runs"
    ppo_run(runs / "ppo")
    ppo_run(runs / "stronger", coefficient=0.5)
    sft_run(runs / "sft")
    rounds_folder(runs / "rounds")
    ppo_run(runs / "evil", texts=[ALL[3], ALL[40], ALL[90]])
    rounds_folder(runs / ALL[2].replace("/", "∕")[:80], texts=[ALL[5], ALL[60], ALL[120]])
    long = RunFolder(ppo_run(runs / "long", steps=40))
    long_journal(long.journal_path, 50_000)
    return runs


@pytest.fixture(scope="module")
def observed(tmp_path_factory, folder):
    settings = StudioSettings(requests=(5000, 1000.0), attempts=(1000, 100.0), runs=(folder,))
    served = Served(str(tmp_path_factory.mktemp("studio") / "studio.db"), settings)
    served.project("helpful")
    yield served
    served.stop()


def visitor(browser: Any, served: Served, *, width: int = 1280, scheme: Any = "light", **more: Any) -> Page:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
    page = context.new_page()
    page.set_default_timeout(60_000)
    return page


def addresses(served: Served) -> dict[str, str]:
    runs = served.app.state.studio.runs
    found = {one.name: f"/runs/{one.id}" for one in runs.runs().values()}
    for one in runs.graphs().values():
        found[f"graph {one.name}"] = f"/rounds/{one.id}"
    compared = "&".join(f"run={found[name].rpartition('/')[2]}" for name in ("ppo", "stronger"))
    lineage = {"lineage": f"{found['ppo']}/lineage", "compare": f"/runs/compare?{compared}", "list": "/runs"}
    return found | lineage


def opened(page: Page, served: Served, path: str) -> None:
    page.goto(served.address + path)
    page.wait_for_timeout(100)


def test_curves_are_drawn_and_of_fifty_thousand_rows_too(browser, observed):
    page = visitor(browser, observed)
    faults = guarded(page, observed.address)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    join(page, observed.invite("viewer"), "Vera")
    where = addresses(observed)
    for name in ("ppo", "long", "compare"):
        opened(page, observed, where[name])
        page.wait_for_selector("#charts canvas")
        page.wait_for_timeout(300)
        drawn = page.evaluate(DRAWN)
        assert len(drawn) >= 3, name
        assert min(drawn) > 3, (name, drawn)
    opened(page, observed, where["ppo"])
    page.wait_for_selector("#charts canvas")
    assert (
        page.locator("#charts .plot").first.get_attribute("aria-label").startswith("Score of an answer: each iteration")
    )
    page.locator("#other-charts summary").click()
    page.wait_for_selector("#other-charts canvas")
    assert page.locator("[data-scope] .token").count() == 3
    assert (faults, errors) == ([], [])
    page.context.close()


def test_what_is_new_comes_by_itself(browser, observed, folder):
    live = RunFolder(ppo_run(folder / "live", steps=20, state="running"))
    page = visitor(browser, observed)
    join(page, observed.invite("viewer"), "Vera live")
    while "live" not in addresses(observed):
        page.wait_for_timeout(500)
    with lock_run(live.path):
        opened(page, observed, addresses(observed)["live"])
        expect(page.locator("#live")).to_have_text("live", timeout=30_000)
        reading = page.locator('[data-key="score"] .reading-of')
        assert "iteration 20" in reading.inner_text()
        with Journal(live.journal_path) as journal:
            journal.write({"step": 21, "score": 0.875, "KL to reference": 2.0})
            journal.write({"step": 21, "notice": "the KL is <b>large</b>"})
        expect(reading).to_contain_text("0.875", timeout=30_000)
        assert "iteration 21" in reading.inner_text()
        assert page.locator("#notices li").first.inner_text().endswith("the KL is <b>large</b>")
        assert page.locator("header [data-stands=step]").inner_text() == "21 of 40"
        sample = json.loads(live.samples_path(20).read_text().splitlines()[0])
        live.samples_path(21).write_text(json.dumps({**sample, "answer": "Quite another answer."}) + "\n")
        expect(page.locator("#latest-answers")).to_contain_text("Quite another answer.", timeout=30_000)
        page.locator("[data-scope] .token").first.wait_for(state="attached")
    expect(page.locator("header [data-stands=state]")).not_to_have_text("running", timeout=30_000)
    page.context.close()


def test_hostile_text_of_runs_stays_text(browser, observed):
    page = visitor(browser, observed)
    faults = guarded(page, observed.address)
    join(page, observed.invite("viewer"), "Vera evil")
    where = addresses(observed)
    hostile = [name for name in where if name == "evil" or "<" in name]
    assert len(hostile) > 5
    for name in ("list", *hostile):
        opened(page, observed, where[name])
        if name == "evil":
            page.wait_for_selector("#charts canvas")
        assert page.evaluate(FOREIGN) == [], name
    for path in page.locator(".prompts a").evaluate_all("all => all.map(one => one.getAttribute('href'))")[:3]:
        opened(page, observed, path)
        assert page.evaluate(FOREIGN) == []
    assert faults == []
    page.context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_serious_and_no_page_scrolls_sideways(browser, observed, scheme, width):
    page = visitor(browser, observed, width=width, scheme=scheme, bypass_csp=True)
    join(page, observed.invite("viewer"), f"Vera {width}")
    where = addresses(observed)
    for name in ("list", "ppo", "sft", "compare", "lineage", "graph rounds"):
        opened(page, observed, where[name])
        if name in ("ppo", "compare"):
            page.wait_for_selector("#charts canvas")
        assert serious(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    opened(page, observed, page.locator(".prompts a").first.get_attribute("href") or "")
    assert serious(page) == []
    page.context.close()


def test_the_keyboard_reaches_everything_of_a_run(browser, observed):
    page = visitor(browser, observed)
    join(page, observed.invite("viewer"), "Vera keys")
    opened(page, observed, addresses(observed)["ppo"])
    page.wait_for_selector("#charts canvas")
    wanted = set(page.evaluate(FOCUSABLE))
    reached = set()
    for _ in range(2 * len(wanted) + 10):
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUSED)
        if at and at["probe"]:
            reached.add(at["probe"])
            assert at["shown"], f"the focus cannot be seen on {at['name']}"
        if wanted <= reached:
            break
    assert wanted - reached == set()
    page.context.close()
