"""The quickstart's report: one HTML file that works offline, in light and dark mode, on a phone and in print."""

from typing import Any

from steersman.demo.chapters import Chapter, JournalChart
from steersman.demo.story import QuickstartExample, QuickstartStory
from steersman.demo.table import QuickstartRow
from steersman.demo.taste import HarbourAnswer
from steersman.evaluate.curves import Curve, line_chart
from steersman.evaluate.numerals import numeral, within
from steersman.maths.statistics import Interval
from steersman.pages import parts
from steersman.pages.parts import (
    Cell,
    Commands,
    Figure,
    Folded,
    Gauge,
    Gauges,
    Mark,
    Report,
    ResultTable,
    Section,
    Sentence,
    Shown,
    StagePart,
    Words,
    bar_of,
    span_of,
    zero_of,
)
from steersman.pages.render import html_of
from steersman.pages.word_diff import told_apart, unmarked
from steersman.reports.curves import figures_of
from steersman.reports.facts import facts_of
from steersman.reports.reading import ReadRun, read_run
from steersman.reports.run import microscope_of, suspicious_of, warnings_as_sentences
from steersman.reports.watch import watch_of
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


def mark_of(answer: HarbourAnswer) -> Mark:
    """Good, fair, or the worst fault; sentences that Harbour cannot parse, and repeated ones, are faults too."""
    seen = answer.features
    if seen.worst in ("good", "fair") and (seen.garbled > 0 or seen.repeated > 0):
        return Mark("bad", "✗", "strange" if seen.garbled > 0 else "says it twice")
    if seen.worst == "good":
        return Mark("good", "✓", "good")
    if seen.worst == "fair":
        return Mark("", "·", "fair")
    return Mark("bad", "✗", FAULTS.get(seen.worst, seen.worst))


def write_page(story: QuickstartStory) -> None:
    atomic_write_text(story.report, page(story))


def page(story: QuickstartStory) -> str:
    return html_of(report_of(story))


def report_of(story: QuickstartStory) -> Report:
    """The report's parts, verdict first."""
    improved = read_run(story.last_run)
    sentences = [_sentence(text) for text in story.verdict.sentences]
    return Report(
        "steersman quickstart",
        story.verdict.headline,
        (*sentences, *warnings_as_sentences(improved)),
        (
            _measured(story),
            _trusted(story),
            _happened(story, improved),
            *_groups(story),
            *suspicious_of(improved),
            *watch_of(improved),
            *microscope_of(improved, story.looked_at, story.looked_notes),
            _own_round(story),
            Section("Try next", "Next", "", (Commands(story.next_commands),)),
            _again(story),
        ),
    )


def _sentence(text: str) -> Sentence:
    return Sentence(
        text,
        "bad" if text.startswith(("Beware", "Clearly worse")) else "good" if text.startswith("Clearly better") else "",
    )


def _measured(story: QuickstartStory) -> Section:
    note = (
        f"Each model answered the same {story.prompts} held-out prompts. In Harbour the true taste "
        "(gold reward) of every answer is known; training never sees it. The bars are 95 % intervals, and each column "
        "is compared with the one before it."
    )
    if story.place.fast:
        note += " This was a --fast run: it is small, so the intervals are wide."
    return Section(
        "What was measured", "Measured", note, (ResultTable(story.columns, tuple(_row(row) for row in story.rows)),)
    )


def _row(row: QuickstartRow) -> parts.Row:
    """A row with its intervals on one scale: shares from 0 to 100 %, numbers over the range of the row."""
    share = row.unit == "share"
    low, high = span_of([cell.value for cell in row.cells if cell is not None], share=share)
    cells = tuple(
        None
        if cell is None
        else Cell(
            *row.texts(i),
            cell.change,
            CHANGES[cell.change],
            None if row.unit == "count" else bar_of(cell.value, low, high),
        )
        for i, cell in enumerate(row.cells)
    )
    meaning = row.meaning + (f" {row.better.capitalize()} is better." if row.better else "")
    return parts.Row("", row.name, meaning, cells, zero_of(low, high, share=share))


def _trusted(story: QuickstartStory) -> Section:
    panel = story.panel
    lines: list[tuple[bool, str, Interval]] = [
        (False, "the reward model and a labeller", panel.model),
        (True, "two labellers", panel.agreement),
        (True, "a labeller and the majority of the others", panel.ceiling),
        (False, "the reward model and the true taste", panel.taste),
    ]
    gauges = tuple(Gauge(name, within(value), people, bar_of(value, 0.0, 1.0)) for people, name, value in lines)
    note = (
        f"How often two judges prefer the same answer, on {panel.pairs} pairs of answers to held-out prompts that all "
        f"{panel.labellers} labellers judged. The agreement of the labellers is the yardstick; chance is 50 %."
    )
    return Section("Can the reward model be trusted?", "Reward model", note, (Gauges(gauges),))


def _happened(story: QuickstartStory, improved: ReadRun) -> Section:
    stages = tuple(_stage(chapter, number) for number, chapter in enumerate(story.chapters, 1))
    shown, _ = figures_of(improved)
    words = "The shaded band is the usual range in a healthy run."
    return Section(
        "What happened",
        "Curves",
        "",
        (*stages, Folded("PPO's own numbers, with their healthy ranges", (Words(words), shown))),
    )


def _stage(chapter: Chapter, number: int) -> StagePart:
    summary = chapter.summary
    return StagePart(
        f"{number}. {chapter.title}",
        duration(chapter.seconds),
        chapter.why,
        f"{summary[:1].upper()}{summary[1:]}.",
        tuple(figure for chart in chapter.kind.charts if (figure := _figure(chart, chapter)) is not None),
    )


def _figure(chart: JournalChart, chapter: Chapter) -> Figure | None:
    curves = [
        *(Curve(name, _points(chapter, key), "faint") for name, key in chart.faint.items()),
        *(Curve(name, _points(chapter, key), "dots") for name, key in chart.dots.items()),
    ]
    svg = line_chart(f"{chapter.title}, {chart.title.lower()}", curves, x_name="step")
    return Figure(chart.title, (*chart.faint, *chart.dots), svg, "", False, False) if svg else None


def _points(chapter: Chapter, key: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(row["step"]), float(row[key])) for row in chapter.rows if isinstance(row.get(key), int | float))


def _groups(story: QuickstartStory) -> list[Section]:
    examples = story.examples
    first, last = story.columns[0], story.columns[-1]
    groups = (
        (f"Where {last} gained most over {first}", "Gained", "One for each kind of prompt.", examples.gained),
        ("Where it got worse", "Lost", "The largest losses. Every method has some.", examples.lost),
        ("Random sample", "Random", "Not selected.", examples.drawn),
    )
    return [
        Section(
            title,
            short,
            note,
            (parts.Examples(tuple(_example(one, story) for one in chosen), len(story.columns), i == 0),),
        )
        for i, (title, short, note, chosen) in enumerate(groups)
        if chosen
    ]


def _example(example: QuickstartExample, story: QuickstartStory) -> parts.Example:
    """All models' answers, with differences marked between the last two: before and after the update."""
    texts = [answer.text for answer in example.answers]
    stretches = [unmarked(text) for text in texts]
    if len(texts) > 1:
        stretches[-2:] = told_apart(texts[-2], texts[-1])
    shown = tuple(
        Shown(
            name,
            stretches[i],
            mark_of(answer),
            f"true taste {numeral(answer.features.taste)}, reward {numeral(answer.reward)}",
        )
        for i, (name, answer) in enumerate(zip(story.columns, example.answers, strict=True))
    )
    return parts.Example(example.prompt, "", shown)


def _own_round(story: QuickstartStory) -> Section:
    note = (
        f"{story.own_round} is the same recipe with one more round, whose judgements you give. The first command puts "
        "pairs of the new policy's answers into a database for labels and waits. Judge them in a browser with the "
        "second, in another terminal, and the policy learns from you."
    )
    return Section("Label the next round yourself", "Your round", note, (Commands(story.own_round_commands),))


def _again(story: QuickstartStory) -> Section:
    note = (
        "The first two commands are the same but for this page: each runs the stages that are not done. The same "
        "versions, seed and number of threads give the same numbers; another CPU may change the last digits."
    )
    place = story.place
    lines = ((place.command, ""), (place.rounds("run"), ""), (place.rounds("explain"), "why a stage would run"))
    runs = {name: one.output for chapter in story.chapters for name, one in chapter.stages.items()}
    stamps: dict[str, Any] = {
        name: read_stamp(path / "stamp.json") for name, path in runs.items() if (path / "stamp.json").exists()
    }
    return Section("How to reproduce this", "Reproduce", note, (Commands(lines), facts_of(stamps)))


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
