"""Measures a model on held-out prompts in Harbour: answers with their true taste, reward model score and KL.

Answers, scores and KL are cached on disk under a hash of everything that determines them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from steersman.execution.machine import on_threads, resolve_device
from steersman.harbour.prompts import prompts
from steersman.harbour.taste import Features, features
from steersman.inference.draw import AnsweringModel, draw, prompt_seeds
from steersman.loading.language_model import model_path
from steersman.loading.saved import open_model
from steersman.models.answer_kl import answer_kl
from steersman.models.language_model import LanguageModel
from steersman.records import Completion, Prompt
from steersman.reward.model import RewardModelScorer, open_reward_scorer
from steersman.reward.scorer import Item, Score
from steersman.rollout.engine import Sampling
from steersman.runs.folder import atomic_write_text
from steersman.runs.progress import Progress

# Sampling as in PPO: from the trained distribution, not greedy.
SAMPLING = Sampling(max_new_tokens=64, temperature=1.0)
TOGETHER = 64
KL_BUDGET = 4096
"""Token budget of a forward pass, with padding."""


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
    """A model's answers, one per prompt. All models have the same prompts, so they can be compared in pairs."""

    name: str
    model: str
    answers: tuple[HarbourAnswer, ...]

    @cached_property
    def features(self) -> tuple[Features, ...]:
        return tuple(answer.features for answer in self.answers)

    def completion(self, index: int) -> Completion:
        """An answer as a record that `label` and `score` read."""
        answer = self.answers[index]
        scores = {"taste": answer.features.taste, "reward": round(answer.reward, 6), "kl": round(answer.kl, 6)}
        how = {"temperature": SAMPLING.temperature, "max_new_tokens": SAMPLING.max_new_tokens}
        return Completion(answer.text, self.model, how, answer.seed, scores)


def held_out_prompts(count: int, seed: int) -> tuple[Prompt, ...]:
    """About `count` different held-out prompts: Harbour samples some twice, and duplicates are dropped."""
    return tuple({prompt.shown: prompt for prompt in prompts(split="heldout", count=count, seed=seed)}.values())


class Measurer:
    """Measures models on the same prompts, with KL from the same other model, by the same reward model."""

    def __init__(
        self, asked: Sequence[Prompt], *, reward: str, other: str, seed: int, kept: Path, threads: int, quiet: bool
    ) -> None:
        self.asked = tuple(asked)
        self._reward, self._other, self._seed = reward, other, seed
        self._kept, self._threads, self._quiet = kept, threads, quiet

    def measure(self, name: str, model: str) -> MeasuredModel:
        """The model's answers, from the cache if they were measured before."""
        mark = self._mark(model)
        path = self._kept / f"{name.lower()}.json"
        found = _read(path, mark, self.asked)
        if found is None:
            with on_threads(self._threads):
                found = self._answer(name, model)
            rows = [{"text": a.text, "reward": a.reward, "kl": a.kl, "seed": a.seed} for a in found]
            self._kept.mkdir(parents=True, exist_ok=True)
            atomic_write_text(path, json.dumps({"mark": mark, "model": model, "answers": rows}, ensure_ascii=False))
        return MeasuredModel(name, model, found)

    def _mark(self, model: str) -> str:
        """The hash of everything that determines the numbers."""
        weights = [weights_hash(place) for place in (model, self._other, self._reward)]
        decided = [weights, [prompt.id for prompt in self.asked], self._seed, asdict(SAMPLING), self._threads]
        return hashlib.sha256(json.dumps(decided).encode()).hexdigest()

    def _answer(self, name: str, place: str) -> tuple[HarbourAnswer, ...]:
        model, other = open_model(place, device="auto"), open_model(self._other, device="auto")
        scorer = open_reward_scorer(self._reward, device=resolve_device("auto"))
        answering = AnsweringModel.of(name, model)
        found: list[HarbourAnswer] = []
        with Progress(f"  {name}", len(self.asked), silent=self._quiet) as progress:
            for start in range(0, len(self.asked), TOGETHER):
                group = self.asked[start : start + TOGETHER]
                found += self._answer_group(group, answering, model, other, scorer)
                progress.update(len(found))
        return tuple(found)

    def _answer_group(
        self,
        group: Sequence[Prompt],
        answering: AnsweringModel,
        model: LanguageModel,
        other: LanguageModel,
        scorer: RewardModelScorer,
    ) -> list[HarbourAnswer]:
        drawn = draw(answering, group, SAMPLING, seeds=prompt_seeds(group, self._seed))
        rewards = scorer.score([(prompt, answer.text) for prompt, answer in zip(group, drawn.answers, strict=True)])
        kl = answer_kl(
            [rollout.row for rollout in drawn.rollouts],
            (model.backbone, model.adapter),
            (other.backbone, other.adapter),
            pad_id=model.pad_id,
            token_budget=KL_BUDGET,
            temperature=SAMPLING.temperature,
        )
        return [
            HarbourAnswer(prompt, answer.text, reward.value, float(nats), answer.seed)
            for prompt, answer, reward, nats in zip(group, drawn.answers, rewards, kl, strict=True)
        ]


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


def _read(path: Path, mark: str, asked: Sequence[Prompt]) -> tuple[HarbourAnswer, ...] | None:
    """The cached answers, if their hash is `mark`."""
    try:
        kept: Any = json.loads(path.read_text())
        if kept["mark"] != mark:
            return None
        rows = kept["answers"]
        return tuple(
            HarbourAnswer(prompt, str(row["text"]), float(row["reward"]), float(row["kl"]), int(row["seed"]))
            for prompt, row in zip(asked, rows, strict=True)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
