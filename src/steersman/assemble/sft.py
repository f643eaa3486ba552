"""`sft` put together: settings -> model, rows, objective, run folder -> the fine-tuned model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from steersman.execution.ending import RunResult, already_finished, conclude
from steersman.execution.fit import SelectionMetric, learn
from steersman.execution.kept import identity_of, keep_run
from steersman.execution.learner import rows_together
from steersman.execution.machine import resolve_device, resolve_machine
from steersman.loading.language_model import load_language_model, shard_model, whole_again
from steersman.methods.sft import NextToken, perplexity
from steersman.parallel.world import join
from steersman.settings.base import Settings
from steersman.settings.sft import SftSettings
from steersman.train.checkpoint import weight_tensors
from steersman.training_data.demonstrations import demonstration_rows
from steersman.training_data.split import content_of


@dataclass(frozen=True)
class Command:
    """What was asked for, where fine-tuning is the last part of it: the run's folder keeps this kind and this recipe."""

    kind: str
    settings: Settings
    parents: Mapping[str, str]


def run_sft(settings: SftSettings, *, quiet: bool = False, command: Command | None = None) -> RunResult:
    """Fine-tune on demonstrations; the same call on the same folder resumes."""
    command = command or Command("sft", settings, {})
    next_command = f"steersman chat {settings.run.out}"
    before = already_finished(command.settings, settings.run, next_command)
    if before is not None:
        return before
    with join(resolve_device(settings.run.device)) as world:
        torch.manual_seed(settings.run.seed)
        model = load_language_model(settings.model, world.device)
        backbone, pad = model.backbone, model.tokeniser.pad_token_id
        out = Path(settings.run.out)
        machine = resolve_machine(settings.run, settings.train, width=backbone.hidden_size, kept=out)
        facts = {
            "threads": machine.threads,
            "deterministic": machine.facts,
            "data": content_of(settings.data),
            "parents": {"model": identity_of(settings.model.path), **command.parents},
        }
        kept_as = keep_run(command.settings, settings.run, kind=command.kind, world=world, facts=facts)
        with machine.working(), kept_as as kept:
            material = demonstration_rows(
                settings.data,
                model.tokeniser,
                kept,
                loss_on=settings.loss_on,
                take_chosen=settings.take_chosen,
                context=backbone.context_length,
                world=world,
            )
            shard_model(backbone, backbone, world, entrances=("hidden", "log_probs"))
            finish = learn(
                backbone,
                material,
                NextToken(),
                rows_together(
                    pad_id=pad,
                    device=world.device,
                    packing=settings.data.max_length if settings.train.packing else None,
                    pad_multiple=machine.pad_multiple_within(backbone.context_length),
                ),
                optimiser=settings.optimiser,
                train=settings.train,
                seed=settings.run.seed,
                checkpoint_every=settings.run.checkpoint_every,
                judged=SelectionMetric("loss", higher_is_better=False, derive=perplexity),
                kept=kept,
                machine=machine,
                world=world,
                label=command.kind,
                quiet=quiet,
            )
            weights = weight_tensors(backbone) if world.size > 1 else None

            def save(folder: Path) -> None:
                (model if weights is None else whole_again(settings.model, weights)).save(folder)

            return conclude(kept, finish, save=save, world=world, next_command=next_command)
