"""The page: whatever a model said stays text, and nothing is asked of anybody."""

import json
import re

from steersman.maths.statistics import Interval
from steersman.pages.microscope import entry_of
from steersman.pages.parts import (
    Bar,
    Cell,
    Commands,
    Example,
    Examples,
    Facts,
    Figure,
    Figures,
    FindingPart,
    Findings,
    Folded,
    Gauge,
    Gauges,
    Mark,
    Microscope,
    Report,
    ResultTable,
    Row,
    Section,
    Sentence,
    Shown,
    StagePart,
    Words,
    bar_of,
    span_of,
)
from steersman.pages.render import data, html_of
from steersman.pages.word_diff import Stretch

EVIL = '</script><img src="https://example.org/x.png" onerror="alert(1)"><script>alert(2)</script>&amp;'


def everything(sample: dict, words: str) -> Report:
    """A report with every kind of part, each text of it these words."""
    figure = Figure(words, (words,), "<svg></svg>", words, True, True)
    cell = Cell(words, words, "better", words, Bar(1.0, 2.0, 3.0))
    entry = entry_of({**sample, "prompt": words, "answer": words}, label=words, gamma=1.0, note=words)
    parts = (
        ResultTable((words,), (Row(words, words, words, (cell,), 0.0), Row(words, words, words, (None,), None))),
        Gauges((Gauge(words, words, True, Bar(1.0, 2.0, 3.0)),)),
        Figures((figure,)),
        StagePart(words, words, words, words, (figure,)),
        Examples(
            (Example(words, words, (Shown(words, (Stretch(words, True),), Mark("bad", "✗", words), words),)),), 1, True
        ),
        Findings((FindingPart("bad", words, words, (words,)),)),
        Microscope((entry,), (words,)),
        Commands(((words, words),)),
        Facts(((words, words),)),
        Folded(words, (Words(words),)),
    )
    return Report(words, words, (Sentence(words, "bad"),), (Section(words, words, words, parts),) * 3)


def test_whatever_a_model_says_stays_text(sample):
    page = html_of(everything(sample, EVIL))
    assert "<img" not in page
    assert "onerror=&#34;" in page or "onerror=&quot;" in page
    # Three data elements, one script of the page's own, and not one more that a text has opened or closed.
    assert page.count("<script") == page.count("</script>") == 4
    assert "alert(2)</script>" not in page


def test_data_in_the_page_is_what_was_put_in():
    content = {"text": EVIL + "\u2028", "numbers": [1.5, -2]}
    text = str(data(content))
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == content


def test_the_page_asks_nobody_for_anything_and_runs_only_its_own_script(sample):
    page = html_of(everything(sample, "plain words"))
    for outside in ("http:", "https:", "src=", "@import", "url(", "<iframe", "<object", '<link rel="stylesheet'):
        assert outside not in page.replace("http://www.w3.org/2000/svg", ""), outside
    assert "default-src 'none'" in page
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", page)


def test_numbers_are_held_together():
    page = html_of(Report("r", "It went 1.0 → 2.0, 59–85 %.", (), ()))
    assert "1.0\u00a0→\u00a02.0, 59\u2060–\u206085\u00a0%." in page


def test_a_report_without_a_microscope_has_no_script():
    assert "<script" not in html_of(Report("r", "Nothing.", (), (Section("t", "t", "", (Words("w"),)),)))


def test_bars_stand_where_the_numbers_say():
    assert bar_of(Interval(0.5, 0.25, 0.75), 0.0, 1.0) == Bar(25.0, 50.0, 50.0)
    # Never invisible, never off the line.
    assert bar_of(Interval(2.0, 2.0, 2.0), 0.0, 1.0) == Bar(100.0, 0.8, 100.0)
    assert span_of([Interval(0.5, 0.2, 0.8)], share=False) == (0.0, 0.8)
    assert span_of([Interval(-0.5, -0.8, -0.2)], share=False) == (-0.8, 0.0)
    assert span_of([Interval(0.5, 0.2, 0.8)], share=True) == (0.0, 1.0)
