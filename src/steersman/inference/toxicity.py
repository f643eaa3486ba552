"""Toxicity of answers: the probability of a classifier's toxic class, and a word list as a second measure."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from steersman.harbour.scorer import PLACE
from steersman.harbour.taste import features
from steersman.loading.language_model import model_path
from steersman.loading.scorers import ScorerCache, load_scorer
from steersman.models.files import describe
from steersman.models.loading import class_names
from steersman.models.toxic_class import toxic_class
from steersman.reward.scorer import Item
from steersman.settings.evaluate import ToxicitySettings
from steersman.settings.score import ScorerSettings


def toxic_probabilities(
    settings: ToxicitySettings, items: Sequence[Item], device: torch.device, keeping: ScorerCache
) -> list[float]:
    """The probability for each answer, read without its prompt; in Harbour it may be the truth, 0 or 1."""
    assert settings.path is not None
    if settings.path == PLACE:
        return [float(features(prompt.shown, answer).toxic) for prompt, answer in items]
    label, complement = toxic_class(_classes(settings.path), settings.label, settings.path)
    opening = ScorerSettings(path=settings.path, positive=label, output="probability", reads="answer")
    found = [score.value for score in load_scorer(opening, device, keeping).score(items)]
    return [1.0 - value for value in found] if complement else found


def _classes(place: str) -> Sequence[str]:
    with TemporaryDirectory() as scratch:
        path = model_path(place, Path(scratch))
        if Path(path).expanduser().is_dir():
            return describe(path).classes
    return class_names(place)
