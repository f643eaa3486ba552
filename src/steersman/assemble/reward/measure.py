"""Measures a trained reward model: the scale of its scores, and its quality on held-out judgements."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steersman.batches import TokenRow
from steersman.data.load import load_records
from steersman.errors import DataError
from steersman.execution.context import RunContext
from steersman.loading.sources import register_sources
from steersman.methods.reward_model import Trainee
from steersman.models.reward_model import Scale
from steersman.models.rows import run_rows
from steersman.printing import console
from steersman.records import Answers, Comparison, Completion, Demonstration, Label, Ranking
from steersman.reward.rows import encode_item, items_for
from steersman.reward.scorer import Item
from steersman.runs.folder import atomic_write_text
from steersman.training_data.judgements import Judgements

# Enough that the error of the mean is a twentieth of a standard deviation.
REFERENCE_ANSWERS = 512
SCORING_BUDGET = 4096


@dataclass(frozen=True)
class Reader:
    """Scores answers with the model. All processes score the same answers, since each has a part of the model."""

    trainee: Trainee
    tokeniser: Any
    max_length: int
    device: torch.device

    def row(self, item: Item) -> TokenRow:
        limit = min(self.max_length, self.trainee.reward.backbone.context_length or self.max_length)
        item = items_for([item], continues_prompts=self.trainee.reward.continues_prompts)[0]
        return encode_item(self.tokeniser, item, reads="conversation", limit=limit)[0]

    def scores(self, rows: Sequence[TokenRow]) -> Float[Tensor, "items heads"]:
        self.trainee.eval()
        model, pad = self.trainee.scores_by_head, self.tokeniser.pad_token_id
        return run_rows(rows, model, pad_id=pad, token_budget=SCORING_BUDGET, device=self.device)


def measure_scale(reference: str | None, reader: Reader, train: Judgements) -> Scale:
    """Mean and standard deviation of reference scores: 0 is then an average answer, and 1 one deviation better."""
    if reference is None:
        count = min(len(train.rows), REFERENCE_ANSWERS)
        # spread over all answers, since neighbours share prompts
        rows = [train.rows.row(i * len(train.rows) // count) for i in range(count)]
    else:
        rows = [reader.row(item) for item in _reference_answers(reference)]
    if len(rows) < 2:
        raise DataError(
            f"reference={reference}: {len(rows)} answers there; expected at least 2 to measure a mean and a spread"
        )
    scores = reader.scores(rows)
    return Scale(float(scores.mean()), max(float(scores.mean(1).std()), 1e-6), reference or "the judged answers")


def _reference_answers(source: str) -> list[Item]:
    register_sources()
    found: list[Item] = []
    for record in load_records(source):
        if isinstance(record, Demonstration | Label):
            found.append((record.prompt, record.completion.text))
        elif isinstance(record, Answers | Ranking):
            found.extend((record.prompt, completion.text) for completion in record.completions)
        elif isinstance(record, Comparison):
            found.extend([(record.prompt, record.first.text), (record.prompt, record.second.text)])
        if len(found) >= REFERENCE_ANSWERS:
            break
    return found[:REFERENCE_ANSWERS]


def report(run: RunContext, reader: Reader, train: Judgements, held_out: Judgements) -> None:
    """Measure the model on held-out judgements, write quality.json and print the report.

    Scores are raw: the difference of two is the log-odds that the one answer is preferred.
    """
    from steersman.evaluate.baselines import measure_baselines
    from steersman.evaluate.judged_pairs import judged_pairs
    from steersman.evaluate.reward_quality import measure_reward_quality, plain
    from steersman.evaluate.reward_quality_words import lines_of

    comparisons = held_out.comparisons
    rows = [reader.row((c.prompt, completion.text)) for c in comparisons for completion in (c.first, c.second)]
    scores = reader.scores(rows).mean(1).tolist()
    if not run.world.first:
        return

    def scored(completion: Completion, value: float) -> Completion:
        return replace(completion, scores={**completion.scores, "reward": value})

    rated = [
        replace(c, first=scored(c.first, scores[2 * i]), second=scored(c.second, scores[2 * i + 1]))
        for i, c in enumerate(comparisons)
    ]
    try:
        judged = judged_pairs(rated, "reward")
        quality = measure_reward_quality(judged, measure_baselines(judged, comparisons, train.comparisons))
    except DataError as error:
        run.notice(f"no report on held-out judgements: {error}")
        return
    atomic_write_text(
        run.path / "quality.json", json.dumps({**plain(quality), "contributed": plain(list(train.shares))}, indent=1)
    )
    if not run.job.quiet:
        for line in lines_of(quality):
            console().print(line)
