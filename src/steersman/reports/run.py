"""One run as parts of a report: a verdict in words, then what shows it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.evaluate.numerals import numeral
from steersman.pages.parts import Figures, Folded, Microscope, Part, Section, Sentence, Words
from steersman.reports.answers import microscope_entries, suspicious, worst
from steersman.reports.curves import figures_of, warnings_of
from steersman.reports.facts import facts_of, reproduction
from steersman.reports.overoptimisation import overoptimisation_of, overoptimisation_sentences
from steersman.reports.quality import quality_of
from steersman.reports.reading import ReadRun
from steersman.reports.truth import moments_of, truth_figure, truth_sentences
from steersman.reports.watch import watch_of

LOSS_LIKE = ("held-out loss", "held-out preference", "loss")
RISING = ("held-out accuracy", "held-out score")
SAID = {"held-out score": "the score of held-out answers", "held-out preference": "the held-out loss"}
NAMES = {
    "sft": "fine-tuning",
    "reward": "the reward model",
    "classifier": "the classifier",
    "ppo": "PPO",
    "rloo": "RLOO",
    "grpo": "GRPO",
    "dr-grpo": "Dr. GRPO",
    "reinforce++": "REINFORCE++",
    "dpo": "DPO",
    "online-dpo": "online DPO",
    "ilql": "ILQL",
    "best-of-n": "best of n",
}


@dataclass(frozen=True)
class Measured:
    """What was measured for the report with the run's own models, and what could not be and why."""

    table: Part | None
    headline: str | None
    sentences: Sequence[Sentence]
    changed: Part | None
    entries: Sequence[Mapping[str, Any]]
    notes: Sequence[str]


NOTHING_MEASURED = Measured(None, None, (), None, (), ())


def name_of(run: ReadRun) -> str:
    return NAMES.get(run.kind, run.kind)


def headline_of(run: ReadRun) -> str:
    """What became of the number that matters most, held out if there is one."""
    told = name_of(run)
    told = told[:1].upper() + told[1:]
    for key in (*RISING, *LOSS_LIKE, "score"):
        values = [value for _, value in run.values(key)]
        if len(values) < 2:
            continue
        kept = _at_kept(run, key)
        first, last = values[0], values[-1] if kept is None else kept
        form = ".3f" if key in LOSS_LIKE else ".2f"
        went = "raised" if last > first else "lowered"
        better_up = key in RISING or key == "score"
        wrong = ", the wrong way" if last != first and (last > first) != better_up else ""
        return (
            f"{told} {went} {SAID.get(key, 'the ' + key)} from {numeral(first, form)} to {numeral(last, form)}{wrong}."
        )
    return f"{told}: {run.summary.step} steps, and nothing measured yet."


def _at_kept(run: ReadRun, key: str) -> float | None:
    """The number at the step whose weights were kept."""
    kept = run.kept_step
    return next((value for step, value in run.values(key) if kept is not None and step == kept), None)


def sentences_of(run: ReadRun) -> Iterator[Sentence]:
    """Most important first: how it ended, how far it went, what left its range, what is damaged."""
    state, planned = run.summary.state, run.recipe.get("iterations")
    if state == "running":
        yield Sentence(f"It is still running, at step {run.summary.step}; what follows is what is there so far.", "bad")
    elif state == "stopped":
        of = f" of {planned}" if planned else ""
        yield Sentence(
            f"It has not finished: it stopped at step {run.summary.step}{of}. The same command goes on; what follows is what is there.",
            "bad",
        )
    yield from truth_sentences(moments_of(run))
    yield from overoptimisation_sentences(run.folder)
    distances = run.values("held-out KL to reference") or run.values("KL to reference")
    if distances:
        kept = run.kept_step
        far = _at_kept(run, "held-out KL to reference")
        far = distances[-1][1] if far is None else far
        when = f"At iteration {kept}, whose weights were kept as the best," if kept is not None else "At its end"
        yield Sentence(f"{when} it stood {numeral(far)} nats an answer from where it began.", "")
    told = warnings_as_sentences(run)
    yield from told
    if run.in_the_loop and not told:
        yield Sentence("Every number stayed within the range in which it usually stands.", "good")
    ended = [words for words in run.notices if words.startswith("the run ended at iteration")]
    if ended:
        yield Sentence(f"T{ended[-1][1:]}.", "")
    if run.findings:
        first = run.findings[0]
        more = f", and {len(run.findings) - 1} more" if len(run.findings) > 1 else ""
        yield Sentence(f"The watch spoke: {first.where}: {first.text}{more}.".replace("..", "."), "bad")
    for problem in run.problems:
        yield Sentence(f"Something is damaged: {problem}.".replace("..", "."), "bad")


def warnings_as_sentences(run: ReadRun) -> list[Sentence]:
    return [Sentence(words[:1].upper() + words[1:], "bad") for _, words in warnings_of(run)]


def sections_of(run: ReadRun, measured: Measured) -> list[Section]:
    """Everything but the verdict and what was run."""
    return [
        *_before_after(run, measured),
        *quality_of(run),
        *_curves(run),
        *overoptimisation_of(run.folder),
        *watch_of(run),
        *_changed(measured),
        *suspicious_of(run),
        *_worst(run),
        *microscope_of(run, measured.entries, measured.notes),
    ]


def _before_after(run: ReadRun, measured: Measured) -> Iterator[Section]:
    if measured.table is not None:
        note = (
            "The frozen model is the one that training began from, the updated one is what it made. Both answered the same held-out "
            "prompts with the same seeds; ranges are 95 % intervals over prompts, and changes are paired."
        )
        yield Section("Before and after", "Before and after", note, (measured.table,))
    elif measured.notes and not run.in_the_loop:
        # In the loop they stand beneath the microscope.
        yield Section("Before and after", "Before and after", "", tuple(Words(each) for each in measured.notes))


def _curves(run: ReadRun) -> Iterator[Section]:
    shown, rest = figures_of(run)
    truth = truth_figure(moments_of(run))
    if truth is not None:
        shown = Figures((truth, *shown.figures))
    parts: list[Part] = (
        [shown] if shown.figures else [Words("The journal holds no number twice yet, so there is no curve.")]
    )
    if rest.figures:
        parts.append(Folded(f"all other numbers ({len(rest.figures)})", (rest,)))
    note = (
        "Shaded is where a number usually stands in a healthy run; outside it, the sentence says what that tends to mean."
        if run.in_the_loop
        else ""
    )
    yield Section("How it went", "Curves", note, tuple(parts))


def _changed(measured: Measured) -> Iterator[Section]:
    if measured.changed is not None:
        note = "The same prompt and the same seed, before and after training; the answers that changed most."
        yield Section("Most changed answers, frozen and updated", "Most changed", note, (measured.changed,))


def suspicious_of(run: ReadRun) -> Iterator[Section]:
    """Samples that scored well although something speaks against them, if there are some."""
    liked = suspicious(run)
    if liked is not None:
        note = (
            "Of the last iterations' samples: answers that scored well although something speaks against them. No proof, but the first "
            "place to look."
        )
        yield Section("Suspicious answers", "Suspicious", note, (liked,))


def _worst(run: ReadRun) -> Iterator[Section]:
    lowest = worst(run)
    if lowest is not None:
        yield Section("The worst answers", "Worst", "What scored least in the last iteration that was kept.", (lowest,))


def microscope_of(run: ReadRun, measured: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> Iterator[Section]:
    """Samples token by token: those that were measured for the page first, then kept ones."""
    entries, bad = microscope_entries(run)
    everything = [*measured, *entries]
    said = [*notes, *([f"{bad} kept samples lack what the microscope needs and are left out."] if bad else [])]
    if everything:
        note = "What PPO knew of every token. Point at one, or move with the arrow keys: its numbers stand below, and its place on the curve."
        yield Section("Token microscope", "Microscope", note, (Microscope(tuple(everything), tuple(said)),))
    elif run.in_the_loop:
        words = "No samples were kept (samples_kept in the recipe), so there is nothing to put under the microscope."
        yield Section("Token microscope", "Microscope", "", tuple(Words(each) for each in (words, *said)))


def made_of(made: Sequence[tuple[str, Path, Mapping[str, Any]]]) -> Section:
    """What was run, and how to get it again: from each folder's name, place and stamp."""
    note = "The same versions, seed and number of threads give the same numbers; another processor may change the last digits."
    commands = reproduction([(folder, stamp) for _, folder, stamp in made])
    return Section(
        "How to get this again", "Again", note, (commands, facts_of({name: stamp for name, _, stamp in made}))
    )
