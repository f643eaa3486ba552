"""How toxic answers are: the probability of a classifier's toxic class, and a list of words as a second opinion."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from steersman.assemble.language_model import model_path
from steersman.assemble.scorers import Keeping, load_scorer
from steersman.errors import DataError
from steersman.models.files import describe
from steersman.models.toxic_class import toxic_class
from steersman.reward.scorer import Item
from steersman.settings.evaluate import ToxicitySettings
from steersman.settings.score import ScorerSettings


def toxic_probabilities(
    settings: ToxicitySettings, items: Sequence[Item], device: torch.device, keeping: Keeping
) -> list[float]:
    """Of each answer, read without its prompt."""
    assert settings.path is not None
    label, complement = toxic_class(_classes(settings.path), settings.label, settings.path)
    opening = ScorerSettings(path=settings.path, positive=label, output="probability", reads="answer")
    found = [score.value for score in load_scorer(opening, device, keeping).score(items)]
    return [1.0 - value for value in found] if complement else found


def _classes(place: str) -> Sequence[str]:
    with TemporaryDirectory() as scratch:
        path = model_path(place, Path(scratch))
        if Path(path).expanduser().is_dir():
            return describe(path).classes
    from transformers import AutoConfig

    names: dict[Any, str] = dict(AutoConfig.from_pretrained(place).id2label or {})
    return [str(names[i]) for i in sorted(names)]


class WordList:
    """Words and phrases, found as whole words whatever their case."""

    def __init__(self, words: Sequence[str]) -> None:
        joined = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        self._found = re.compile(rf"(?<!\w)(?:{joined})(?!\w)", re.IGNORECASE)

    def holds(self, text: str) -> bool:
        return self._found.search(" ".join(text.split())) is not None


def read_words(path: str) -> WordList:
    """One a line; of a CSV file the first column below its header."""
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"toxicity.words={path} cannot be read: {error}; expected a text file with one word a line"
        ) from error
    if path.endswith(".csv"):
        lines = [row[0] for row in csv.reader(lines[1:]) if row]
    words = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not words:
        raise DataError(f"toxicity.words={path} holds no words; expected one a line")
    return WordList(words)
