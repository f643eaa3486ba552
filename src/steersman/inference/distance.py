"""The KL of a trained model from its reference, over answers that the model samples to held-out prompts.

Training logs the log-ratios of judged answers. They say little about this KL: the trained model would rarely sample
those answers.
"""

from collections.abc import Sequence

from steersman.loading.engines import native_engine
from steersman.models.answer_kl import ModelView, answer_kl
from steersman.models.language_model import LanguageModel
from steersman.rollout.engine import Sampling, sample_seed
from steersman.settings.dpo import DistanceSettings

NAME = "KL to reference"


def distance(
    asked: Sequence[Sequence[int]],
    model: LanguageModel,
    reference: ModelView,
    settings: DistanceSettings,
    *,
    seed: int,
    token_budget: int,
) -> float | None:
    """The KL in nats per answer, at temperature 1. None if no prompt leaves room for an answer."""
    context = model.backbone.context_length
    room = [ids for ids in asked if context is None or len(ids) < context][: settings.prompts]
    if not room:
        return None
    voice = (model.backbone, model.adapter)
    engine = native_engine(voice, model.tokeniser)
    sampling = Sampling(max_new_tokens=settings.max_new_tokens, temperature=1.0)
    seeds = [sample_seed(seed, 0, f"distance/{place}", 0) for place in range(len(room))]
    rows = [rollout.row for rollout in engine.generate(room, sampling, seeds=seeds)]
    pad_id = model.pad_id
    return float(answer_kl(rows, voice, reference, pad_id=pad_id, token_budget=token_budget, temperature=1.0).mean())
