"""One run as parts of a report: a summary in sentences, then the sections."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.evaluate.numerals import numeral
from steersman.pages.parts import Figures, Folded, Microscope, Part, Section, Sentence, Words
from steersman.reports.answers import latest, microscope_entries, suspicious, worst
from steersman.reports.changes import from_to
from steersman.reports.critiques import KIND, critiques_of, revision_headline
from steersman.reports.curves import figures_of, warnings_of
from steersman.reports.distance import PeoplePoint, distance_of
from steersman.reports.facts import facts_of, reproduction
from steersman.reports.held_out import side_by_side
from steersman.reports.judge import headline_of_judge, judge_of
from steersman.reports.quality import quality_of
from steersman.reports.reading import ReadRun
from steersman.reports.truth import Moment, moments_of, truth_figure, truth_sentences
from steersman.reports.watch import watch_of
from steersman.reports.worth import worth_of
from steersman.runs.kinds import RUN_KINDS, title_of

LOSS_LIKE = ("held-out loss", "held-out preference", "loss")
RISING = ("held-out accuracy", "held-out score")
TITLES = {"held-out score": "the score of held-out answers", "held-out preference": "the held-out loss"}


AS_EVALUATED = (
    "Prompts and seeds are those of the run's own evaluations, so the scores are those of the curves and of the "
    "command line. The KL here is computed from the whole distribution at each token, in the curves from sampled "
    "tokens."
)


@dataclass(frozen=True)
class Measured:
    """What was measured for the report with the run's models. `notes` say what could not be measured, and why."""

    table: Part | None
    headline: str | None
    sentences: Sequence[Sentence]
    changed: Part | None
    entries: Sequence[Mapping[str, Any]]
    notes: Sequence[str]


NOTHING_MEASURED = Measured(None, None, (), None, (), ())


def name_of(run: ReadRun) -> str:
    return title_of(run.kind)


def headline_of(run: ReadRun) -> str:
    """A sentence about the change of the most important metric, on held-out data if possible."""
    if run.kind == KIND:
        return revision_headline(run)
    if (judged := headline_of_judge(run)) is not None:
        return judged
    name = name_of(run)
    name = name[:1].upper() + name[1:]
    for key in (*RISING, *LOSS_LIKE, "score"):
        values = [value for _, value in run.curve(key)]
        if len(values) < 2:
            continue
        kept = _at_kept(run, key)
        first, last = values[0], values[-1] if kept is None else kept
        form = ".3f" if key in LOSS_LIKE else ".2f"
        title = TITLES.get(key, "the " + key)
        if last == first:
            return f"{name} left {title} at {numeral(last, form)}."
        went = "raised" if last > first else "lowered"
        better_up = key in RISING or key == "score"
        wrong = ", which is worse" if (last > first) != better_up else ""
        before, after = from_to(first, last, 3 if key in LOSS_LIKE else 2)
        if before == after:
            return f"{name} left {title} at {after}."
        return f"{name} {went} {title} from {before} to {after}{wrong}."
    if run.kind in RUN_KINDS and RUN_KINDS[run.kind].model is None:
        return f"{name}: {run.summary.state}."
    return f"{name}: {run.summary.step} steps, and nothing measured yet."


def _at_kept(run: ReadRun, key: str) -> float | None:
    """The metric at the step whose weights were kept."""
    kept = run.kept_step
    return next((value for step, value in run.values(key) if kept is not None and step == kept), None)


def sentences_of(run: ReadRun, moments: Sequence[Moment], *, measured: bool) -> Iterator[Sentence]:
    """The summary, most important first: how the run ended, KL, metrics out of range, findings, damage.

    `measured`: the models were measured, and that measurement has said the KL.
    """
    state, planned = run.summary.state, run.recipe.get("iterations")
    if state == "running":
        yield Sentence(f"The run is still running, at step {run.summary.step}; the report is preliminary.", "bad")
    elif state in ("stopped", "crashed"):
        of = f" of {planned}" if planned else ""
        yield Sentence(
            f"The run has not finished: it {state} at step {run.summary.step}{of}. The same command resumes it; the "
            "report is preliminary.",
            "bad",
        )
    yield from truth_sentences(moments)
    yield from run.overoptimisation.sentences
    distances = run.values("held-out KL to reference") or run.values("KL to reference")
    if distances and not measured:
        kept = run.kept_step
        far = _at_kept(run, "held-out KL to reference")
        far = distances[-1][1] if far is None else far
        when = f"At iteration {kept}, whose weights were kept as the best," if kept is not None else "At its end"
        yield Sentence(f"{when} the KL from the reference was {numeral(far)} nats per answer.", "")
    warnings = warnings_as_sentences(run)
    yield from warnings
    if run.in_the_loop and not warnings:
        yield Sentence("All metrics stayed within their usual ranges.", "good")
    ended = [notice for notice in run.notices if notice.startswith("the run ended at iteration")]
    if ended:
        yield Sentence(f"T{ended[-1][1:]}.", "")
    if run.findings:
        first = run.findings[0]
        more = f", and {len(run.findings) - 1} more" if len(run.findings) > 1 else ""
        yield Sentence(f"Finding of the watch: {first.where}: {first.text}{more}.".replace("..", "."), "bad")
    for problem in run.problems:
        yield Sentence(f"Damaged: {problem}.".replace("..", "."), "bad")


def warnings_as_sentences(run: ReadRun) -> list[Sentence]:
    return [Sentence(text[:1].upper() + text[1:], "bad") for _, text in warnings_of(run)]


def sections_of(run: ReadRun, measured: Measured, moments: Sequence[Moment]) -> list[Section]:
    """All sections except the summary and the commands to reproduce the run."""
    return [
        *critiques_of(run),
        *_before_after(run, measured),
        *quality_of(run),
        *worth_of(run),
        *judge_of(run),
        *_curves(run, moments),
        *run.overoptimisation.sections,
        *watch_of(run),
        *_changed(measured),
        *suspicious_of(run),
        *_worst(run),
        *microscope_of(run, measured.entries, measured.notes),
    ]


def live_sections(run: ReadRun, people: Sequence[PeoplePoint] = ()) -> list[Section]:
    """What can be told of a run without its models, also while it goes on; its curves are drawn elsewhere."""
    moments = moments_of(run)
    distance = () if run.overoptimisation.sections else (distance_of(run.journal, moments, people),)
    truth = truth_figure(moments)
    found = [
        *critiques_of(run),
        *quality_of(run),
        *worth_of(run),
        *judge_of(run),
        *_latest(run),
        side_by_side(run),
        *watch_of(run),
        *distance,
        None if truth is None else Section("Score and true taste", "True taste", "", (Figures((truth,), wide=True),)),
        *run.overoptimisation.sections,
        *microscope_of(run, (), ()),
        *suspicious_of(run),
        *_worst(run),
    ]
    return [section for section in found if section is not None]


def _latest(run: ReadRun) -> Iterator[Section]:
    newest = latest(run)
    if newest is not None:
        step = max(kept.step for kept in run.samples)
        note = f"Some answers of iteration {step}, from the best score to the lowest."
        yield Section("The latest answers", "Latest answers", note, (newest,))


def _before_after(run: ReadRun, measured: Measured) -> Iterator[Section]:
    if measured.table is not None:
        note = (
            "The frozen model is the initial model, the updated one is the trained model. Both answered the same "
            "held-out prompts with the same seeds. Ranges are 95 % intervals over prompts, and changes are paired. "
            + AS_EVALUATED
            * run.in_the_loop
        )
        yield Section("Before and after", "Before and after", note, (measured.table,))
    elif (kept := side_by_side(run)) is not None:
        yield kept
    elif measured.notes and not run.in_the_loop:
        # For PPO and related methods the notes are shown below the microscope.
        yield Section("Before and after", "Before and after", "", tuple(Words(each) for each in measured.notes))


def _curves(run: ReadRun, moments: Sequence[Moment]) -> Iterator[Section]:
    shown, rest = figures_of(run)
    truth = truth_figure(moments)
    if truth is not None:
        shown = Figures((truth, *shown.figures))
    parts: list[Part] = (
        [shown] if shown.figures else [Words("The journal has no metric with two values yet, so there are no curves.")]
    )
    if rest.figures:
        parts.append(Folded(f"all other metrics ({len(rest.figures)})", (rest,)))
    note = (
        "The shaded range is usual for a healthy run. If a metric leaves it, a sentence says what that usually means."
        if run.in_the_loop
        else ""
    )
    yield Section("Training curves", "Curves", note, tuple(parts))


def _changed(measured: Measured) -> Iterator[Section]:
    if measured.changed is not None:
        note = "Same prompt and same seed, before and after training: the answers that changed most."
        yield Section("Most changed answers, frozen and updated", "Most changed", note, (measured.changed,))


def suspicious_of(run: ReadRun) -> Iterator[Section]:
    """Suspicious samples with high scores, if there are any."""
    liked = suspicious(run)
    if liked is not None:
        note = (
            "Samples of the last iterations with high scores that look suspicious. This is no proof of reward hacking, "
            "but the first place to look."
        )
        yield Section("Suspicious answers", "Suspicious", note, (liked,))


def _worst(run: ReadRun) -> Iterator[Section]:
    lowest = worst(run)
    if lowest is not None:
        yield Section("The worst answers", "Worst", "The lowest scores of the last saved iteration.", (lowest,))


def microscope_of(run: ReadRun, measured: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> Iterator[Section]:
    """Samples token by token: first those measured for the report, then saved ones."""
    entries, bad = microscope_entries(run)
    everything = [*measured, *entries]
    remarks = [*notes, *([f"{bad} saved samples are incomplete and left out of the microscope."] if bad else [])]
    if everything:
        note = (
            "PPO's quantities for every token. Point at a token, or move with the arrow keys, to see its numbers and "
            "its place on the curve."
        )
        yield Section("Token microscope", "Microscope", note, (Microscope(tuple(everything), tuple(remarks)),))
    elif run.in_the_loop:
        reason = "No samples were saved (samples_kept in the recipe), so the microscope has nothing to show."
        yield Section("Token microscope", "Microscope", "", tuple(Words(each) for each in (reason, *remarks)))


def made_of(made: Sequence[tuple[str, Path, Mapping[str, Any]]]) -> Section:
    """The section with the commands and facts to reproduce the runs, from each folder's name, path and stamp."""
    note = (
        "The same versions, seed and number of threads give the same numbers; another CPU may change the last digits."
    )
    commands = reproduction([(folder, stamp) for _, folder, stamp in made])
    return Section(
        "How to reproduce this", "Reproduce", note, (commands, facts_of({name: stamp for name, _, stamp in made}))
    )
