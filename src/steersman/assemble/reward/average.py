"""Averages an ensemble's members into one reward model (WARM), then measures and reports on it like any other."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from steersman.assemble.reward.measure import Reader, measure_scale, report
from steersman.execution.context import Job, open_unloaded
from steersman.execution.ending import Finish, RunResult, Weights, already_finished, conclude
from steersman.execution.same_run import refuse_another_recipe
from steersman.methods.reward_model import Trainee
from steersman.models.reward_model import RewardModel, load_reward_model, save_reward_model
from steersman.reward.average import average_weights
from steersman.runs.commands import command_line
from steersman.runs.folder import RunFolder, atomic_write_text
from steersman.runs.identity import identity_of
from steersman.settings.base import to_toml
from steersman.settings.parts import DataSettings
from steersman.settings.reward import RewardSettings
from steersman.text.tokeniser import give_pad, load_tokeniser
from steersman.training_data.judgements import read_both
from steersman.training_data.split import content_of


def claim_folder(settings: RewardSettings) -> None:
    """Create the run's folder and its recipe before the members' runs are put into it."""
    if int(os.environ.get("RANK", "0")) > 0:
        return
    folder = RunFolder.create_or_open(Path(settings.run.out))
    if folder.recipe_path.exists():
        refuse_another_recipe(folder, settings)
    else:
        atomic_write_text(folder.recipe_path, to_toml(settings))


def next_command(settings: RewardSettings) -> str:
    """Score the answers that were judged; the result says how often the model agrees with people."""
    data, out = settings.data, settings.run.out
    if data.source.startswith("given:"):
        return command_line("report", out)  # a list of the Python API has no name that another process could read
    named = {"data.format": data.format, "data.split": data.split, **_columns(data)}
    more = [f"{key}={value}" for key, value in named.items() if value is not None]
    return command_line("score", data.source, *more, "--scorer", out, "--out", Path(out) / "scored.jsonl")


def _columns(data: DataSettings) -> dict[str, str | None]:
    """The column mapping as options of a command."""
    given = {} if data.columns is None else data.columns.mapping()
    return {f"data.columns.{k}": v if isinstance(v, str) else ",".join(v) for k, v in given.items()}


def job_of(settings: RewardSettings, *, quiet: bool) -> Job:
    return Job("reward", settings, settings.run, settings.train, next_command(settings), quiet)


@dataclass(frozen=True)
class AveragedReward:
    """The mean of the members' weights, with a tokeniser."""

    model: RewardModel
    tokeniser: Any

    @property
    def context_length(self) -> int | None:
        return self.model.backbone.context_length


def average_members(job: Job, settings: RewardSettings, members: Sequence[RunResult]) -> RunResult:
    """The run in `settings.run.out`, whose model is the mean of the members' weights."""
    before = already_finished(job)
    if before is not None:
        return before
    tokeniser = load_tokeniser(members[0].model)
    give_pad(tokeniser)
    parents = {Path(member.out).name: identity_of(member.out) for member in members}
    with open_unloaded(job, data=content_of(settings.data), parents=parents) as run:
        run.folder.resume_point(run.world)
        model = average_weights(
            [load_reward_model(member.model, dtype=torch.float32, device=run.device) for member in members]
        )
        if run.world.first:
            model.continues_prompts = settings.data.template == "none"
            train, held_out = read_both(
                run,
                settings.data,
                settings.ties,
                AveragedReward(model, tokeniser),
                thumbs=True,
                too_long=settings.too_long,
            )
            reader = Reader(Trainee(None, model), tokeniser, settings.data.max_length, run.device)
            model.scale = measure_scale(settings.reference, reader, train)
            if held_out is not None and held_out.comparisons:
                report(run, reader, train, held_out)
        finish = Finish("finished", len(members), len(members), {})

        def save(folder: Path, weights: Weights | None) -> None:
            save_reward_model(model, tokeniser, folder)

        result = conclude(run, finish, model, save)
    return replace(result, model=str(Path(settings.run.out) / "model"))
