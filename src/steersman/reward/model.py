"""A reward model as scorer: each answer is encoded in its conversation with the model's own tokeniser and template.

Scores are normalised by the scale measured in training (mean 0, standard deviation 1 on reference answers), if the
folder has one; otherwise the scale is (0, 1) and scores are raw.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from steersman.batches import TokenBatch
from steersman.errors import ModelError, UsageError
from steersman.models.acting import adapter_names
from steersman.models.backbone import Backbone
from steersman.models.files import describe
from steersman.models.loading import fit_vocabulary, load_causal
from steersman.models.reward_model import RewardModel, load_reward_adapter, load_reward_model
from steersman.models.rows import run_rows
from steersman.reward.ensemble import Belief, aggregate
from steersman.reward.rows import encode_item, items_for
from steersman.reward.scorer import Item, Score
from steersman.reward.steps import scored_row
from steersman.text.tokeniser import give_pad, load_tokeniser


class RewardModelScorer:
    """Scores answers by a reward model. With several heads, `belief` and `pessimism` combine them (see `ensemble`).

    A score's parts: the raw score, and with several heads each head's score, their mean, standard deviation and
    minimum.
    """

    def __init__(
        self,
        model: RewardModel,
        tokeniser: Any,
        *,
        token_budget: int,
        name: str = "reward",
        belief: Belief = "mean",
        pessimism: float = 0.0,
        max_length: int | None = None,
        normalised: bool = True,
    ) -> None:
        if not model.scale.std > 0 or not math.isfinite(model.scale.mean):
            raise ModelError(
                f"the reward model's notes give its scores the mean {model.scale.mean} and the standard deviation "
                f"{model.scale.std}; expected a deviation above 0. It gives every answer the same score, or its "
                "steersman.json was damaged"
            )
        if max_length is not None and max_length < 2:
            raise UsageError(f"a reward model needs at least 2 tokens; seen max_length={max_length}")
        limits = [limit for limit in (max_length, model.backbone.context_length) if limit is not None]
        self.name = name
        self.model = model.eval()
        self.tokeniser = tokeniser
        self._limit = min(limits, default=2**31)
        self._token_budget = token_budget
        self._belief: Belief = belief
        self._pessimism = pessimism
        self._normalised = normalised

    def score(self, items: Sequence[Item]) -> list[Score]:
        return self.score_and_features(items)[0]

    def score_and_features(self, items: Sequence[Item]) -> tuple[list[Score], Float[ndarray, "items hidden"]]:
        """The scores, and the hidden states under the heads (features), from one forward pass."""
        if not items:
            return [], np.zeros((0, self.model.backbone.hidden_size))
        items = items_for(items, continues_prompts=self.model.continues_prompts)
        if self.model.scores_steps:
            return self._of_steps(items)
        encoded = [encode_item(self.tokeniser, item, reads="conversation", limit=self._limit) for item in items]
        heads = self.model.head.heads

        def forward(batch: TokenBatch) -> Float[Tensor, "batch numbers"]:
            features = self.model.features(batch)
            return torch.cat([self.model.head(features).double(), features.double()], dim=1)

        outputs = run_rows(
            [row for row, _ in encoded],
            forward,
            pad_id=self.tokeniser.pad_token_id or 0,
            token_budget=self._token_budget,
            device=self.model.head.weight.device,
        )
        return self._scores(outputs[:, :heads], [note for _, note in encoded]), outputs[:, heads:].numpy()

    def _of_steps(self, items: Sequence[Item]) -> tuple[list[Score], Float[ndarray, "items hidden"]]:
        """A process reward model's scores: the lowest probability of a step to be right. One wrong step spoils the
        answer (Lightman et al. 2023 compare it with the product)."""
        rows = [scored_row(self.tokeniser, item, limit=self._limit) for item in items]

        def forward(batch: TokenBatch) -> Float[Tensor, "batch numbers"]:
            logits, features = self.model.step_logits_and_features(batch)
            by_row = logits.double().sigmoid().split(batch.loss_mask.sum(1).tolist())
            numbers = [torch.stack([of.min(), of.mean(), of[-1], of.new_tensor(len(of))]) for of in by_row]
            return torch.cat([torch.stack(numbers), features.double()], dim=1)

        pad_id, device = self.tokeniser.pad_token_id or 0, self.model.head.weight.device
        outputs = run_rows(rows, forward, pad_id=pad_id, token_budget=self._token_budget, device=device)
        names = ("mean of steps", "last step", "steps")
        scores = [Score(one[0], dict(zip(names, one[1:], strict=True))) for one in outputs[:, :4].tolist()]
        return scores, outputs[:, 4:].numpy()

    def _scores(self, raw: Float[Tensor, "items heads"], notes: Sequence[str]) -> list[Score]:
        by_head = (self.model.normalised(raw) if self._normalised else raw).T.numpy()
        if len(by_head) == 1:
            return [Score(float(by_head[0, i]), {"raw": float(raw[i, 0])}, note) for i, note in enumerate(notes)]
        value, mean, std, low = aggregate(by_head, self._belief, pessimism=self._pessimism)
        scores: list[Score] = []
        for i, note in enumerate(notes):
            parts = {f"head {h + 1}": float(by_head[h, i]) for h in range(len(by_head))}
            parts |= {"raw": float(raw[i].mean()), "mean": float(mean[i]), "std": float(std[i]), "min": float(low[i])}
            scores.append(Score(float(value[i]), parts, note))
        return scores

    def models(self) -> list[nn.Module]:
        # A base shared with other roles is not a submodule of the model.
        return [self.model, self.model.backbone]


def open_reward_scorer(
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    token_budget: int = 1024,
    bases: dict[str, Backbone] | None = None,
    **options: Any,
) -> RewardModelScorer:
    """The scorer of a folder saved by `steersman reward`: a whole model, or an adapter.

    `bases` caches the base models of adapters by name. `options` are those of RewardModelScorer.
    """
    found = describe(folder)
    if found.notes.get("kind") != "reward":
        made_by = "`steersman reward` saves one (model.lora.rank=16 for an adapter)"
        raise ModelError(
            f"{str(folder)!r} is a model of the kind {found.kind} without a reward head, so it has no scores; expected "
            f"a reward model: {made_by}"
        )
    tokeniser = load_tokeniser(folder)
    give_pad(tokeniser)
    if found.kind != "adapter":
        model = load_reward_model(folder, dtype=dtype, device=device)
        return RewardModelScorer(model, tokeniser, token_budget=token_budget, **options)
    if not found.base:
        raise ModelError(
            f"the adapter in {str(folder)!r} does not say which base model it belongs to (base_model_name_or_path in "
            "adapter_config.json); train it again or add the name"
        )
    bases = {} if bases is None else bases
    if found.base not in bases:
        bases[found.base] = load_causal(found.base, dtype=dtype, device=device)
        fit_vocabulary(bases[found.base], tokeniser)
    base = bases[found.base]
    model = load_reward_adapter(base, f"reward_{len(adapter_names(base))}", folder)
    return RewardModelScorer(model, tokeniser, token_budget=token_budget, **options)
