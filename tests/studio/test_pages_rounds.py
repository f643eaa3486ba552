"""Rounds whose labels somebody gives in a real browser: the pipeline goes on by itself, and the new policy's answers
are the next round's tasks, on the page that is still open."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from forked import Child, program
from playwright.sync_api import expect
from studio_browser import Judge, Served, join

from steersman.studio.settings import StudioSettings

pytestmark = pytest.mark.slow

LABELS = 6
RECIPE = """
out = "runs/loop"
seed = 5

[rounds]
policy = "harbour:base"
count = 2
prompts.source = "harbour:prompts?count=60"
prompts.count = 8
prompts.held_out_count = 6
labels.by = "label"
labels.count = LABELS

[rounds.sample]
max_new_tokens = 12

[rounds.label]
project = "studio:helpful?store=studio.db"
poll = 0.2

[rounds.reward]
recipe = "reward-harbour"
train.epochs = 1
train.batch_size = 4

[rounds.ppo]
recipe = "ppo-harbour"
iterations = 2
prompts_per_iteration = 8
sampling.max_new_tokens = 12
update.minibatches = 1

[rounds.evaluate]
drawing.max_new_tokens = 12
resamples = 100
run.threads = 1

# The policies of so few labels are no better: they are promoted all the same, so that round 2 asks about the new one.
[rounds.promote]
measure = "score"
least = -100.0
guards = []
""".replace("LABELS", str(LABELS))


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "loop.toml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def studio(place):
    settings = StudioSettings(requests=(5000, 1000.0), attempts=(1000, 100.0), runs=(place / "runs",))
    served = Served(str(place / "studio.db"), settings)
    served.project("helpful")
    yield served
    served.stop()


@pytest.fixture
def loop(place):
    """The process of `steersman rounds run loop.toml`."""
    text = program(["steersman", "rounds", "run", "loop.toml"], place / "log", "os.environ['OMP_NUM_THREADS'] = '1'")
    child = Child(f"import os\nos.chdir({str(place)!r})\n{text}")
    yield child
    if child.code() is None:
        os.kill(child.pid, signal.SIGKILL)


def rows_of(place: Path, stage: str) -> list[dict[str, Any]]:
    (path,) = (one for one in (place / "runs" / "loop").glob(f"{stage}-*.jsonl"))
    return [json.loads(line) for line in path.read_text().splitlines()]


Given = set[tuple[str, str, str]]


def label_round(judge: Judge) -> Given:
    """Wait for tasks, and prefer the shorter answer of each until none is left: some more than the round waits for.
    Returns the prompt, the better and the worse answer of each."""
    given: Given = set()
    judge.page.wait_for_selector("#task[data-task]", timeout=120_000)
    judge.settle()
    while judge.task:
        one, two = judge.answers
        better = (one.strip(), two.strip()) if len(one) <= len(two) else (two.strip(), one.strip())
        given.add((judge.prompt, *better))
        judge.press("1" if len(one) <= len(two) else "9")
    judge.all_sent()
    expect(judge.page.locator("#task h2")).to_have_text("All done")
    return given


def check_labels(place: Path, number: int, given: Given) -> None:
    kept = rows_of(place, f"labels-{number}")
    assert LABELS <= len(kept) <= len(given)
    for row in kept:
        first, second = (row[name]["text"].strip() for name in ("first", "second"))
        better = (first, second) if row["preference"] > 0.5 else (second, first)
        assert (row["prompt"]["messages"][-1]["content"], *better) in given


@pytest.mark.timeout(300)
def test_a_round_that_is_labelled_in_the_browser_leads_to_the_next_round_by_itself(place, studio, loop, browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)
    join(page, studio.invite("labeller"), "Ann")
    judge = Judge(page, studio).open()
    first = label_round(judge)
    # Nothing is pressed now: the reward model learns, PPO moves the policy, and its answers come to the same page.
    second = label_round(judge)
    deadline = time.monotonic() + 120
    while loop.code() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert loop.code() == 0, (place / "log").read_text()[-3000:]
    check_labels(place, 1, first)
    check_labels(place, 2, second)
    models = {answer["model"] for row in rows_of(place, "sample-2") for answer in row["completions"]}
    assert any("promote-1" in model for model in models), models
    shown = {text for _, *pair in second for text in pair}
    new = {
        answer["text"].strip()
        for row in rows_of(place, "sample-2")
        for answer in row["completions"]
        if "promote-1" in answer["model"]
    }
    assert shown & new, "an answer of the new policy was on the screen"
    assert "all are done" in (place / "log").read_text()
    context.close()
    # Who looks after the project sees both rounds.
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    join(page, studio.invite("viewer"), "Vera")
    page.goto(f"{studio.address}/runs")
    deadline = time.monotonic() + 30
    while not (links := page.locator("a[href^='/rounds/']")).count() and time.monotonic() < deadline:
        page.wait_for_timeout(500)
        page.reload()
    links.first.click()
    expect(page.locator("#by-round, main").first).to_contain_text("round 2")
    context.close()
