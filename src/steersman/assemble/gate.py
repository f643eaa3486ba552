"""`gate`: judgements -> those of annotators who can be relied on, and a table of all annotators."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steersman.assemble.stages import STAGES
from steersman.data.kinds import as_comparisons
from steersman.data.load import ReadReport
from steersman.data.outputs import check_outputs
from steersman.data.write import RowWriter
from steersman.errors import DataError, GateRefused
from steersman.evaluate.annotators import Annotations, measure_annotators
from steersman.lineage.records import write_sidecar
from steersman.loading.sources import read_source
from steersman.records import Comparison, to_dict
from steersman.settings.gate import GateSettings


@dataclass(frozen=True)
class GateResult:
    out: str
    read: int
    kept: int
    left_out: tuple[str, ...]
    quality: Annotations

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "quality": self.quality.as_dict()}


def run_gate(settings: GateSettings, *, quiet: bool = False) -> GateResult:
    """Measure the annotators and write the judgements that pass. Raises `GateRefused` if too few do."""
    out = Path(settings.out).expanduser()
    check_outputs([out], reads=[settings.data.source], force=settings.force)
    report = ReadReport()
    judged = list(as_comparisons(read_source(settings.data, STAGES["gate"].reads, report)))
    if not judged:
        raise DataError(report.nothing("judgements", "comparisons or rankings, as `steersman label` writes them"))
    quality = measure_annotators(judged, confidence=settings.confidence)
    faulty = quality.faulty if settings.faulty == "leave_out" else ()
    kept = [one for one in judged if one.annotator not in faulty]
    refuse_unfit(settings, quality, kept)
    with RowWriter(out) as writer:
        for one in kept:
            writer.write(to_dict(one))
    write_sidecar(out, "gate", settings)
    return GateResult(settings.out, len(judged), len(kept), faulty, quality)


def refuse_unfit(settings: GateSettings, quality: Annotations, kept: Sequence[Comparison]) -> None:
    source = settings.data.source
    if settings.faulty == "refuse" and quality.faulty:
        raise GateRefused(f"{source}: {'; '.join(_faults(quality))}. Ask other annotators, or set faulty=leave_out")
    if settings.least_agreement is not None and not quality.agreement.estimate >= settings.least_agreement:
        raise GateRefused(
            f"{source}: two annotators agree in {quality.agreement.estimate:.1%} of the pairs that both judged; "
            f"expected {settings.least_agreement:.1%} (least_agreement). Improve the guidelines, or ask for more"
        )
    if len(kept) < settings.least_judgements:
        raise GateRefused(
            f"{source}: {len(kept)} judgements pass; expected {settings.least_judgements} (least_judgements). Collect "
            f"{settings.least_judgements - len(kept)} more"
        )


def _faults(quality: Annotations) -> list[str]:
    return [f"{one.annotator} {fault}" for one in quality.annotators for fault in one.faults]
