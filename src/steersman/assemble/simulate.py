"""`simulate`: answers -> judgements of simulated annotators, in the file that `label` would write for people.

Which pairs are judged, and in which order, follows the same queue as for people. A file is written whole or not at all.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steersman.assemble.stages import STAGES
from steersman.data.load import ReadReport
from steersman.data.outputs import check_outputs
from steersman.data.write import RowWriter
from steersman.errors import DataError
from steersman.harbour.labellers import LABELLERS, compare, fonder, uniform
from steersman.judging.queue import Item, QueuePlan, gather, make_queue
from steersman.lineage.records import write_sidecar
from steersman.loading.sources import read_source
from steersman.records import Comparison, to_dict
from steersman.settings.simulate import SimulateSettings

HARBOUR = "harbour"


@dataclass(frozen=True)
class SimulateResult:
    """`model` gave most of the answers; empty if they name none."""

    out: str
    judgements: int
    prompts: int
    ties: int
    annotators: dict[str, int]
    model: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_simulate(settings: SimulateSettings, *, quiet: bool = False) -> SimulateResult:
    """Judge pairs of the answers."""
    out = Path(settings.out).expanduser()
    check_outputs([out], reads=[settings.data.source], force=settings.force)
    report = ReadReport()
    entries = gather(read_source(settings.data, STAGES["simulate"].reads, report))
    if not entries:
        raise DataError(report.nothing("answers to judge", "answers, as `steersman sample` writes them"))
    plan = QueuePlan("compare", "simulated", settings.seed, settings.pairs, settings.per_prompt)
    items = make_queue(entries, plan).items
    found = _of_harbour(settings, items) if settings.people == HARBOUR else _of_a_scorer(settings, items)
    found = found[: settings.judgements]
    with RowWriter(out) as writer:
        for judgement in found:
            writer.write(to_dict(judgement))
    write_sidecar(out, "simulate", settings)
    counts = Counter(judgement.annotator for judgement in found)
    models = Counter(answer.model for one in found for answer in (one.first, one.second) if answer.model)
    return SimulateResult(
        settings.out,
        len(found),
        len({judgement.prompt.id for judgement in found}),
        sum(one.tied for one in found),
        dict(sorted(counts.items())),
        next((name for name, _ in models.most_common(1)), ""),
    )


def _of_harbour(settings: SimulateSettings, items: Sequence[Item]) -> list[Comparison]:
    """Each pair judged by one of the annotators, and the overlap by all of them."""
    people = fonder(LABELLERS[: settings.annotators], settings.fondness)
    found: list[Comparison] = []
    for item in items:
        one, two = item.completions
        mine = people[int(uniform(settings.seed, "annotator", item.id) * len(people))]
        everybody = uniform(settings.seed, "overlap", item.id) < settings.overlap
        for person in people if everybody else (mine,):
            found.append(compare(person, item.prompt, one, two, seed=settings.seed))
    return found


def _of_a_scorer(settings: SimulateSettings, items: Sequence[Item]) -> list[Comparison]:
    """Each pair judged by one annotator who likes what the scorer scores high."""
    from steersman.execution.machine import resolve_device
    from steersman.loading.scorers import ScorerCache, scorer_of
    from steersman.settings.score import ScorerSettings

    asked = ScorerSettings(path=settings.people)
    scorer = scorer_of(asked, None, resolve_device(settings.device), ScorerCache.nowhere())
    scores = scorer.score([(item.prompt, answer.text) for item in items for answer in item.completions])
    found: list[Comparison] = []
    for item, one, two in zip(items, scores[::2], scores[1::2], strict=True):
        gap = one.value - two.value
        preference = 0.5 if gap == 0 else float(gap > 0)
        if settings.noise:
            chance = 1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, gap / settings.noise))))
            preference = float(uniform(settings.seed, scorer.name, item.id) < chance)
        shown = "first" if uniform(settings.seed, "shown", item.id) < 0.5 else "second"
        first, second = item.completions
        found.append(Comparison(item.prompt, first, second, preference, annotator=scorer.name, shown=shown))
    return found
