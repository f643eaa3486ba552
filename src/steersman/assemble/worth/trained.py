"""A finished run of a reward model: its settings, the labels of both sides, and its scores and features of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from steersman.errors import DataError, UsageError
from steersman.evaluate.label_worth import LabelledPair, LabelSide
from steersman.loading.scorers import load_scorer
from steersman.loading.sources import register_sources
from steersman.maths.influence import LabelledPairs
from steersman.records import Record
from steersman.reward.featured import FeatureKeeper, keep_features
from steersman.reward.open import members_of
from steersman.reward.scorer import Scorer
from steersman.runs.folder import RunFolder
from steersman.runs.model_folder import finished_model_folder
from steersman.runs.progress import Progress
from steersman.runs.stamp import read_stamp
from steersman.settings.base import load_settings
from steersman.settings.reward import RewardSettings
from steersman.settings.score import ScorerSettings
from steersman.training_data.judgements import JudgeWeights, groups_of
from steersman.training_data.split import DataSide, content_of, more_sources

ITEMS_AT_ONCE = 512


@dataclass(frozen=True)
class TrainedReward:
    """A run of a reward model or of an ensemble. `settings` are those of its first member."""

    path: str
    settings: RewardSettings

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.settings.data.source, *more_sources(self.settings.data))


@dataclass(frozen=True)
class Labels:
    """The labels of one side: records as they are in the data, each with the number of its source, and their pairs.
    `record_of` is the record of each pair."""

    records: tuple[tuple[int, Record], ...]
    pairs: tuple[LabelledPair, ...]
    record_of: tuple[int, ...]
    left_out: Counter[str]


def read_trained(place: str) -> TrainedReward:
    """The run at `place`; its data have to be those that it learned from."""
    members = members_of(place)
    first = Path(members[0]).expanduser()
    folder = RunFolder(first.parent if len(members) > 1 and first.name == "model" else first)
    if not folder.recipe_path.is_file() or not folder.stamp_path.is_file():
        raise UsageError(f"{place} is no run's folder; expected that of a reward model, such as runs/reward")
    stamp = read_stamp(folder.stamp_path)
    if stamp.get("kind") != "reward":
        raise UsageError(f"{place} is a run of {stamp.get('kind')!r}; expected that of a reward model")
    settings = load_settings(RewardSettings, str(folder.recipe_path), [])
    if settings.process:
        raise UsageError(f"{place} is a process reward model, which learned from judged steps; expected one of pairs")
    finished_model_folder(folder.path)
    register_sources()
    for name, content in content_of(settings.data).items():
        if stamp.get("data", {}).get(name) != content:
            raise DataError(
                f"{place} learned from other {name} data than are there now (data.source={settings.data.source}); put "
                "them back, or train again"
            )
    return TrainedReward(place, settings)


def read_labels(trained: TrainedReward, *, held_out: bool) -> Labels:
    settings = trained.settings
    records = tuple(DataSide(settings.data, held_out, None).numbered_records())
    weights, left_out = JudgeWeights.of(settings.data), Counter[str]()
    pairs: list[LabelledPair] = []
    record_of: list[int] = []
    for number, (source, record) in enumerate(records):
        for group in groups_of([record], ties=settings.ties, left_out=left_out, thumbs=False):
            who = next((one.annotator for one in group.comparisons), "")
            for first, second, target, _, weight in weights.weighted(group, source).pairs:
                answers = group.completions[int(first)], group.completions[int(second)]
                pairs.append(LabelledPair(group.prompt, *answers, target, who, source, weight))
                record_of.append(number)
    if not pairs:
        place = f"{trained.path}: no {'held-out ' if held_out else ''}label compares two answers"
        hint = (
            "what labels are worth is measured on held-out ones; train with data.held_out=0.1, or with a second source"
            if held_out
            else "expected comparisons or rankings"
        )
        raise DataError(f"{place}; {hint}")
    return Labels(records, tuple(pairs), tuple(record_of), left_out)


@dataclass(frozen=True)
class LabelReader:
    """Reads labels with a reward model."""

    scorer: Scorer
    keeper: FeatureKeeper

    @classmethod
    def of(cls, place: str, settings: RewardSettings, device: torch.device) -> "LabelReader":
        given = ScorerSettings(path=place, normalised=False, max_length=settings.data.max_length)
        scorer, keeper = keep_features(load_scorer(given, device))
        assert keeper is not None, "a reward model has features"
        return cls(scorer, keeper)

    def side(self, labels: Sequence[LabelledPair], progress: Progress | None = None) -> LabelSide:
        values: list[float] = []
        features: list[np.ndarray] = []
        at_once = ITEMS_AT_ONCE // 2
        for start in range(0, len(labels), at_once):
            some = labels[start : start + at_once]
            items = [(one.prompt, answer.text) for one in some for answer in (one.first, one.second)]
            values += [score.value for score in self.scorer.score(items)]
            found = self.keeper.features
            assert found is not None
            features.append(np.asarray(found[::2] - found[1::2], dtype=np.float32))
            if progress is not None:
                progress.update(progress.done + len(some), {})
        scores = np.array(values)
        pairs = LabelledPairs(
            np.concatenate(features),
            scores[::2] - scores[1::2],
            np.array([one.preference for one in labels]),
            np.array([one.weight for one in labels]),
        )
        return LabelSide(tuple(labels), pairs)
