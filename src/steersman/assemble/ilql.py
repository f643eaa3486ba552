"""`ilql`: settings -> a language model with Q heads, trained on answers with rewards."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from steersman.errors import UsageError
from steersman.execution.beginning import begins_run
from steersman.execution.context import Job, open_run
from steersman.execution.ending import RunResult, Weights, already_finished, conclude
from steersman.execution.fit import Task, TrainingRows, learn
from steersman.execution.learner import padded_for
from steersman.loading.language_model import load_language_model, model_path, shard_model
from steersman.methods.ilql import QLearning, coefficients, collate
from steersman.models.language_model import LanguageModel
from steersman.models.q_heads import Guide, QHeads, QModel, heads_for, load_guide, save_guide
from steersman.parallel.shard import gathered
from steersman.runs.commands import command_line
from steersman.runs.identity import identity_of
from steersman.settings.ilql import IlqlSettings
from steersman.train.checkpoint import load_weight_tensors
from steersman.training_data.rewarded import read_rewarded
from steersman.training_data.split import content_of


@dataclass(frozen=True)
class TrainableQ:
    """A language model, and the module that is trained: the same model with Q heads."""

    language_model: LanguageModel
    whole: QModel

    @property
    def hidden_size(self) -> int:
        return self.language_model.hidden_size

    def save(self, folder: Path, beta: float) -> None:
        self.language_model.save(folder)
        save_guide(Guide(self.whole.heads, beta), self.language_model.backbone.family, folder)


@begins_run
def run_ilql(settings: IlqlSettings, *, quiet: bool = False) -> RunResult:
    """Learn what tokens are worth from rewarded answers; the same call on the same folder resumes."""
    next_command = command_line("chat", settings.run.out, "--q-beta", f"{settings.beta:g}")
    job = Job("ilql", settings, settings.run, settings.train, next_command, quiet)
    before = already_finished(job)
    if before is not None:
        return before
    _check(settings)
    with open_run(
        job,
        partial(load_with_heads, settings),
        data=content_of(settings.data),
        parents={"model": identity_of(settings.model.path)},
    ) as (run, model):
        language_model, whole = model.language_model, model.whole
        train, held_out = (
            read_rewarded(run, settings.data, settings.reward, language_model, held_out=side) for side in (False, True)
        )
        assert train is not None
        shard_model(whole, whole.backbone, run.world, entrances=("outputs",))
        rows = TrainingRows(len(train), train.unit, [] if held_out is None else held_out.units())
        task = Task(QLearning(settings), padded_for(run, language_model, collate), partial(whole_loss, settings))
        finish = learn(
            run, settings, whole, rows, task, after_step=lambda: whole.heads.update_targets(settings.polyak, gathered)
        )

        def save(folder: Path, weights: Weights | None) -> None:
            (model if weights is None else _on_one_process(settings, weights)).save(folder, settings.beta)

        return conclude(run, finish, whole, save)


def load_with_heads(settings: IlqlSettings, device: torch.device) -> TrainableQ:
    model = load_language_model(settings.model, device)
    return TrainableQ(model, QModel(model.backbone, first_heads(settings, model)))


def first_heads(settings: IlqlSettings, model: LanguageModel) -> QHeads:
    """The model's saved heads, or new ones."""
    with TemporaryDirectory() as scratch:
        found = load_guide(model.backbone, model_path(settings.model.path, Path(scratch)))
    if found is None:
        return heads_for(model.backbone)
    for head in (*found.heads.q_heads, found.heads.value):
        head.requires_grad_(True)
    return found.heads


def _on_one_process(settings: IlqlSettings, weights: Weights) -> TrainableQ:
    """An unsharded copy of the model with the gathered weights, for saving."""
    model = load_language_model(settings.model, torch.device("cpu"))
    whole = QModel(model.backbone, heads_for(model.backbone))
    load_weight_tensors(whole, weights)
    return TrainableQ(model, whole)


def _check(settings: IlqlSettings) -> None:
    if settings.train.packing:
        raise UsageError(
            "train.packing lays several answers into one row, and after an answer's last token nothing may follow; "
            "leave it out"
        )
    if settings.imitation_beta and not settings.imitation:
        raise UsageError(
            f"imitation_beta={settings.imitation_beta:g} weighs what is imitated, and imitation=0 imitates nothing; "
            "leave it out"
        )


def whole_loss(settings: IlqlSettings, found: Mapping[str, float]) -> dict[str, float]:
    return {"loss": sum(each * found[name] for name, each in coefficients(settings).items())}
