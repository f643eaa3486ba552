"""Reward models: a trunk with one or several reward heads, applied at the last token of an answer.

A single head on a family that has a sequence classifier in transformers is saved as that class with one label: plain
transformers gives the same raw scores. An ensemble, or another family, is saved in our own format: the trunk as a
model folder, the heads in heads.safetensors. The scale of the scores and the label are in steersman.json; the scale is
also in a sequence classifier's config.json, for plain transformers.
"""

import copy
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steersman.batches import TokenBatch
from steersman.errors import ModelError
from steersman.models.acting import acting_as
from steersman.models.adapters import load_adapter, save_adapter
from steersman.models.backbone import Backbone
from steersman.models.files import HEADS, NOTES, dropout_restored, read_json, write_notes
from steersman.models.heads import RewardHead, last_token_hidden, load_heads, save_heads
from steersman.models.loading import ModelSource, open_model
from steersman.models.trials import find_packing, find_unpadded


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and standard deviation of the scores on reference answers. `label` names what the score measures."""

    mean: float = 0.0
    std: float = 1.0
    label: str = "reward"


class RewardModel(nn.Module):
    """A trunk with reward heads.

    With `adapter` the trunk is a base shared with other roles, not part of its parameters.
    """

    def __init__(self, backbone: Backbone, head: RewardHead, *, adapter: str | None, scale: Scale) -> None:
        super().__init__()
        if adapter is None:
            self.backbone = backbone
        else:
            self.__dict__["backbone"] = backbone
        self.head = head
        self.adapter = adapter
        self.scale = scale
        self.continues_prompts = False
        """Whether plain prompts were continued in training (template=none), without the chat template."""
        self.scores_steps = False
        """Whether it is a process reward model, which scores each step of an answer."""

    def forward(self, batch: TokenBatch) -> Float[Tensor, " batch"]:
        return self.scores(batch)

    def scores(self, batch: TokenBatch) -> Float[Tensor, " batch"]:
        """The raw score of each row: the mean over the heads."""
        return self.scores_by_head(batch).mean(1)

    def scores_by_head(self, batch: TokenBatch) -> Float[Tensor, "batch heads"]:
        return self.head(self.features(batch))

    def features(self, batch: TokenBatch) -> Float[Tensor, "batch hidden"]:
        """The heads' input: the trunk's hidden state at the last token of each row."""
        if batch.segments is not None:
            raise ModelError("a score belongs to the last token of a row, and this batch is packed; pad it instead")
        with nullcontext() if self.adapter is None else acting_as(self.backbone, self.adapter):
            hidden = self.backbone.hidden(batch, torch.ones_like(batch.lengths))
            return last_token_hidden(hidden, batch.lengths)

    def step_logits(self, batch: TokenBatch) -> Float[Tensor, " steps"]:
        """The log-odds that each step is right; the batch's targets are the steps' last tokens."""
        return self.step_logits_and_features(batch)[0]

    def step_logits_and_features(
        self, batch: TokenBatch
    ) -> tuple[Float[Tensor, " steps"], Float[Tensor, "batch hidden"]]:
        """The log-odds of the steps, and the hidden state at the last token of each row."""
        with nullcontext() if self.adapter is None else acting_as(self.backbone, self.adapter):
            hidden = self.backbone.hidden(batch, batch.needed_positions)
        return self.head(hidden[batch.loss_mask]).mean(1), last_token_hidden(hidden, batch.lengths)

    def normalised(self, scores: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Scores scaled to mean 0 and standard deviation 1 on the reference answers."""
        return (scores - self.scale.mean) / self.scale.std


def new_reward_model(backbone: Backbone, *, heads: int = 1, adapter: str | None = None) -> RewardModel:
    """A reward model on a causal model's trunk, with untrained heads.

    Without an adapter the model's output layer is dropped; its memory is freed once the backbone has no other
    references.
    """
    head = RewardHead(backbone.hidden_size, heads=heads).to(backbone.device)
    if adapter is None:
        backbone = trunk_of(backbone)
    return RewardModel(backbone, head, adapter=adapter, scale=Scale())


def trunk_of(backbone: Backbone) -> Backbone:
    """The same model without its output layer: for reward models and critics."""
    trunk = Backbone(backbone.trunk, name=backbone.name, readout=None, packing=backbone.packing)
    trunk.original_dropout = backbone.original_dropout
    trunk.unpadded, trunk.fused = backbone.unpadded, backbone.fused
    return trunk


def save_reward_model(model: RewardModel, tokeniser: Any, folder: str | Path) -> Path:
    """Save the model (or its adapter) with its heads, scale and tokeniser."""
    folder = Path(folder)
    backbone = model.backbone
    if tokeniser is not None:
        backbone.config.get_text_config().pad_token_id = tokeniser.pad_token_id
    if model.adapter is not None:
        save_adapter(backbone, model.adapter, folder)
        save_heads({"score": model.head}, folder)
    else:
        whole = _as_sequence_classifier(model) if model.head.heads == 1 else None
        with dropout_restored(backbone):
            if whole is not None:
                for key, value in backbone.original_dropout.items():
                    if hasattr(whole.config, key):
                        setattr(whole.config, key, value)
                whole.save_pretrained(folder)
            else:
                backbone.trunk.save_pretrained(folder)
                save_heads({"score": model.head}, folder)
    notes = {"kind": "reward", "family": backbone.family, "heads": model.head.heads, **asdict(model.scale)}
    if model.scores_steps:
        notes["scores"] = "steps"
    notes["plain_prompts"] = "continued" if model.continues_prompts else "template"
    write_notes(folder, notes)
    if tokeniser is not None:
        tokeniser.save_pretrained(folder)
    return folder


def _as_sequence_classifier(model: RewardModel) -> Any:
    """The same weights as transformers' sequence classifier with one label; None if the family has no such class."""
    from transformers import AutoModelForSequenceClassification

    trunk = model.backbone.trunk
    config = copy.deepcopy(trunk.config)
    config.num_labels = 1
    config.id2label, config.label2id = {0: model.scale.label}, {model.scale.label: 0}
    config.score_mean, config.score_std = model.scale.mean, model.scale.std
    try:
        with torch.device("meta"):
            whole = AutoModelForSequenceClassification.from_config(config, dtype=model.backbone.dtype)
    except ValueError:
        return None
    score = getattr(whole, "score", None)
    if not isinstance(score, nn.Linear) or score.bias is not None or type(whole.base_model) is not type(trunk):
        return None
    whole.base_model.load_state_dict(trunk.state_dict(), assign=True)
    score.weight = nn.Parameter(model.head.weight.detach().to(model.backbone.dtype))
    return whole


def load_reward_model(
    path_or_id: str | Path,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> RewardModel:
    """A reward model saved by `save_reward_model`, or a published one with one label on a causal trunk.

    Bidirectional ones (one label on BERT and similar) are loaded by `classifier.load_classifier` instead.
    """
    from transformers import AutoModel, AutoModelForSequenceClassification

    folder = Path(path_or_id).expanduser()
    ours = (folder / HEADS).exists()
    notes = read_json(folder / NOTES) if (folder / NOTES).exists() else {}
    hf, original_dropout = open_model(
        AutoModel if ours else AutoModelForSequenceClassification,
        ModelSource(path_or_id, revision, trust_remote_code),
        dtype=dtype,
        device=device,
    )
    score = None if ours else getattr(hf, "score", None)
    if not ours and (not isinstance(score, nn.Linear) or score.bias is not None or score.out_features != 1):
        classes = ", ".join(str(name) for name in hf.config.id2label.values())
        raise ModelError(
            f"{str(path_or_id)!r} is a {type(hf).__name__} with the classes {classes}; expected one label on a causal "
            "model. Load it as a classifier (load_classifier) and name the class whose logit is the score"
        )
    backbone = Backbone(hf.base_model, name=str(path_or_id), readout=None, packing=None)
    backbone.original_dropout = original_dropout
    backbone.packing = find_packing(backbone)
    backbone.unpadded = find_unpadded(backbone)
    head = RewardHead(backbone.hidden_size, heads=int(notes.get("heads", 1))).to(device)
    if score is None:
        load_heads({"score": head}, folder)
    else:
        head.weight.data = score.weight.detach().float()
    return _as_noted(RewardModel(backbone, head, adapter=None, scale=_scale(notes or _noted_in(hf.config))), notes)


def load_reward_adapter(backbone: Backbone, name: str, folder: str | Path) -> RewardModel:
    """Load a reward model that is an adapter on this base, under this name."""
    notes = read_json(Path(folder) / NOTES)
    load_adapter(backbone, name, folder)
    head = RewardHead(backbone.hidden_size, heads=int(notes.get("heads", 1))).to(backbone.device)
    load_heads({"score": head}, folder)
    return _as_noted(RewardModel(backbone, head, adapter=name, scale=_scale(notes)), notes)


def _as_noted(model: RewardModel, notes: dict[str, Any]) -> RewardModel:
    """Reward models of before this note was kept continued plain prompts; published ones have no notes."""
    model.continues_prompts = notes.get("plain_prompts", "continued" if notes.get("kind") == "reward" else "") == (
        "continued"
    )
    model.scores_steps = notes.get("scores") == "steps"
    return model


def _noted_in(config: Any) -> dict[str, Any]:
    """The scale in the config of a model of ours that plain transformers has saved or pushed, without our notes."""
    found = {key: getattr(config, f"score_{key}", None) for key in ("mean", "std")}
    return {**found, "label": config.id2label.get(0, "reward")} if None not in found.values() else {}


def _scale(notes: dict[str, Any]) -> Scale:
    return Scale(float(notes.get("mean", 0.0)), float(notes.get("std", 1.0)), str(notes.get("label", "reward")))
