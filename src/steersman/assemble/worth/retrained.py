"""Reward models trained on parts of a run's labels with its settings, and their margins on its held-out labels."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from numpy import ndarray

from steersman.assemble.reward.run import run_reward
from steersman.assemble.worth.trained import LabelReader, Labels, TrainedReward
from steersman.errors import Preempted
from steersman.printing import silenced
from steersman.records import Comparison, Ranking, Record, to_dict
from steersman.runs.folder import atomic_write_text
from steersman.settings.reward import JudgementDataSettings, RewardSettings
from steersman.training_data.judgements import JUDGES, OF_A_JUDGE, PEOPLE


@dataclass(frozen=True)
class PartTrainer:
    """Trains on parts of the labels, each in a folder of its own. A folder that is there goes on."""

    trained: TrainedReward
    learned: Labels
    held_out: Labels
    folder: Path
    device: torch.device

    def margins(self, name: str, records: Sequence[int], *, seed: int) -> Float[ndarray, " held_out"]:
        """Of a model that learned from these records only."""
        settings = self._settings(self.folder / name, [self.learned.records[i] for i in records], seed)
        with silenced():
            result = run_reward(settings, quiet=True)
        if result.ending == "stopped":
            raise Preempted(f"stopped while it trained {settings.run.out}; the same command goes on")
        reader = LabelReader.of(result.out, settings, self.device)
        return reader.side(self.held_out.pairs).pairs.margins

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _settings(self, out: Path, records: Sequence[tuple[int, Record]], seed: int) -> RewardSettings:
        given = self.trained.settings
        place = self.folder / f"{out.name}-labels"
        numbers = sorted({source for source, _ in records})
        files = [_written(place / f"{n}.jsonl", [one for source, one in records if source == n]) for n in numbers]
        held_out = given.data.held_out
        if not isinstance(held_out, str):
            held_out = _written(place / "held-out.jsonl", [one for _, one in self.held_out.records])
        weights = given.data.source_weights
        update = {
            "source": files[0],
            "more": files[1:],
            "source_weights": None if weights is None else [weights[n] for n in numbers],
            "weights": _used(given.data, [one for _, one in records]),
            "held_out": held_out,
            **dict.fromkeys(("format", "columns", "split", "limit")),
        }
        run = given.run.model_copy(update={"out": str(out), "seed": seed})
        return given.model_copy(update={"data": given.data.model_copy(update=update), "run": run, "members": 1})


def _written(path: Path, records: Sequence[Record]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, "".join(json.dumps(to_dict(one), ensure_ascii=False) + "\n" for one in records))
    return str(path)


def _used(data: JudgementDataSettings, records: Sequence[Record]) -> dict[str, float]:
    """The weights of those who judged these records: a weight for nobody would be refused."""
    names = {one.annotator for one in records if isinstance(one, Comparison | Ranking)}
    names |= {JUDGES if name.startswith(OF_A_JUDGE) else PEOPLE for name in names if name not in data.weights}
    return {name: weight for name, weight in data.weights.items() if name in names}
