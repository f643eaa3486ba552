"""Charts in a real browser: they fill their card, and their labels are 12 pixels high or more, on a phone too."""

import json
from pathlib import Path

import pytest
from devtools import Page, browsing

from steersman.assemble.report import write_report

pytestmark = pytest.mark.slow

# The height of the letters as shown: the font size, times what the picture is scaled by.
SMALLEST = """Math.min(...[...document.querySelectorAll('.chart text')].filter(one => one.getScreenCTM())
  .map(one => parseFloat(getComputedStyle(one).fontSize) * Math.hypot(one.getScreenCTM().c, one.getScreenCTM().d)))"""
# For each row of charts, how much of its card's width is right of the last chart.
LEFT_FREE = """[...document.querySelectorAll('.charts')].filter(one => one.clientWidth).map(charts => {
  const rows = {}, end = charts.getBoundingClientRect().right;
  for (const figure of charts.children) {
    const box = figure.getBoundingClientRect();
    rows[box.top] = Math.max(rows[box.top] || 0, box.right);
  }
  return Math.max(...Object.values(rows).map(right => end - right));
})"""
NARROWEST = """Math.min(...[...document.querySelectorAll('figure .chart.free')].filter(one => one.clientWidth)
  .map(one => one.getBoundingClientRect().width / one.closest('figure').getBoundingClientRect().width))"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """Of a run with five metrics, so that the last row of two columns has one chart; and with saved answers."""
    folder = tmp_path_factory.mktemp("runs") / "ppo"
    (folder / "samples").mkdir(parents=True)
    (folder / "recipe.toml").write_text("iterations = 4\n")
    (folder / "stamp.json").write_text(json.dumps({"kind": "ppo", "started": "2026-01-02T03:04:05+00:00"}))
    names = ("score", "KL to reference", "entropy", "answer length", "clip fraction")
    rows = [{"step": i, "time": i, **{name: 0.0001 * i * k for k, name in enumerate(names, 1)}} for i in range(1, 9)]
    rows += [{"step": i, "time": i, "held-out score": 0.1 * i} for i in (1, 4, 8)]
    (folder / "journal.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokens = [f"word{i}" for i in range(40)]
    text = "".join(tokens)
    ends = [len("".join(tokens[: i + 1])) for i in range(40)]
    columns = ("log_probs", "reference_log_probs", "kl", "entropies", "values", "rewards", "advantages", "returns")
    sample = {
        "prompt": "Why?",
        "answer": text,
        "finish": "end",
        "score": 1.0,
        "ids": list(range(40)),
        "offsets": [[end - len(token), end] for end, token in zip(ends, tokens, strict=True)],
        **{name: [0.1 * i for i in range(40)] for name in columns},
    }
    (folder / "samples" / "iteration-000008.jsonl").write_text(json.dumps(sample) + "\n")
    return Path(write_report([str(folder)], out=None).out)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (800, False), (390, True), (320, False)])
def test_charts_fill_their_card_and_can_be_read(page: Page, report, width, dark):
    page.open(report, width=width, dark=dark)
    page.ask("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.ask("document.querySelectorAll('.scope-chart text').length") > 5
    assert page.ask(SMALLEST) >= 12
    assert max(page.ask(LEFT_FREE)) < 2
    assert page.ask(NARROWEST) > 0.75
    assert page.ask("document.documentElement.scrollWidth") <= width
    assert page.complaints == []
