"""A reward model as transformers' sequence classifier, whose one logit is the score that `steersman score` gives.

The deviation is folded into the head. The head of these classes has no bias, so the mean is folded into the bias of the
last norm, where that is a LayerNorm; models with RMSNorm have no bias either: their scores are off by a constant.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from steersman.errors import ModelError
from steersman.export.compare import PAIRS, Difference, difference_of
from steersman.export.folder import forget_places
from steersman.models.backbone import Backbone
from steersman.models.files import describe
from steersman.models.reward_model import RewardModel, Scale, save_reward_model, trunk_of
from steersman.records import Prompt
from steersman.reward.model import RewardModelScorer, open_reward_scorer
from steersman.reward.open import ENSEMBLE
from steersman.reward.rows import encode_item, items_for

_LAST_NORMS = ("ln_f", "final_layer_norm", "final_layernorm", "norm")


@dataclass(frozen=True, slots=True)
class RewardExport:
    difference: Difference
    constant: float
    """What is to be taken off the exported model's logit to get the score; 0 where the mean could be folded in."""


def refuse_ensemble(folder: Path) -> None:
    if (folder / ENSEMBLE).exists():
        raise ModelError(f"{folder} is an ensemble; a classifier is one model. Export its members one by one")
    found = describe(folder)
    if int(found.notes.get("heads", 1)) > 1:
        raise ModelError(
            f"{folder} has {found.notes['heads']} heads; a sequence classifier with one label has one. Train a model "
            "with one head, or serve this one with steersman serve"
        )
    if found.notes.get("scores") == "steps":
        raise ModelError(f"{folder} scores the steps of an answer; no class of transformers does that")


def export_reward(source: Path, folder: Path) -> RewardExport:
    """Write the reward model into an empty folder."""
    refuse_ensemble(source)
    scorer = open_reward_scorer(source)
    items = items_for([(Prompt(text=prompt), answer) for prompt, answer in PAIRS], continues_prompts=False)
    before = torch.tensor([one.value for one in scorer.score(items)])
    ids = _rows(scorer)
    base = scorer.model.backbone.name
    model = _folded(_merged(scorer.model))
    save_reward_model(model, scorer.tokeniser, folder)
    forget_places(folder, [str(source), base])
    if describe(folder).kind != "reward" or (folder / "heads.safetensors").exists():
        raise ModelError(
            f"the family {model.backbone.family!r} has no sequence classifier with a plain head in transformers; serve "
            "the model with steersman serve instead"
        )
    after = _plain_scores(folder, ids)
    difference = difference_of([before], [after - model.scale.mean], "scores").require(torch.float32)
    return RewardExport(difference, model.scale.mean)


def _rows(scorer: RewardModelScorer) -> list[list[int]]:
    items = [(Prompt(text=prompt), answer) for prompt, answer in PAIRS]
    items = items_for(items, continues_prompts=scorer.model.continues_prompts)
    limit = scorer.model.backbone.context_length or 4096
    return [encode_item(scorer.tokeniser, item, reads="conversation", limit=limit)[0].ids.tolist() for item in items]


@torch.no_grad()
def _plain_scores(folder: Path, rows: list[list[int]]) -> Tensor:
    from transformers import AutoModelForSequenceClassification

    hf: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    return torch.tensor([float(hf(input_ids=torch.tensor([ids])).logits[0, 0]) for ids in rows])


def _merged(model: RewardModel) -> RewardModel:
    """The same model as a whole, without an adapter."""
    if model.adapter is None:
        return model
    backbone = model.backbone
    hf = backbone.peft.merge_and_unload(adapter_names=[model.adapter])
    whole = trunk_of(Backbone(hf, name=backbone.name, readout=None, packing=backbone.packing))
    whole.original_dropout = backbone.original_dropout
    made = RewardModel(whole, model.head, adapter=None, scale=model.scale)
    made.continues_prompts = model.continues_prompts
    return made


@torch.no_grad()
def _folded(model: RewardModel) -> RewardModel:
    """The model whose raw score has the deviation in its head, and the mean in the last norm's bias, if it has one."""
    scale = model.scale
    weight = model.head.weight
    weight /= scale.std
    mean = scale.mean / scale.std
    norm = next((one for name in _LAST_NORMS if (one := getattr(model.backbone.trunk, name, None)) is not None), None)
    if isinstance(norm, nn.LayerNorm) and norm.bias is not None and mean:
        # the bias moves every hidden state along the head's weight, so the score by exactly the mean
        norm.bias.sub_(mean / float(weight[0] @ weight[0]) * weight[0].to(norm.bias))
        mean = 0.0
    model.scale = Scale(mean, 1.0, scale.label)
    return model
