"""Whether an exported model says what the source says: log-probs and scores of a few texts, by plain transformers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steersman.batches import TokenBatch, TokenRow, pad_rows
from steersman.errors import ModelError
from steersman.models.acting import acting_as
from steersman.models.language_model import LanguageModel
from steersman.records import Completion, Prompt
from steersman.text.template import encode_completion

PAIRS = (
    ("What are the benefits of exercise?", "It is good for the heart, and for the mind too."),
    ("I like cricket.", "That is a fine game! Would you like to hear more about it?"),
    ("Schreib: Zürich, 東京 and 🙂", "Zürich, 東京, 🙂 — 1 + 1 = 2\n\nDone."),
    ("A dog is", " a good friend"),
)
"""Prompts and answers that are compared: letters of several bytes, digits, line breaks."""
LARGEST = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 1.0}
"""Differences beyond which an export is refused: rounding stays far below them, a wrong weight far above."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest difference of `count` numbers."""

    largest: float
    count: int
    what: str

    def require(self, dtype: torch.dtype) -> "Difference":
        if not self.largest <= LARGEST[dtype]:
            raise ModelError(
                f"the exported model's {self.what} differ from the source's by up to {self.largest:.3g}; expected at "
                f"most {LARGEST[dtype]:g} in {str(dtype).removeprefix('torch.')}. Nothing was written. This is a fault "
                "of the export for this family: please report it"
            )
        return self

    @property
    def shown(self) -> str:
        return f"{self.count} {self.what} compared; the largest difference is {self.largest:.2g}"


def probe_ids(tokeniser: Any, context: int | None) -> list[list[int]]:
    longest = min(context or 256, 256)
    return [
        list(encode_completion(tokeniser, Prompt(text=prompt), Completion(answer), max_length=longest).ids)
        for prompt, answer in PAIRS
    ]


@torch.no_grad()
def source_log_probs(model: LanguageModel, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """The log-prob of each token after the first, by the model as Steersman has it."""
    found: list[Tensor] = []
    with acting_as(model.backbone, model.adapter):
        for ids in rows:
            row = TokenRow(torch.tensor(ids), torch.arange(len(ids)) > 0)
            batch: TokenBatch = pad_rows([row], pad_id=model.pad_id).to(model.backbone.device)
            found.append(model.backbone.log_probs(batch)[0].float().cpu())
    return found


@torch.no_grad()
def plain_log_probs(hf: Any, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """The same by a model that plain transformers opened."""
    found: list[Tensor] = []
    for ids in rows:
        tokens = torch.tensor([list(ids)])
        log_probs = hf(input_ids=tokens, use_cache=False).logits[0, :-1].float().log_softmax(-1)
        found.append(log_probs.gather(1, tokens[0, 1:, None])[:, 0])
    return found


def difference_of(first: Sequence[Tensor], second: Sequence[Tensor], what: str) -> Difference:
    one, other = torch.cat(list(first)), torch.cat(list(second))
    return Difference(float((one - other).abs().max()), len(one), what)
