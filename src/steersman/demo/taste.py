"""Models' answers to held-out prompts in Harbour, with their true taste, reward and KL, as rounds evaluated them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from steersman.execution.machine import on_threads, resolve_device
from steersman.harbour.taste import Features, features
from steersman.loading.language_model import model_path
from steersman.records import Answers, Prompt, from_dict
from steersman.reward.model import open_reward_scorer
from steersman.reward.scorer import Item, Score
from steersman.runs.folder import atomic_write_text


@dataclass(frozen=True, slots=True)
class HarbourAnswer:
    """An answer to a Harbour prompt, its reward by the reward model, and its KL from the other model in nats."""

    prompt: Prompt
    text: str
    reward: float
    kl: float
    seed: int

    @property
    def features(self) -> Features:
        return features(self.prompt.shown, self.text)


@dataclass(frozen=True)
class MeasuredModel:
    """A model's answers, as many to each prompt and in the same order for all models, so that they are compared in
    pairs. `path` is its folder; `labels` are those of all rounds that led to it, None before the first; `before` is
    the name of the policy that a round began with."""

    name: str
    path: str
    answers: tuple[HarbourAnswer, ...]
    labels: int | None = None
    before: str = ""

    @cached_property
    def features(self) -> tuple[Features, ...]:
        return tuple(answer.features for answer in self.answers)

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """Of each answer: what does not count as independent in an interval."""
        return tuple(answer.prompt.id for answer in self.answers)


def measured_in(
    evaluation: Path, model: str, *, name: str, path: str, labels: int | None = None, before: str = ""
) -> MeasuredModel:
    """One model's answers in a run of `evaluate`."""
    found: list[HarbourAnswer] = []
    for line in (evaluation / "answers.jsonl").read_text(encoding="utf-8").splitlines():
        row = from_dict(json.loads(line))
        assert isinstance(row, Answers)
        for answer in row.completions:
            if answer.model == model:
                numbers = (answer.scores["reward"], answer.scores["KL"])
                found.append(HarbourAnswer(row.prompt, answer.text, *numbers, answer.seed or 0))
    return MeasuredModel(name, path, tuple(found), labels, before)


class KeptScorer:
    """The reward model as a scorer with a cache of scores on disk."""

    def __init__(self, reward: str, *, kept: Path, threads: int) -> None:
        self._reward, self._kept, self._threads = reward, kept, threads

    @property
    def name(self) -> str:
        return "reward"

    def score(self, items: Sequence[Item]) -> list[Score]:
        asked = [[prompt.id, text] for prompt, text in items]
        mark = hashlib.sha256(json.dumps([weights_hash(self._reward), asked, self._threads]).encode()).hexdigest()
        try:
            kept: Any = json.loads(self._kept.read_text())
            if kept["mark"] == mark:
                return [Score(float(value)) for value in kept["scores"]]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        with on_threads(self._threads):
            scores = open_reward_scorer(self._reward, device=resolve_device("auto")).score(items)
        self._kept.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(self._kept, json.dumps({"mark": mark, "scores": [score.value for score in scores]}))
        return scores


def weights_hash(model: str) -> str:
    """A hash of a model folder's weights and config, or of the shipped base model."""
    with TemporaryDirectory() as scratch:
        folder = Path(model_path(model, Path(scratch)))
        digest = hashlib.sha256()
        for path in sorted(folder.glob("*")):
            if path.suffix in (".safetensors", ".json"):
                digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
