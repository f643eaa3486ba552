"""`score`: a file of answers and a scorer -> the same file with each answer's score, and a summary."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from steersman.assemble.stages import STAGES
from steersman.data.kinds import answers_of, pairs_of
from steersman.data.load import ReadReport
from steersman.data.outputs import check_outputs
from steersman.data.write import RowWriter
from steersman.errors import DataError, UsageError
from steersman.evaluate.baselines import measure_baselines
from steersman.evaluate.judged_pairs import judged_pairs
from steersman.evaluate.reward_quality import RewardQuality, measure_reward_quality
from steersman.execution.machine import resolve_device
from steersman.lineage.records import write_sidecar
from steersman.loading.scorers import Reward, ScorerCache, scorer_of
from steersman.loading.sources import read_source
from steersman.records import Answers, Comparison, Completion, Demonstration, Label, Ranking, Record, to_dict
from steersman.reward.scorer import Score
from steersman.runs.progress import Progress
from steersman.runs.replies import holds_only_replies
from steersman.settings.score import ScoreSettings

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
RECORDS_AT_ONCE = 128


@dataclass(frozen=True)
class ScoreResult:
    """`quality` is measured if the data hold judgements; `noted` counts the scorer's notes (mostly cut answers)."""

    out: str
    name: str
    records: int
    answers: int
    mean: float
    std: float
    quantiles: dict[str, float]
    noted: dict[str, int]
    left_out: dict[str, int]
    malformed: int
    quality: RewardQuality | None

    def as_dict(self) -> dict[str, Any]:
        return {
            **asdict(replace(self, quality=None)),
            "quality": None if self.quality is None else self.quality.as_dict(),
        }


def run_score(settings: ScoreSettings, *, quiet: bool = False, reward: Reward | None = None) -> ScoreResult:
    """Score every answer. The file is written whole or not at all. `reward` replaces settings.scorer."""
    out = Path(settings.out).expanduser()
    # Kept beside the result until it is written: paid replies are not lost when a later answer fails.
    replies = out.with_name(f"{out.name}.replies")
    check_outputs([out], reads=[settings.data.source], force=settings.force)
    if replies.exists() and not holds_only_replies(replies):
        raise UsageError(f"{replies} is needed for the scorer's replies, but holds other files; give another out")
    with RowWriter(out) as writer:
        report = ReadReport()
        records = list(read_source(settings.data, STAGES["score"].reads, report))
        if not records:
            expected = "answers, demonstrations, comparisons, rankings or labels"
            raise DataError(report.nothing("answers to score", expected))
        keeping = replace(ScorerCache.nowhere(), replies=replies)
        scorer = scorer_of(settings.scorer, reward, resolve_device(settings.device), keeping)
        name = settings.name or scorer.name
        values: list[float] = []
        notes: Counter[str] = Counter()
        judged: list[Comparison] = []
        with Progress("score", len(records), silent=quiet) as progress:
            for start in range(0, len(records), RECORDS_AT_ONCE):
                chunk = records[start : start + RECORDS_AT_ONCE]
                items = [(r.prompt, c.text) for r in chunk for c in answers_of(r)]  # type: ignore[union-attr]
                found = scorer.score(items)
                values += [score.value for score in found]
                notes.update(score.note for score in found if score.note)
                for record in _with_scores(chunk, found, name, keep_parts=settings.parts):
                    writer.write(to_dict(record))
                    judged += _judgements(record)
                progress.update(start + len(chunk), {"mean score": float(np.mean(values[-len(found) :]))})
    shutil.rmtree(replies, ignore_errors=True)
    write_sidecar(out, "score", settings)
    return _result(settings, name, len(records), np.array(values, dtype=np.float64), notes, judged, report)


def _with_scores(
    records: Sequence[Record], scores: Sequence[Score], name: str, *, keep_parts: bool
) -> Iterator[Record]:
    """The records with the scores of their answers."""
    left = iter(scores)

    def scored(completion: Completion) -> Completion:
        score = next(left)
        parts = {f"{name}/{part}": value for part, value in score.parts.items()} if keep_parts else {}
        scores = {**completion.scores, name: score.value, **parts}
        return replace(completion, scores=scores, spans=score.spans or completion.spans)

    for record in records:
        if isinstance(record, Comparison):
            yield replace(record, first=scored(record.first), second=scored(record.second))
        elif isinstance(record, Answers | Ranking):
            yield replace(record, completions=tuple(scored(completion) for completion in record.completions))
        elif isinstance(record, Demonstration | Label):
            yield replace(record, completion=scored(record.completion))


def _judgements(record: Record) -> Sequence[Comparison]:
    if isinstance(record, Comparison):
        return (record,)
    return pairs_of(record) if isinstance(record, Ranking) else ()


def _result(
    settings: ScoreSettings,
    name: str,
    records: int,
    values: Float[ndarray, " answers"],
    notes: Counter[str],
    judged: Sequence[Comparison],
    report: ReadReport,
) -> ScoreResult:
    return ScoreResult(
        out=settings.out,
        name=name,
        records=records,
        answers=len(values),
        mean=float(values.mean()),
        std=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        quantiles={f"{q:g}": float(np.quantile(values, q)) for q in QUANTILES},
        noted=dict(notes),
        left_out=dict(report.left_out),
        malformed=report.malformed,
        quality=_quality(judged, name) if any(not pair.tied for pair in judged) else None,
    )


def _quality(judged: Sequence[Comparison], name: str) -> RewardQuality:
    pairs = judged_pairs(judged, name)
    # What the scorer has learned from is not known here, so the baselines learn from the same judgements.
    return measure_reward_quality(pairs, measure_baselines(pairs, judged))
