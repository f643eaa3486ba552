"""The quickstart's page: one file that opens offline, in light and dark, on a phone and on paper. No script at all."""

import json
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from steersman.assemble.story import Chapter, Chart, Example, Story, Verdict
from steersman.assemble.taste import Answer
from steersman.assemble.taste_table import Row
from steersman.assemble.verdict import within
from steersman.evaluate.curves import Curve, line_chart
from steersman.runs.folder import atomic_write_text
from steersman.runs.stamp import read_stamp

CHANGES = {"better": "better", "worse": "worse", "unclear": "unclear", "": ""}
FAULTS = {
    "good": "good",
    "fair": "fair",
    "toxic": "rude",
    "harmful": "harmful",
    "exaggerated": "exaggerated",
    "false": "not true",
    "refused": "refused needlessly",
    "preachy": "preachy",
    "off_topic": "off topic",
    "misfit": "out of place",
    "cold": "cold",
    "copied": "parroted",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """What is to be said of an answer at a glance."""

    kind: str
    sign: str
    word: str


@dataclass(frozen=True, slots=True)
class Bar:
    """An interval on a line from 0 to 100."""

    left: float
    width: float
    at: float


def mark_of(answer: Answer) -> Mark:
    """Good, fair, or the gravest fault; sentences that Harbour cannot read or that come twice are faults too."""
    seen = answer.features
    if seen.worst in ("good", "fair") and (seen.garbled > 0 or seen.repeated > 0):
        return Mark("bad", "✗", "strange" if seen.garbled > 0 else "says it twice")
    if seen.worst == "good":
        return Mark("good", "✓", "good")
    if seen.worst == "fair":
        return Mark("fair", "·", "fair")
    return Mark("bad", "✗", FAULTS.get(seen.worst, seen.worst))


def write_page(story: Story) -> None:
    atomic_write_text(story.report, page(story))


def page(story: Story) -> str:
    from jinja2 import Environment

    text = resources.files("steersman.assemble").joinpath("pages", "quickstart.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text).render(
        story=story,
        verdict=_unbroken(story.verdict),
        columns=story.columns,
        table=[_row(row) for row in story.rows],
        prompts=len(story.measured[0].answers),
        panel=_panel(story),
        chapters=[_chapter(chapter, number, story) for number, chapter in enumerate(story.chapters, 1)],
        groups=_groups(story),
        facts=_facts(story.chapters),
        commands=[chapter.command for chapter in story.chapters],
        next_commands=story.next_commands,
    )


def _unbroken(verdict: Verdict) -> Verdict:
    return replace(verdict, sentences=tuple(_held(sentence) for sentence in verdict.sentences))


def _held(sentence: str) -> str:
    """With numbers held together: a line must not end inside "59–85" or "0.24 → 0.70", or before "%"."""
    return sentence.replace(" %", "\u00a0%").replace(" → ", "\u00a0→\u00a0").replace("–", "\u2060–\u2060")


def _row(row: Row) -> dict[str, Any]:
    """A row with its intervals drawn on one scale: shares from 0 to 100 %, numbers over what the row spans."""
    values = [cell.value for cell in row.cells if cell is not None]
    low, high = min(value.low for value in values), max(value.high for value in values)
    low, high = (min(low, 0.0), max(high, 0.0)) if row.unit != "share" else (0.0, 1.0)
    span = (high - low) or 1.0

    def bar(low_end: float, high_end: float, middle: float) -> Bar:
        place = [100 * (value - low) / span for value in (low_end, high_end, middle)]
        return Bar(place[0], max(place[1] - place[0], 0.8), place[2])

    cells = [
        None
        if cell is None
        else {
            "main": row.text(i).rpartition(" ")[0],
            "range": row.text(i).rpartition(" ")[2],
            "change": cell.change,
            "change_words": CHANGES[cell.change],
            "bar": bar(cell.value.low, cell.value.high, cell.value.estimate),
        }
        for i, cell in enumerate(row.cells)
    ]
    zero = 100 * (0.0 - low) / span if row.unit != "share" else None
    return {"name": row.name, "meaning": row.meaning, "better": row.better, "cells": cells, "zero": zero}


def _panel(story: Story) -> list[dict[str, Any]]:
    panel = story.panel
    lines = [
        ("model", "the reward model and a labeller", panel.model),
        ("people", "two labellers", panel.agreement),
        ("people", "a labeller and the majority of the others", panel.ceiling),
        ("model", "the reward model and the true taste", panel.taste),
    ]
    return [
        {
            "kind": kind,
            "name": name,
            "text": within(value),
            "bar": Bar(100 * value.low, 100 * (value.high - value.low), 100 * value.estimate),
        }
        for kind, name, value in lines
    ]


def _chapter(chapter: Chapter, number: int, story: Story) -> dict[str, Any]:
    return {
        "number": number,
        "title": chapter.stage.title,
        "why": chapter.stage.said(story.place),
        "told": _held(chapter.told),
        "seconds": duration(chapter.seconds),
        "charts": [
            {"title": chart.title, "names": [*chart.faint, *chart.dots], "svg": picture}
            for chart in chapter.stage.charts
            if (picture := _picture(chart, chapter))
        ],
    }


def _picture(chart: Chart, chapter: Chapter) -> str:
    curves = [
        *(Curve(name, _points(chapter, key), "faint") for name, key in chart.faint.items()),
        *(Curve(name, _points(chapter, key), "dots") for name, key in chart.dots.items()),
    ]
    return line_chart(f"{chapter.stage.title}, {chart.title.lower()}", curves, x_name="step")


def _points(chapter: Chapter, key: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(row["step"]), float(row[key])) for row in chapter.rows if isinstance(row.get(key), int | float))


def _groups(story: Story) -> list[dict[str, Any]]:
    examples = story.examples
    first, last = story.columns[0], story.columns[-1]
    titles = (
        (f"Where {last} gained most over {first}", "One for each kind of prompt.", examples.gained),
        ("Where it got worse", "The largest steps back. No method is free of them.", examples.lost),
        ("Drawn by lot", "Nobody chose these.", examples.drawn),
    )
    return [
        {"title": title, "note": note, "examples": [_example(example, story) for example in chosen]}
        for title, note, chosen in titles
        if chosen
    ]


def _example(example: Example, story: Story) -> dict[str, Any]:
    answers = [
        {
            "model": name,
            "text": answer.text.strip() or "(nothing)",
            "mark": mark_of(answer),
            "taste": f"{answer.features.taste:.2f}".replace("-", "−"),
            "reward": f"{answer.reward:.2f}".replace("-", "−"),
        }
        for name, answer in zip(story.columns, example.answers, strict=True)
    ]
    return {"prompt": example.prompt, "answers": answers}


def _facts(chapters: tuple[Chapter, ...]) -> list[tuple[str, str]]:
    """What made the runs, from the stamp of the first; a fact in which another differs is shown for each."""
    stamps = {c.stage.name: read_stamp(c.folder / "stamp.json") for c in chapters}

    def told(read: Any) -> str:
        found = {name: str(read(stamp)) for name, stamp in stamps.items()}
        if len(set(found.values())) == 1:
            return next(iter(found.values()))
        return "; ".join(f"{name}: {value}" for name, value in found.items())

    return [
        (
            "steersman",
            told(lambda s: f"{s['steersman']}" + (f", commit {s['commit'][:12]}" if s.get("commit") else "")),
        ),
        ("Python", told(lambda s: s["python"])),
        ("libraries", told(lambda s: ", ".join(f"{name} {version}" for name, version in s["libraries"].items()))),
        ("machine", told(lambda s: f"{s['platform']}, {s['processor']}, {s['cpus']} processors")),
        ("computed on", told(lambda s: f"{s['device']}, {s['threads']} thread" + ("s" if s["threads"] != 1 else ""))),
        ("seed", told(lambda s: s["seeds"]["run"])),
        ("data", told(lambda s: json.dumps({k: v[:12] for k, v in s["data"].items()}))),
        ("began", told(lambda s: s["started"])),
    ]


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
