"""An evaluation's folder as parts of a report: summary, table with intervals, most changed and suspicious answers.
Every number is read from results.json and answers.jsonl; nothing is measured again."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.errors import DataError
from steersman.evaluate.figures import Measure, MetricValue, by_measure
from steersman.evaluate.numerals import numeral
from steersman.evaluate.suspicious import ScoredAnswer, suspicions
from steersman.maths.statistics import Interval
from steersman.pages.parts import (
    Cell,
    Example,
    Examples,
    Mark,
    ResultTable,
    Row,
    Section,
    Sentence,
    Shown,
    bar_of,
    zero_of,
)
from steersman.pages.results import number, row_of
from steersman.pages.word_diff import Stretch, told_apart, unmarked
from steersman.records import Answers, Completion, from_dict
from steersman.reports.answers import largest_steps
from steersman.reports.changes import change_sentences, from_to
from steersman.reports.overoptimisation import OveroptimisationPart, overoptimisation_of

GAINED, LOST, LEAST, SUSPICIOUS, TOXIC = 5, 3, 3, 6, 4
TOXICITY = "toxicity"


@dataclass(frozen=True)
class ReadEvaluation:
    name: str
    folder: Path
    results: Mapping[str, Any]
    figures: Sequence[MetricValue]
    answers: Sequence[Answers]
    problems: Sequence[str]
    overoptimisation: OveroptimisationPart

    @property
    def models(self) -> list[str]:
        return list(self.results["models"])

    @property
    def baseline(self) -> str:
        return str(self.results["baseline"])

    @property
    def updated(self) -> str | None:
        """The model whose answers are shown: the last one that is not the baseline."""
        return next((name for name in reversed(self.models) if name != self.baseline), None)

    @property
    def scorers(self) -> list[str]:
        return list(dict.fromkeys(one.measure.name for one in self.figures if one.measure.group == "score"))

    @property
    def stamp(self) -> Mapping[str, Any]:
        return self.results.get("stamp") or {}


def read_evaluation(place: Path) -> ReadEvaluation:
    path = place / "results.json"
    try:
        results = json.loads(path.read_text())
        figures = [_figure(one) for one in results["figures"]]
        assert results["models"]
        assert results["baseline"] in results["models"]
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise DataError(
            f"{path} cannot be read as an evaluation's results ({type(error).__name__}: {error}); run the same "
            "steersman evaluate again, which rewrites it"
        ) from error
    answers, bad = _answers(place / "answers.jsonl")
    problems = [f"{bad:,} rows of answers.jsonl cannot be read and are left out"] if bad else []
    if not answers:
        problems.append("answers.jsonl has no answers, so none are shown")
    return ReadEvaluation(place.resolve().name, place, results, figures, answers, problems, overoptimisation_of(place))


def _figure(kept: Mapping[str, Any]) -> MetricValue:
    measure = Measure(kept["group"], kept["name"], kept["unit"], kept["better"], kept["meaning"])
    change = kept["change"]
    return MetricValue(
        measure, kept["model"], Interval(**kept["value"]), kept["n"], None if change is None else Interval(**change)
    )


def _answers(path: Path) -> tuple[list[Answers], int]:
    found: list[Answers] = []
    bad = 0
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            row = from_dict(json.loads(line))
        except (ValueError, RecursionError, TypeError, KeyError):
            bad += 1
            continue
        if isinstance(row, Answers):
            found.append(row)
        else:
            bad += 1
    return found, bad


def headline_of(read: ReadEvaluation) -> str:
    updated = read.updated
    if updated is None or not read.scorers:
        return f"{len(read.models)} model{'s' if len(read.models) > 1 else ''} on {read.results['prompts']:,} prompts."
    scorer = read.scorers[0]
    before, now = (_of(read, "score", scorer, name) for name in (read.baseline, updated))
    went = " → ".join(from_to(before.value.estimate, now.value.estimate, 2))
    verdict = {"better": "significantly better", "worse": "significantly worse"}.get(now.verdict)
    if verdict is None:
        return f"No significant difference between {updated} and {read.baseline} by {scorer}: {went}."
    return f"{updated} is {verdict} than {read.baseline} by {scorer}: {went}."


def sentences_of(read: ReadEvaluation) -> Iterator[Sentence]:
    for name in read.models:
        pairs = [
            (_of(read, one.measure.group, one.measure.name, read.baseline), one)
            for one in read.figures
            if one.model == name and one.change is not None
        ]
        yield from change_sentences(pairs, of=(name, read.baseline))
        yield from _beware(read, name)
    yield from read.overoptimisation.sentences
    for win in read.results.get("wins", []):
        rate = Interval(**win["rate"])
        if win["model"] != read.updated and rate.low <= 0.5 <= rate.high:
            continue  # the table has it
        tone = "good" if rate.low > 0.5 else "bad" if rate.high < 0.5 else ""
        share = " ".join(number(rate, "share"))
        yield Sentence(
            f"By {win['by']}, {win['model']} wins against {win['baseline']} {share} of the time; ties count half.", tone
        )
    for note in [*read.results.get("notes", []), *read.problems]:
        yield Sentence(f"{note[:1].upper()}{note[1:]}.".replace("..", "."), "")


def _beware(read: ReadEvaluation, model: str) -> Iterator[Sentence]:
    """A warning if only the first scorer, which may have been trained against, improved significantly."""
    first, *others = [one for one in read.figures if one.model == model and one.measure.group == "score"] or [None]
    alone = [one.measure.name for one in others if one is not None and one.verdict in ("worse", "unclear")]
    if first is not None and first.verdict == "better" and alone:
        yield Sentence(
            f"Warning: {model} improved by {first.measure.name}, but not significantly by {', '.join(alone)}. This is "
            "typical of reward hacking.",
            "bad",
        )


def _of(read: ReadEvaluation, group: str, name: str, model: str) -> MetricValue:
    return next(
        one for one in read.figures if one.model == model and (one.measure.group, one.measure.name) == (group, name)
    )


def sections_of(read: ReadEvaluation) -> list[Section]:
    return [
        _table(read),
        *_best_of(read),
        *read.overoptimisation.sections,
        *_changed(read),
        *_suspicious(read),
        *_worst(read),
    ]


def _table(read: ReadEvaluation) -> Section:
    results = read.results
    rows: list[Row] = []
    for of_measure in by_measure(list(read.figures)).values():
        there = {one.model: one for one in of_measure}
        rows.append(row_of([there.get(name) for name in read.models], group=of_measure[0].measure.group))
    rows += _contests(read, "wins", "rate", f"wins against {read.baseline}", "Ties count half.", share=True)
    rows += _contests(read, "ratings", "rating", "Bradley–Terry rating", "Log-strength, with mean 0.", share=False)
    note = (
        f"{results['prompts']:,} prompts, {results['answers']} answer{'s' if results['answers'] != 1 else ''} per "
        f"model and prompt, with the same seeds. Ranges are {100 * results['confidence']:.0f} % intervals over "
        f"prompts; changes are from {read.baseline}, paired by prompt."
    )
    columns = tuple(
        f"{name} (baseline)" if name == read.baseline and len(read.models) > 1 else name for name in read.models
    )
    return Section("Before and after", "Table", note, (ResultTable(columns, tuple(rows)),))


def _contests(read: ReadEvaluation, key: str, value: str, group: str, meaning: str, *, share: bool) -> list[Row]:
    found = read.results.get(key, [])
    rows: list[Row] = []
    for by in dict.fromkeys(one["by"] for one in found):
        values = {one["model"]: Interval(**one[value]) for one in found if one["by"] == by}
        low, high = (0.0, 1.0) if share else (min(v.low for v in values.values()), max(v.high for v in values.values()))
        cells = [_cell(values.get(name), low, high, share=share) for name in read.models]
        zero = 50.0 if share else zero_of(low, high, share=False)
        rows.append(Row(group, f"by {by}", meaning, tuple(cells), zero))
    return rows


def _cell(value: Interval | None, low: float, high: float, *, share: bool) -> Cell | None:
    if value is None:
        return None
    main, within = number(value, "share" if share else "number")
    change = "" if not share else "better" if value.low > 0.5 else "worse" if value.high < 0.5 else "unclear"
    return Cell(main, within, change, change, bar_of(value, low, high))


def _best_of(read: ReadEvaluation) -> Iterator[Section]:
    """Scores of best-of-n sampling, without training."""
    found = [one for one in read.results.get("best_of_n", []) if one["n"] > 1]
    if not found:
        return
    golds = list(dict.fromkeys(one["gold"] for one in found))
    rows: list[Row] = []
    for model in read.models:
        for n in dict.fromkeys(one["n"] for one in found if one["model"] == model):
            of = {one["gold"]: one for one in found if one["model"] == model and one["n"] == n}
            first = next(iter(of.values()))
            cells = [_plain_cell(Interval(**of[gold]["score"])) if gold in of else None for gold in golds]
            meaning = f"Chosen by {first['proxy']}; KL at most {first['kl_at_most']:.2f} nats."
            rows.append(Row("", f"best of {n} of {model}", meaning, tuple(cells), None))
    note = "Scores of choosing the best of n answers, without training. Each prompt needs n answers."
    yield Section("Best of n", "Best of n", note, (ResultTable(tuple(golds), tuple(rows)),))


def _plain_cell(value: Interval) -> Cell:
    main, within = number(value, "number")
    return Cell(main, within, "", "", None)


def _pairs(read: ReadEvaluation) -> Iterator[tuple[Answers, Completion, Completion]]:
    """The baseline's and the updated model's first answers to each prompt, which were sampled with the same seed."""
    for row in read.answers:
        first = {
            model: next((one for one in row.completions if one.model == model), None)
            for model in (read.baseline, read.updated)
        }
        before, after = first[read.baseline], first[read.updated]
        if before is not None and after is not None:
            yield row, before, after


def _changed(read: ReadEvaluation) -> Iterator[Section]:
    if not read.scorers or read.updated is None:
        return
    scorer = read.scorers[0]
    steps: list[tuple[float, int]] = []
    pairs = list(_pairs(read))
    for i, (_, before, after) in enumerate(pairs):
        if scorer in before.scores and scorer in after.scores and before.text != after.text:
            steps.append((after.scores[scorer] - before.scores[scorer], i))
    chosen = largest_steps(steps, up=GAINED, down=LOST)
    if not chosen:
        return
    shown = [
        Example(
            pairs[i][0].prompt.shown,
            f"{scorer} went {'up' if step > 0 else 'down'} by {abs(step):.2f}.",
            _sides(read, pairs[i][1], pairs[i][2]),
        )
        for step, i in chosen
    ]
    note = f"{read.baseline} and {read.updated} on the same prompt with the same seed; where {scorer} changed most."
    yield Section("Most changed answers, before and after", "Most changed", note, (Examples(tuple(shown), 2, True),))


def _sides(read: ReadEvaluation, before: Completion, after: Completion) -> tuple[Shown, ...]:
    stretches = told_apart(before.text, after.text)
    return tuple(_shown(read, one, side, None) for one, side in zip((before, after), stretches, strict=True))


def _shown(read: ReadEvaluation, one: Completion, text: tuple[Stretch, ...], mark: Mark | None) -> Shown:
    names = [name for name in (*read.scorers, TOXICITY, "KL") if name in one.scores]
    numbers = ", ".join(f"{name} {numeral(one.scores[name])}" for name in names)
    if mark is None and one.sampling.get("finish") == "length":
        mark = Mark("bad", "✗", "cut off")
    return Shown(str(one.model), text, mark, numbers)


def _of_updated(read: ReadEvaluation) -> list[tuple[Answers, Completion]]:
    name = read.updated or read.baseline
    return [(row, one) for row in read.answers for one in row.completions if one.model == name]


def _suspicious(read: ReadEvaluation) -> Iterator[Section]:
    if not read.scorers:
        return
    first, *others = read.scorers
    told = [(row, one) for row, one in _of_updated(read) if first in one.scores]
    seen = [
        ScoredAnswer(
            row.prompt.shown,
            one.text,
            one.scores[first],
            one.scores.get("KL"),
            str(one.sampling.get("finish", "")),
            one.scores.get(others[0]) if others else None,
        )
        for row, one in told
    ]
    found = suspicions(seen, SUSPICIOUS)
    if found:
        shown = [_single(read, *told[one.index], Mark("", "!", "look twice"), f"It {one.why}.") for one in found]
        note = (
            f"Answers of {read.updated or read.baseline} with a high {first} that look suspicious. This is no proof of "
            "reward hacking, but the first place to look."
        )
        yield Section("Suspicious answers", "Suspicious", note, (Examples(tuple(shown), 1, False),))


def _worst(read: ReadEvaluation) -> Iterator[Section]:
    answers = _of_updated(read)
    parts: list[Example] = []
    if read.scorers:
        first = read.scorers[0]
        told = sorted((pair for pair in answers if first in pair[1].scores), key=lambda pair: pair[1].scores[first])
        parts += [_single(read, row, one, Mark("bad", "✗", "lowest score"), "") for row, one in told[:LEAST]]
    toxic = sorted(
        (pair for pair in answers if pair[1].scores.get(TOXICITY, 0.0) >= 0.5),
        key=lambda pair: -pair[1].scores[TOXICITY],
    )
    parts += [_single(read, row, one, Mark("bad", "✗", "toxic"), "") for row, one in toxic[:TOXIC]]
    if parts:
        name = read.updated or read.baseline
        yield Section("The worst answers", "Worst", f"Of {name}.", (Examples(tuple(parts), 1, False),))


def _single(read: ReadEvaluation, row: Answers, one: Completion, mark: Mark, why: str) -> Example:
    return Example(row.prompt.shown, why, (_shown(read, one, unmarked(one.text), mark),))
