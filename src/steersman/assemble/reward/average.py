"""The members of an ensemble made into one reward model (WARM): averaged, then measured and reported on like any other."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from steersman.assemble.reward.measure import Reader, measure_scale, report
from steersman.execution.ending import Finish, RunResult, already_finished, conclude
from steersman.execution.kept import identity_of, keep_run, refuse_another_recipe
from steersman.execution.machine import resolve_device
from steersman.methods.reward_model import Trainee
from steersman.models.reward_model import load_reward_model, save_reward_model
from steersman.parallel.world import join
from steersman.reward.average import average_weights
from steersman.runs.folder import RunFolder, atomic_write_text
from steersman.settings.base import to_toml
from steersman.settings.reward import RewardSettings
from steersman.text.tokeniser import give_pad, load_tokeniser
from steersman.training_data.judgements import read_both
from steersman.training_data.split import content_of


def claim_folder(settings: RewardSettings) -> None:
    """The run's folder with its recipe, before the members' own runs lie in it: without one it would be no run's folder."""
    if int(os.environ.get("RANK", "0")) > 0:
        return
    folder = RunFolder.create_or_open(Path(settings.run.out))
    if folder.recipe_path.exists():
        refuse_another_recipe(folder, settings)
    else:
        atomic_write_text(folder.recipe_path, to_toml(settings))


def average_members(
    settings: RewardSettings, members: Sequence[RunResult], next_command: str, *, quiet: bool
) -> RunResult:
    """The run in `settings.run.out`, whose model is the mean of the members' weights."""
    before = already_finished(settings, settings.run, next_command)
    if before is not None:
        return before
    folders = [member.model for member in members]
    tokeniser = load_tokeniser(folders[0])
    give_pad(tokeniser)
    facts = {
        "threads": settings.run.threads or torch.get_num_threads(),
        "deterministic": {},
        "data": content_of(settings.data),
        "parents": {Path(member.out).name: identity_of(member.out) for member in members},
    }
    with (
        join(resolve_device(settings.run.device)) as world,
        keep_run(settings, settings.run, kind="reward", world=world, facts=facts) as kept,
    ):
        kept.resume_point(world)
        model = average_weights(
            [load_reward_model(folder, dtype=torch.float32, device=world.device) for folder in folders]
        )
        if world.first:
            context = model.backbone.context_length
            train, held_out = read_both(settings.data, settings.ties, tokeniser, kept, context, world)
            reader = Reader(Trainee(None, model), tokeniser, settings.data.max_length, world.device)
            model.scale = measure_scale(settings.reference, reader, train)
            if held_out is not None and held_out.comparisons:
                report(kept, reader, held_out.comparisons, world, quiet=quiet)

        def save(folder: Path) -> None:
            save_reward_model(model, tokeniser, folder)

        finish = Finish("finished", len(members), len(members), {})
        result = conclude(
            kept,
            finish,
            save=save,
            world=world,
            next_command=next_command,
        )
    return replace(result, model=str(Path(settings.run.out) / "model"))
