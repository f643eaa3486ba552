"""Ordinary text mixed into PPO's updates."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from steersman.batches import TokenRow
from steersman.data.kinds import under_template
from steersman.data.load import load_records
from steersman.data.order import rows_of_step
from steersman.errors import DataError
from steersman.records import Demonstration, Document
from steersman.settings.ppo import PpoSettings
from steersman.text.template import encode_demonstration, encode_document


def pretraining_rows(settings: PpoSettings, tokeniser: Any) -> Callable[[int], Sequence[TokenRow]] | None:
    """Rows of ordinary text for each optimiser step, as many as a minibatch has answers; None without such text."""
    source = settings.update.pretraining
    if source is None:
        return None
    rows: list[TokenRow] = []
    for record in under_template(settings.prompts.template, load_records(source, kind=(Demonstration, Document))):
        length = settings.prompts.max_length + settings.sampling.max_new_tokens
        if isinstance(record, Demonstration):
            encoded = encode_demonstration(tokeniser, record, max_length=length, loss_on="all")
        elif isinstance(record, Document):
            encoded = encode_document(tokeniser, record, max_length=length)
        else:
            continue
        if encoded.targets:
            rows.append(TokenRow(torch.tensor(encoded.ids), torch.tensor(encoded.loss)))
    if not rows:
        raise DataError(f"update.pretraining={source}: no demonstrations or texts there; expected some to mix in")
    size = max(1, settings.prompts_per_iteration * settings.samples_per_prompt // settings.update.minibatches)
    return lambda step: [rows[i] for i in rows_of_step(len(rows), min(size, len(rows)), settings.run.seed, step)]
