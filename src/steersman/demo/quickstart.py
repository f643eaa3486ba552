"""The quickstart on Harbour: the recipe `rounds-harbour`, run in this process, and a page of what it led to.

All training and evaluation is in the recipe's stages; here they are told of, and their outputs are read.
"""

import json
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from steersman.assemble.round_stages import find_stage
from steersman.demo.chapters import chapter_of, outline
from steersman.demo.microscope import demo_microscope
from steersman.demo.page import mark_of, write_page
from steersman.demo.panel import held_out_pairs, hold_panel
from steersman.demo.story import (
    Place,
    ProgressReporter,
    QuickstartExample,
    QuickstartExamples,
    QuickstartStory,
)
from steersman.demo.table import REFERENCE, table
from steersman.demo.taste import KeptScorer, MeasuredModel, measured_in
from steersman.demo.verdict import verdict
from steersman.errors import Preempted, UsageError
from steersman.harbour.demonstrations import demonstrations
from steersman.harbour.taste import true_taste
from steersman.records import Answers, Completion, to_dict
from steersman.rounds.by_round import RoundRow, rows_by_round
from steersman.rounds.graph import Graph
from steersman.rounds.progress import StageProgress, progress_of
from steersman.rounds.recipe import read_graph
from steersman.rounds.records import FOLDER
from steersman.rounds.run import Manner, run_graph
from steersman.rounds.tables import name_of
from steersman.runs.folder import atomic_write_text
from steersman.settings.base import put, read_recipe

RECIPE = "rounds-harbour"
FAST = (
    "sft.data.source=harbour:demonstrations?count=160",
    "sft.data.held_out=harbour:demonstrations/heldout?count=20",
    "rounds.prompts.source=harbour:prompts?count=400",
    "rounds.prompts.count=40",
    "rounds.prompts.held_out=harbour:prompts/heldout?count=48",
    "rounds.labels.count=160",
    "rounds.ppo.iterations=3",
    "rounds.ppo.prompts_per_iteration=16",
    "rounds.evaluate.drawing.answers=1",
)
"""What makes the small version small."""
ANSWERS, NUMBERS, REPORT, OWN_ROUND = "answers.jsonl", "numbers.json", "report.html", "round-3.toml"
LABELS_OF_OWN_ROUND = 60
BASE = "base"
THREADS = 1
GAINED, LOST, DRAWN = 4, 2, 6
LARGE = 0.5
"""Smallest change of true taste for an example."""
PAIRS, PAIRS_FAST = 400, 40
PEOPLE = 300


def run_quickstart(out: Path, *, seed: int, fast: bool, quiet: bool, reporter: ProgressReporter) -> QuickstartStory:
    """Run the quickstart. The same call on the same folder resumes it, or reports from the existing results."""
    began = time.monotonic()
    _check_folder(out)
    place = Place(out, seed, fast, RECIPE, (f"out={out}", f"seed={seed}", *(FAST if fast else ())))
    reporter.started(place)
    graph, ran = _run(place, reporter, quiet=quiet)
    progress = progress_of(graph)
    stood = {one.name: one for one in progress}
    chapters = [chapter_of(graph, *one, stood, again=not ran & {*one[0].names(one[1])}) for one in outline(graph)]
    by_round = rows_by_round(graph, progress)
    measured = measured_models(graph, stood, by_round)
    assert graph.rounds is not None
    last = graph.rounds.planned
    rows = table(measured)
    reward = str(stood[name_of("reward", last)].output / "model")
    scorer = KeptScorer(reward, kept=out / "measured" / "panel.json", threads=THREADS)
    panel = hold_panel(held_out_pairs(PAIRS_FAST if fast else PAIRS, seed), scorer, seed=seed)
    people = _people(seed)
    looked_at, looked_notes = demo_microscope(
        stood[name_of("ppo", last)].output, out / "measured" / "microscope.json", number_of_threads=THREADS
    )
    story = QuickstartStory(
        place,
        tuple(chapters),
        tuple(by_round),
        tuple(measured),
        rows,
        panel,
        people,
        choose_examples(measured, seed),
        verdict([model.name for model in measured], rows, panel, people),
        looked_at,
        looked_notes,
        stood[name_of("promote", last)].output,
        out / OWN_ROUND,
        time.monotonic() - began,
    )
    _write(story)
    reporter.finished(story)
    return story


def _run(place: Place, reporter: ProgressReporter, *, quiet: bool) -> tuple[Graph, set[str]]:
    """Run the stages that are not done, telling of each chapter. Returns the names of those that ran."""

    def read() -> Graph:
        return read_graph(place.recipe, place.settings, find_stage)

    telling = _Telling(read(), reporter)
    try:
        result = run_graph(telling.graph, Manner(quiet=quiet, report=telling.report), again=telling.read_by(read))
    except Preempted as stopped:
        raise Preempted(f"{stopped}; run the same command again to continue") from stopped
    return result.graph, {*result.ran}


class _Telling:
    """Tells of a chapter when its first stage starts and when its last one is done."""

    def __init__(self, graph: Graph, reporter: ProgressReporter) -> None:
        self.graph, self._reporter = graph, reporter
        self._begun: set[str] = set()

    def read_by(self, read: Any) -> Any:
        def again() -> Graph:
            self.graph = read()
            return self.graph

        return again

    def report(self, moment: str, one: StageProgress) -> None:
        chapters = outline(self.graph)
        for place, (kind, number) in enumerate(chapters, 1):
            names = kind.names(number)
            if one.name not in names or moment == "refused":
                continue
            stood = {each.name: each for each in progress_of(self.graph)}
            if names[0] not in self._begun:
                self._begun.add(names[0])
                self._reporter.chapter_started(place, len(chapters), chapter_of(self.graph, kind, number, stood))
            if one.name == names[-1] and moment in ("done", "finished"):
                again = moment == "done"
                self._reporter.chapter_ended(chapter_of(self.graph, kind, number, stood, again=again))


def measured_models(
    graph: Graph, stood: Mapping[str, StageProgress], by_round: Sequence[RoundRow]
) -> list[MeasuredModel]:
    """The base model, SFT, and each round's new policy, as they were evaluated.

    A policy that was promoted was evaluated again in the next round, by that round's reward model.
    """
    assert graph.rounds is not None
    evaluations = {row.round: stood[name_of("evaluate", row.round)].output for row in by_round}
    newest = evaluations[graph.rounds.planned]
    found = [
        measured_in(newest, BASE, name=BASE, path="harbour:base"),
        measured_in(newest, "sft", name=REFERENCE, path=str(stood["sft"].output)),
    ]
    labels, before = 0, REFERENCE
    for row in by_round:
        labels += row.labels or 0
        name, path = f"round {row.round}", str(stood[name_of("ppo", row.round)].output)
        later = evaluations.get(row.round + 1) if row.promoted else None
        place = (evaluations[row.round], "new") if later is None else (later, "promoted")
        found.append(measured_in(*place, name=name, path=path, labels=labels, before=before))
        before = name if row.promoted else before
    return found


def _check_folder(out: Path) -> None:
    """Raise UsageError if files of this folder would be overwritten that no quickstart made."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; the quickstart needs a folder of its own. Choose another name")
    theirs = [name for name in (ANSWERS, NUMBERS, REPORT, OWN_ROUND) if (out / name).exists()]
    if theirs and not (out / FOLDER).is_dir():
        raise UsageError(
            f"{out / theirs[0]} exists and is from no quickstart; the quickstart needs a folder of its own. Choose "
            "another name"
        )


def _people(seed: int) -> float:
    """The mean true taste of demonstrations to held-out prompts."""
    written = list(demonstrations(split="heldout", count=PEOPLE, seed=seed))
    return sum(true_taste(shown.prompt.shown, shown.completion.text) for shown in written) / len(written)


def choose_examples(measured: Sequence[MeasuredModel], seed: int) -> QuickstartExamples:
    """The largest gains that end in a good answer, one per kind of prompt; the largest losses; and a random sample."""
    steps = [(now.taste - before.taste, i) for i, (before, now) in enumerate(_ends(measured))]
    up, down = sorted(steps, reverse=True), sorted(steps)
    last = measured[-1].features
    forms: set[str] = set()
    gained: list[int] = []
    for step, i in up:
        good = mark_of(measured[-1].answers[i]).tone == "good"
        if step >= LARGE and good and last[i].form not in forms and len(gained) < GAINED:
            forms.add(last[i].form)
            gained.append(i)
    lost = [i for step, i in down if step <= -LARGE][:LOST]
    rest = [i for i in range(len(last)) if i not in (*gained, *lost)]
    drawn = random.Random(seed).sample(rest, min(DRAWN, len(rest)))

    def shown(chosen: Sequence[int], why: str) -> tuple[QuickstartExample, ...]:
        return tuple(QuickstartExample(tuple(model.answers[i] for model in measured), why) for i in chosen)

    return QuickstartExamples(shown(gained, "gained"), shown(lost, "lost"), shown(drawn, "random"))


def _ends(measured: Sequence[MeasuredModel]):
    return zip(measured[0].features, measured[-1].features, strict=True)


def _write(story: QuickstartStory) -> None:
    """Write the page, the numbers, all models' answers in a file that `label` and `score` read, and the recipe of a
    round whose labels the reader gives."""
    out = story.place.out
    lines = [json.dumps(to_dict(answers), ensure_ascii=False) for answers in answers_by_prompt(story.measured)]
    atomic_write_text(out / ANSWERS, "\n".join(lines) + "\n")
    atomic_write_text(out / NUMBERS, json.dumps(story.as_dict(), indent=1, ensure_ascii=False) + "\n")
    atomic_write_text(out / OWN_ROUND, tomli_w.dumps(own_round(story.place)))
    write_page(story)


def own_round(place: Place) -> dict[str, Any]:
    """The same recipe with a third round, labelled by the reader.

    Its reward model goes on from that of the second round on the reader's labels alone, and decides: the true taste
    may be another than the reader's.
    """
    values = read_recipe(place.recipe)
    for setting in place.settings:
        first = setting.partition("=")[0].partition(".")[0]
        put(values["stages"] if first in values["stages"] else values, setting)
    values["rounds"] |= {"count": 3, "patience": 3}
    values["rounds"]["in_round"] = {
        "3": {
            "labels": {"by": "label", "count": LABELS_OF_OWN_ROUND},
            "label": {"project": f"studio:quickstart?store={place.out / 'studio.db'}"},
            "prompts": {"count": LABELS_OF_OWN_ROUND},
            "reward": {
                "model": {"path": "stage:reward-2"},
                "data": {"more": []},
                "train": {"epochs": 5, "batch_size": 16},
            },
            "promote": {"by": "reward"},
        }
    }
    return values


def answers_by_prompt(measured: Sequence[MeasuredModel]) -> list[Answers]:
    """Each prompt with all models' answers. Identical ones cannot be judged against one another and stand once."""
    found: dict[str, Answers] = {}
    for place, first in enumerate(measured[0].answers):
        there = found.get(first.prompt.id)
        completions = {one.text: one for one in (there.completions if there else ())}
        for model in measured:
            completions.setdefault(model.answers[place].text, _completion(model, place))
        found[first.prompt.id] = Answers(first.prompt, tuple(completions.values()))
    return list(found.values())


def _completion(model: MeasuredModel, place: int) -> Completion:
    answer = model.answers[place]
    scores = {"taste": answer.features.taste, "reward": round(answer.reward, 6), "kl": round(answer.kl, 6)}
    return Completion(answer.text, model.name, seed=answer.seed, scores=scores)
