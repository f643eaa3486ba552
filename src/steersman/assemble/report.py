"""`report`: run folders and evaluations -> one HTML file, with the verdict first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.data.outputs import check_outputs
from steersman.errors import UsageError
from steersman.inference.look import measure
from steersman.pages.parts import Heading, Part, Report, Section, Sentence
from steersman.pages.render import html_of, is_page_of_ours
from steersman.reports.curves import together
from steersman.reports.evaluation import ReadEvaluation, read_evaluation
from steersman.reports.evaluation import headline_of as evaluation_headline
from steersman.reports.evaluation import sections_of as evaluation_sections
from steersman.reports.evaluation import sentences_of as evaluation_sentences
from steersman.reports.reading import ReadRun, is_evaluation, read_run
from steersman.reports.rounds import ReadRounds, is_rounds, read_rounds
from steersman.reports.rounds import headline_of as rounds_headline
from steersman.reports.rounds import sections_of as rounds_sections
from steersman.reports.rounds import sentences_of as rounds_sentences
from steersman.reports.run import Measured, headline_of, made_of, name_of, sections_of, sentences_of
from steersman.reports.truth import moments_of
from steersman.runs.folder import atomic_write_text

REPORT = "report.html"


@dataclass(frozen=True, slots=True)
class ReportResult:
    out: str
    headline: str
    sentences: tuple[str, ...]
    sections: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"out": self.out, "verdict": [self.headline, *self.sentences], "sections": list(self.sections)}


def write_report(
    places: Sequence[str],
    *,
    out: str | None,
    microscope: int | None = None,
    prompts: Sequence[str] = (),
    device: str = "auto",
    force: bool = False,
) -> ReportResult:
    """One page of all these folders.

    `microscope` is how many prompts are answered again and shown token by token; 0 for none. A file that is no report
    is overwritten only with `force`.
    """
    if not places:
        raise UsageError("a report is made of a run's folder, or of several; name at least one, such as runs/ppo")
    folders = [Path(place).expanduser() for place in places]
    path = Path(out).expanduser() if out else (folders[0] / REPORT if len(folders) == 1 else Path(REPORT))
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder; name a file, such as {path / REPORT}")
    read = [file for folder in folders if folder.is_dir() for file in folder.rglob("*") if file.suffix != ".html"]
    check_outputs([path], reads=read, force=force, is_own=is_page_of_ours)
    evaluations = [read_evaluation(folder) for folder in folders if is_evaluation(folder)]
    graphs = [read_rounds(folder) for folder in folders if is_rounds(folder)]
    runs = [read_run(folder) for folder in folders if not is_evaluation(folder) and not is_rounds(folder)]
    looked = [measure(run, microscope=microscope, prompts=prompts, device=device) for run in runs]
    report = report_of(evaluations, list(zip(runs, looked, strict=True)), graphs)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, html_of(report))
    titles = tuple(section.title for section in report.sections)
    return ReportResult(str(path), report.headline, tuple(one.text for one in report.sentences), titles)


def report_of(
    evaluations: Sequence[ReadEvaluation],
    runs: Sequence[tuple[ReadRun, Measured]],
    graphs: Sequence[ReadRounds] = (),
) -> Report:
    """The parts of the page: rounds and evaluations first, then the runs. A single folder has a page of its own."""
    single = len(graphs) + len(evaluations) + len(runs) == 1
    sentences: list[Sentence] = []
    sections: list[Section] = []
    headlines: list[str] = []
    for of in graphs:
        headlines.append(rounds_headline(of))
        sentences += [*([] if single else [Sentence(headlines[-1], "")]), *rounds_sentences(of)]
        sections += rounds_sections(of) if single else [_as_one(of.plan.name, rounds_sections(of))]
    for read in evaluations:
        headlines.append(evaluation_headline(read))
        sentences += [*([] if single else [Sentence(headlines[-1], "")]), *evaluation_sentences(read)]
        sections += evaluation_sections(read) if single else [_as_one(read.name, evaluation_sections(read))]
    if len(runs) > 1 and (curves := together([run for run, _ in runs])).figures:
        sections.append(Section("The runs side by side", "Side by side", "", (curves,)))
    for run, measured in runs:
        headlines.append(measured.headline or headline_of(run))
        moments = moments_of(run)
        told = [*measured.sentences, *sentences_of(run, moments, measured=measured.table is not None)]
        sentences += told if single else [Sentence(f"{run.name}: {headlines[-1]}", "")]
        of_run = sections_of(run, measured, moments)
        sections += of_run if single else [_as_one(f"{run.name}: {name_of(run)}", of_run, run.name)]
    names = [of.plan.name for of in graphs] + [read.name for read in evaluations] + [run.name for run, _ in runs]
    headline = headlines[0] if graphs or evaluations or len(runs) < 2 else f"{len(runs)} runs side by side."
    if not single:
        sentences = [one for one in sentences if one.text != headline]
    stamped = [(read.name, read.folder, read.stamp) for read in evaluations]
    stamped += [(run.name, run.folder, run.stamp) for run, _ in runs]
    made = (made_of(stamped),) if stamped else ()
    return Report(f"steersman report, {', '.join(names)}", headline, tuple(sentences), (*sections, *made))


def _as_one(title: str, sections: Sequence[Section], short: str = "") -> Section:
    """Several sections as one, their titles kept as words between the parts."""
    parts: list[Part] = []
    for section in sections:
        parts += [Heading(section.title, section.note), *section.parts]
    return Section(title, short or title, "", tuple(parts))
