"""`ilql` put together: settings -> model with Q heads, answers and what they earned, run folder -> the model, and its heads beside it."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from steersman.errors import UsageError
from steersman.execution.ending import RunResult, already_finished, conclude
from steersman.execution.fit import SelectionMetric, TrainingRows, learn
from steersman.execution.kept import identity_of, keep_run
from steersman.execution.machine import resolve_device, resolve_machine
from steersman.loading.language_model import load_language_model, model_path, shard_model
from steersman.methods.ilql import QLearning, coefficients, collate
from steersman.models.language_model import LanguageModel
from steersman.models.q_heads import Guide, QHeads, QModel, heads_for, load_guide, save_guide
from steersman.parallel.shard import gathered
from steersman.parallel.world import join
from steersman.settings.ilql import IlqlSettings
from steersman.train.checkpoint import load_weight_tensors, weight_tensors
from steersman.training_data.rewarded import read_rewarded
from steersman.training_data.split import content_of


def run_ilql(settings: IlqlSettings, *, quiet: bool = False) -> RunResult:
    """Learn what tokens are worth from rewarded answers; the same call on the same folder resumes."""
    next_command = f"steersman chat {settings.run.out} --q-beta {settings.beta:g}"
    before = already_finished(settings, settings.run, next_command)
    if before is not None:
        return before
    _check(settings)
    with join(resolve_device(settings.run.device)) as world:
        torch.manual_seed(settings.run.seed)
        model = load_language_model(settings.model, world.device)
        backbone, pad, context = model.backbone, model.tokeniser.pad_token_id, model.backbone.context_length
        whole = QModel(backbone, first_heads(settings, model))
        machine = resolve_machine(settings.run, settings.train, width=backbone.hidden_size, kept=Path(settings.run.out))
        facts = {
            "threads": machine.threads,
            "deterministic": machine.facts,
            "data": content_of(settings.data),
            "parents": {"model": identity_of(settings.model.path)},
        }
        with machine.working(), keep_run(settings, settings.run, kind="ilql", world=world, facts=facts) as kept:
            sides = [
                read_rewarded(
                    settings.data, settings.reward, model.tokeniser, kept, world, held_out=held_out, context=context
                )
                for held_out in (False, True)
            ]
            learned, measured = sides
            assert learned is not None
            shard_model(whole, backbone, world, entrances=("read",))
            finish = learn(
                whole,
                TrainingRows(
                    len(learned), learned.unit, list(map(measured.unit, range(len(measured)))) if measured else []
                ),
                QLearning(settings),
                lambda units: collate(
                    units, pad_id=pad, device=world.device, pad_multiple=machine.pad_multiple_within(context)
                ),
                optimiser=settings.optimiser,
                train=settings.train,
                seed=settings.run.seed,
                checkpoint_every=settings.run.checkpoint_every,
                judged=SelectionMetric(
                    "loss", higher_is_better=False, derive=lambda found: whole_loss(settings, found)
                ),
                kept=kept,
                machine=machine,
                world=world,
                label="ilql",
                quiet=quiet,
                after_step=lambda: whole.heads.update_targets(settings.polyak, gathered),
            )
            weights = weight_tensors(whole) if world.size > 1 else None

            def save(folder: Path) -> None:
                made, heads = (model, whole.heads) if weights is None else whole_again_with_heads(settings, weights)
                made.save(folder)
                save_guide(Guide(heads, settings.beta), backbone.family, folder)

            return conclude(kept, finish, save=save, world=world, next_command=next_command)


def first_heads(settings: IlqlSettings, model: LanguageModel) -> QHeads:
    """The heads that the model brings, or new ones."""
    with TemporaryDirectory() as scratch:
        found = load_guide(model.backbone, model_path(settings.model.path, Path(scratch)))
    if found is None:
        return heads_for(model.backbone)
    for head in (*found.heads.q_heads, found.heads.value):
        head.requires_grad_(True)
    return found.heads


def whole_again_with_heads(settings: IlqlSettings, weights: dict[str, Tensor]) -> tuple[LanguageModel, QHeads]:
    """A model that was shared out over processes, on one of them and with its gathered weights, for saving."""
    model = load_language_model(settings.model, torch.device("cpu"))
    whole = QModel(model.backbone, heads_for(model.backbone))
    load_weight_tensors(whole, weights)
    return model, whole.heads


def _check(settings: IlqlSettings) -> None:
    if settings.train.packing:
        raise UsageError(
            "train.packing lays several answers into one row, and after an answer's last token nothing may follow; leave it out"
        )
    if settings.imitation_beta and not settings.imitation:
        raise UsageError(
            f"imitation_beta={settings.imitation_beta:g} weighs what is imitated, and imitation=0 imitates nothing; leave it out"
        )


def whole_loss(settings: IlqlSettings, found: Mapping[str, float]) -> dict[str, float]:
    return {"loss": sum(each * found[name] for name, each in coefficients(settings).items())}
