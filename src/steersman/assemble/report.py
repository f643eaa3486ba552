"""`report` put together: run folders and evaluations -> one HTML file that tells what happened, verdict first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.assemble.report_curves import together
from steersman.assemble.report_measured import measure
from steersman.assemble.report_reading import ReadRun, read_run
from steersman.assemble.report_run import NOTHING_MEASURED, headline_of, made_of, name_of, sections_of, sentences_of
from steersman.errors import UsageError
from steersman.pages.parts import Report, Section, Sentence
from steersman.pages.render import html_of
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
) -> ReportResult:
    """One page of all these folders."""
    if not places:
        raise UsageError("a report is made of a run's folder, or of several; name at least one, such as runs/ppo")
    runs = [read_run(Path(place).expanduser()) for place in places]
    report = of_run(runs[0], microscope=microscope, prompts=prompts, device=device) if len(runs) == 1 else of_runs(runs)
    path = Path(out).expanduser() if out else (runs[0].folder / REPORT if len(runs) == 1 else Path(REPORT))
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder; name a file, such as {path / REPORT}")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, html_of(report))
    titles = tuple(section.title for section in report.sections)
    return ReportResult(str(path), report.headline, tuple(one.text for one in report.sentences), titles)


def of_run(run: ReadRun, *, microscope: int | None, prompts: Sequence[str], device: str) -> Report:
    measured = measure(run, microscope=microscope, prompts=prompts, device=device)
    return Report(
        f"steersman report, {run.name}",
        measured.headline or headline_of(run),
        (*measured.sentences, *sentences_of(run)),
        (*sections_of(run, measured), made_of([run])),
    )


def of_runs(runs: Sequence[ReadRun]) -> Report:
    """Several runs beside one another: each one's verdict, and their curves in the same pictures."""
    sentences = [Sentence(f"{run.name}: {headline_of(run)}", "") for run in runs]
    curves = together(runs)
    sections: list[Section] = []
    if curves.figures:
        sections.append(Section("The runs side by side", "Side by side", "", (curves,)))
    for run in runs:
        title = f"{run.name}: {name_of(run)}"
        parts = tuple(part for section in sections_of(run, NOTHING_MEASURED) for part in section.parts)
        sections.append(Section(title, run.name, "", parts))
    return Report(
        f"steersman report, {len(runs)} runs",
        f"{len(runs)} runs side by side.",
        tuple(sentences),
        (*sections, made_of(runs)),
    )
