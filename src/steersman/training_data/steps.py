"""Answers whose steps were judged, as rows for a process reward model."""

from collections import Counter
from collections.abc import Sequence

import torch

from steersman.batches import StepRow
from steersman.errors import DataError
from steersman.execution.context import RunContext
from steersman.records import KIND_OF, Steps
from steersman.reward.steps import step_row
from steersman.settings.parts import DataSettings
from steersman.training_data.split import DataSide, Tokenised, longest_row


def read_steps(run: RunContext, data: DataSettings, model: Tokenised) -> tuple[Sequence[StepRow], Sequence[StepRow]]:
    """The training rows and the held-out rows."""
    DataSide.settle_template(run, data, model.tokeniser)
    train, held_out = (_read_side(run, data, model, held_out=held_out) for held_out in (False, True))
    labels = torch.cat([row.labels for row in train])
    if float(labels.min()) == float(labels.max()):
        raise DataError(
            f"{data.source}: all {len(labels):,} steps are {'right' if labels[0] else 'wrong'}; a process reward model "
            "needs both"
        )
    return train, held_out


def _read_side(run: RunContext, data: DataSettings, model: Tokenised, *, held_out: bool) -> list[StepRow]:
    if held_out and not data.held_out:
        return []
    side = DataSide.of(run, data, held_out=held_out)
    length, left_out, rows = longest_row(data, model.context_length), Counter[str](), list[StepRow]()
    for record in side.records():
        if not isinstance(record, Steps):
            left_out[f"a record of the kind {KIND_OF[type(record)]}, whose steps are not judged"] += 1
            continue
        row = _row(model, record, length)
        if len(row.labels):
            rows.append(row)
        else:
            left_out["an answer whose first step ends beyond data.max_length"] += 1
    if not rows and not side.may_be_empty:
        expected = "answers in steps with a label for each (prompt, completions, labels)"
        raise DataError(side.report.nothing("judged steps to learn from", expected, left_out))
    steps = sum(len(row.labels) for row in rows)
    side.tell(run, f"{len(rows):,} answers {side.words}, {steps:,} judged steps", left_out + side.report.left_out)
    return rows


def _row(model: Tokenised, record: Steps, length: int) -> StepRow:
    """The steps joined by line breaks, as a model writes them."""
    spans, start = list[tuple[int, int]](), 0
    for step in record.steps:
        spans.append((start, start + len(step)))
        start += len(step) + 1
    row, kept = step_row(model.tokeniser, (record.prompt, "\n".join(record.steps)), spans, limit=length)
    return StepRow(row, torch.tensor([float(record.labels[i]) for i in kept]))
