"""Builds a scorer from settings, alone or as a weighted sum.

Paid replies, the scales of a sum's parts and the trend in length are cached.
"""

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from steersman.data.kinds import answers_of, prompt_of
from steersman.data.load import load_records
from steersman.errors import DataError, UsageError
from steersman.execution.kept import OpenRunFolder
from steersman.execution.machine import TOKEN_BUDGET
from steersman.harbour.scorer import PLACE, TrueTaste
from steersman.loading.judges import judge_identity, open_judge_scorer, token_of
from steersman.loading.language_model import DTYPES, model_path
from steersman.loading.sources import register_sources
from steersman.parallel.world import World
from steersman.printing import tell
from steersman.reward.combined import CombinedScorer, WeightedScorer
from steersman.reward.environment import PLACE as ENVIRONMENT
from steersman.reward.environment import EnvironmentScorer
from steersman.reward.function import FunctionScorer
from steersman.reward.http import HttpOptions, ReplyCache
from steersman.reward.length import LengthControlledScorer, Trend, measure_trend
from steersman.reward.open import ADDRESSES, Opening, members_of, open_scorer
from steersman.reward.scorer import Item, Scorer
from steersman.reward.verifiable import Verification
from steersman.runs.folder import atomic_write_text
from steersman.runs.identity import scorer_identity
from steersman.runs.model_folder import model_folder
from steersman.runs.replies import Replies
from steersman.settings.judge import JudgeSettings
from steersman.settings.score import JUDGE, OpeningSettings, PartSettings, ScorerSettings, is_judge

Reward = Callable[..., Any] | Scorer
"""What Python may give in the place of settings: a reward function (see `reward.function`) or a scorer."""


@dataclass(frozen=True)
class ScorerCache:
    """Where a scorer keeps paid replies of services and measured scales.

    `replies` is a folder; `scales` is a file, with the trend in length beside it. None keeps them in memory only.
    """

    replies: Path | None
    scales: Path | None
    world: World
    notice: Callable[[str], None]

    @staticmethod
    def nowhere() -> "ScorerCache":
        return ScorerCache(None, None, World.alone(), lambda words: tell(f"steersman: {words}"))

    @staticmethod
    def of(kept: OpenRunFolder, world: World, name: str = "scorer") -> "ScorerCache":
        """In a run's folder."""
        folder = kept.folder.path / name
        return ScorerCache(folder, folder / "scales.json", world, kept.notice)


def scorer_of(
    settings: ScorerSettings, reward: Reward | None, device: torch.device, keeping: ScorerCache | None = None
) -> Scorer:
    """The scorer given in Python, or else the one in the settings."""
    if reward is None:
        return load_scorer(settings, device, keeping)
    return reward if isinstance(reward, Scorer) else FunctionScorer(reward)


def load_scorer(settings: ScorerSettings, device: torch.device, keeping: ScorerCache | None = None) -> Scorer:
    """The scorer in the settings. A run's folder means the model that it made."""
    keeping = keeping or ScorerCache.nowhere()
    scorer = _as_it_is(settings, device, keeping)
    return _length_controlled(settings, scorer, keeping) if settings.length_controlled else scorer


def _as_it_is(settings: ScorerSettings, device: torch.device, keeping: ScorerCache) -> Scorer:
    remembered = _remembered(settings, keeping)
    if settings.path is not None:
        return _open(settings, settings.path, device, remembered, keeping)
    scorers = {name: _open(part, part.path, device, remembered, keeping) for name, part in settings.sum.items()}
    scales = _scales(settings, scorers, keeping)
    parts = {name: _part(part, scorers[name], scales.get(name)) for name, part in settings.sum.items()}
    return CombinedScorer(parts, name="sum")


def name_of(settings: ScorerSettings, reward: Reward | None = None) -> str:
    """The scorer's name, for people."""
    if reward is not None:
        return reward.name if isinstance(reward, Scorer) else getattr(reward, "__name__", "function")
    return str(settings.path) if settings.path is not None else " + ".join(str(p.path) for p in settings.sum.values())


def stamped_scorer(settings: ScorerSettings, reward: Reward | None = None) -> str:
    """The scorer's identity, for the run's stamp: its name, and a hash of the models that it reads."""
    name = name_of(settings, reward)
    if reward is not None:
        return name
    parts = [settings] if settings.path is not None else list(settings.sum.values())
    places: list[str] = []
    for part in parts:
        for place in places_of(part.path or []):
            if is_judge(place):
                judged, models = judge_identity(_judge(part, place))
                name = name.replace(place, judged)
                places += models
            else:
                places.append(place)
    return scorer_identity(name, [member for place in places for member in members_of(str(model_folder(place)))])


def places_of(path: str | list[str]) -> list[str]:
    return [path] if isinstance(path, str) else path


def _open(
    settings: OpeningSettings, path: str | list[str], device: torch.device, remembered: ReplyCache, keeping: ScorerCache
) -> Scorer:
    if path == PLACE:
        return TrueTaste()
    if path == ENVIRONMENT:
        return EnvironmentScorer()
    if is_judge(path):
        judge = _judge(settings, str(path))
        return open_judge_scorer(judge, device, remembered, keeping.notice)
    if settings.trust_remote_code and not settings.revision:
        raise UsageError(
            "scorer.trust_remote_code needs scorer.revision, so that the code that runs is code you have seen"
        )
    on_gpu = torch.bfloat16 if device.type == "cuda" else torch.float32
    http, verify = settings.http, settings.verify
    token = token_of(http.token_env, "scorer.http.token_env")
    opening = Opening(
        dtype=on_gpu if settings.dtype == "auto" else DTYPES[settings.dtype],
        device=device,
        token_budget=settings.tokens_per_micro_batch or TOKEN_BUDGET.get(device.type, 8192),
        belief=settings.belief,
        pessimism=settings.pessimism,
        positive=settings.positive,
        output=settings.output,
        reads=settings.reads,
        normalised=settings.normalised,
        max_length=settings.max_length,
        revision=settings.revision,
        trust_remote_code=settings.trust_remote_code,
        http=HttpOptions(http.batch_size, http.at_once, http.timeout, http.patience, tuple(http.allow), token),
        remembered=remembered,
        notice=keeping.notice,
        verification=Verification("exact", verify.field, verify.pattern, verify.tolerance, verify.ignore_case),
    )
    with TemporaryDirectory() as scratch:
        return open_scorer([model_path(place, Path(scratch)) for place in places_of(path)], opening)


def _judge(settings: OpeningSettings, path: str) -> JudgeSettings:
    """The judge's settings, with the constitution that the path names."""
    named = path.removeprefix(JUDGE)
    return settings.judge.model_copy(update={"constitution": named}) if named else settings.judge


def _remembered(settings: ScorerSettings, keeping: ScorerCache) -> ReplyCache:
    """One cache for all services: its keys contain the address."""
    paths = [settings.path] if settings.path is not None else [part.path for part in settings.sum.values()]
    asks = any(place.startswith((*ADDRESSES, JUDGE)) for path in paths for place in places_of(path))
    if keeping.replies is None or not asks:
        return {}
    return Replies(keeping.replies, keeping.world.rank)


def _part(settings: PartSettings, scorer: Scorer, measured: tuple[float, float] | None) -> WeightedScorer:
    bounds = None if settings.clip is None else (-settings.clip, settings.clip)
    return WeightedScorer(scorer, settings.weight, measured or settings.scale, bounds)


def _scales(
    settings: ScorerSettings, scorers: Mapping[str, Scorer], keeping: ScorerCache
) -> Mapping[str, tuple[float, float]]:
    """Mean and standard deviation of the parts with normalise=reference, over the reference answers.

    They are measured once in a run.
    """
    wanted = [name for name, part in settings.sum.items() if part.normalise == "reference"]
    if not wanted:
        return {}
    both = next((name for name in wanted if settings.sum[name].scale is not None), None)
    if both is not None:
        raise UsageError(
            f"scorer.sum.{both} has a scale of its own and normalise=reference, which measures one; give one of them"
        )

    def measure() -> dict[str, tuple[float, float]]:
        items = _reference_items(settings)
        found = {name: _measured(name, scorers[name], items) for name in wanted}
        told = ", ".join(f"{name} {mean:.4g} ± {std:.4g}" for name, (mean, std) in found.items())
        keeping.notice(f"measured on {len(items)} reference answers: {told}")
        return found

    return {name: (mean, std) for name, (mean, std) in _once(keeping, keeping.scales, measure).items()}


def _length_controlled(settings: ScorerSettings, scorer: Scorer, keeping: ScorerCache) -> Scorer:
    def measure() -> dict[str, float]:
        items = _reference_items(settings)
        trend = measure_trend([len(answer) for _, answer in items], [score.value for score in scorer.score(items)])
        keeping.notice(
            f"length explains {trend.explained:.1%} of the scores of {len(items)} reference answers, "
            f"{100 * trend.slope:+.3g} for 100 characters; it is taken out"
        )
        return asdict(trend)

    path = None if keeping.scales is None else keeping.scales.with_name(f"length-of-{keeping.scales.name}")
    return LengthControlledScorer(scorer, Trend(**_once(keeping, path, measure)))


def _once(keeping: ScorerCache, path: Path | None, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A measurement: read from its file if there is one. Process 0 measures, and all receive it."""

    def work() -> dict[str, Any]:
        if not keeping.world.first:
            return {}
        if path is not None and path.exists():
            return json.loads(path.read_text())
        found = measure()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(path, json.dumps(found))
        return found

    return keeping.world.together("measuring the scorer", work)[0]


def _measured(name: str, scorer: Scorer, items: list[Item]) -> tuple[float, float]:
    values = np.array([score.value for score in scorer.score(items)])
    mean, std = float(values.mean()), float(values.std())
    if not std > 0:
        raise DataError(
            f"scorer.sum.{name} gave all {len(items)} reference answers the score {mean:g}, so it has no scale; give "
            f"other reference answers, or scorer.sum.{name}.normalise=none"
        )
    return mean, std


def _reference_items(settings: ScorerSettings) -> list[Item]:
    assert settings.reference is not None
    register_sources()
    records = load_records(settings.reference)
    items = [
        (prompt, answer.text)
        for record in itertools.islice(records, settings.reference_answers)
        if (prompt := prompt_of(record)) is not None
        for answer in answers_of(record)
    ][: settings.reference_answers]
    if len(items) < 2:
        raise DataError(
            f"scorer.reference={settings.reference} holds {len(items)} answers; expected two or more, better hundreds"
        )
    return items
