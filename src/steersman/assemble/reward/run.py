"""`reward`: settings -> a reward model, or an ensemble, trained on judgements; its scale, and a quality report."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from steersman.assemble.reward.average import average_members, claim_folder, job_of, next_command
from steersman.assemble.reward.measure import Reader, measure_scale, report
from steersman.assemble.reward.process import learn_steps
from steersman.errors import UsageError
from steersman.execution.beginning import begins_run
from steersman.execution.context import RunContext, open_run
from steersman.execution.ending import Finish, RunResult, Weights, already_finished, conclude
from steersman.execution.fit import Task, TrainingRows, learn
from steersman.execution.learner import collate_groups, padded_for
from steersman.loading.language_model import base_of, load_language_model, shard_model
from steersman.methods.reward_model import Preference, Trainee
from steersman.models.adapters import set_trainable
from steersman.models.files import describe, save_model
from steersman.models.reward_model import (
    load_reward_adapter,
    load_reward_model,
    new_reward_model,
    save_reward_model,
)
from steersman.reward.open import ENSEMBLE, members_of
from steersman.runs.folder import atomic_write_text
from steersman.runs.identity import identity_of
from steersman.runs.model_folder import model_folder
from steersman.settings.reward import RewardSettings
from steersman.text.tokeniser import give_pad, load_tokeniser
from steersman.train.checkpoint import load_weight_tensors
from steersman.training_data.judgements import read_both
from steersman.training_data.split import content_of

ADAPTER = "reward"


# Enough answers that the mean is known to a twentieth of a standard deviation.
@dataclass(frozen=True)
class TrainableReward:
    """The model that is trained. `merged`: its base is a merged adapter, which is not on disk."""

    trainee: Trainee
    tokeniser: Any
    merged: bool

    @property
    def hidden_size(self) -> int:
        return self.trainee.reward.backbone.hidden_size

    @property
    def context_length(self) -> int | None:
        return self.trainee.reward.backbone.context_length

    @property
    def pad_id(self) -> int:
        return self.tokeniser.pad_token_id

    def save(self, folder: Path) -> None:
        reward = self.trainee.reward
        if self.merged and reward.adapter is not None:
            base = folder.absolute().parent / "base"
            save_model(reward.backbone, self.tokeniser, base)
            reward.backbone.peft.peft_config[reward.adapter].base_model_name_or_path = str(base)
        save_reward_model(reward, self.tokeniser, folder)


@begins_run
def run_reward(settings: RewardSettings, *, quiet: bool = False) -> RunResult:
    """Train a reward model, or each member of an ensemble; the same call on the same folder resumes."""
    places = members_of(settings.model.path)
    if len(places) not in (1, settings.members):
        raise UsageError(
            f"{settings.model.path} is an ensemble of {len(places)} reward models and members={settings.members}; give "
            f"members={len(places)} to train each of them further, or the folder of one of them"
        )
    if settings.members_as == "average" and len(places) > 1:
        raise UsageError(
            f"members_as=average takes the mean of models that began as one, and {settings.model.path} is an ensemble "
            f"of {len(places)}; give the folder of one of them, or members_as=ensemble"
        )
    if settings.train.packing:
        raise UsageError(
            "train.packing lays several answers into one row, and a score is read at a row's end; leave it out for "
            "reward models"
        )
    if settings.members == 1:
        return run_member(settings, quiet=quiet)
    if settings.members_as == "average":
        claim_folder(settings)
    results: list[RunResult] = []
    for member in range(settings.members):
        out = Path(settings.run.out) / f"member-{member + 1}"
        # No two repetitions (--seeds) share a member.
        seed = settings.run.seed * settings.members + member
        run = settings.run.model_copy(update={"seed": seed, "out": str(out)})
        model = settings.model.model_copy(update={"path": places[member % len(places)]})
        head = settings.run.seed if settings.members_as == "average" else None
        one = settings.model_copy(
            update={"run": run, "model": model, "members": 1, "members_as": "ensemble", "head_seed": head}
        )
        results.append(run_member(one, quiet=quiet))
        if results[-1].ending == "stopped":
            return replace(results[-1], out=settings.run.out)
    if settings.members_as == "average":
        return average_members(job_of(settings, quiet=quiet), settings, results)
    return _ensemble(settings, results)


@begins_run
def run_member(settings: RewardSettings, *, quiet: bool) -> RunResult:
    """Train one reward model."""
    job = job_of(settings, quiet=quiet)
    before = already_finished(job)
    if before is not None:
        return before
    with open_run(
        job,
        partial(load_trainable, settings),
        data=content_of(settings.data),
        parents={"model": identity_of(settings.model.path)},
        # For the new head and adapters; the order of the data uses the run's own seed.
        seed=settings.head_seed,
    ) as (run, model):
        trainee = model.trainee
        trainee.reward.continues_prompts = settings.data.template == "none"
        learned = learn_steps if settings.process else _learn_judgements
        finish = learned(run, settings, model, trainee)

        def save(folder: Path, weights: Weights | None) -> None:
            (model if weights is None else _on_one_process(settings, weights, model)).save(folder)

        return conclude(run, finish, trainee, save)


def _learn_judgements(run: RunContext, settings: RewardSettings, model: TrainableReward, trainee: Trainee) -> Finish:
    """Train on judged answers, measure the scale of the scores, and report on held-out judgements."""
    train, held_out = read_both(run, settings.data, settings.ties, model, thumbs=True, too_long=settings.too_long)
    shard_model(trainee, trainee.reward.backbone, run.world, entrances=("scores", "scores_by_head"))
    rows = TrainingRows(len(train), train.group, [] if held_out is None else held_out.groups())
    task = Task(
        Preference(use_margin=settings.use_margin, centring=settings.centring),
        padded_for(run, model, collate_groups),
        derive=_loss,
    )
    finish = learn(run, settings, trainee, rows, task)
    if finish.ending != "stopped":
        reader = Reader(trainee, model.tokeniser, settings.data.max_length, run.device)
        trainee.reward.scale = measure_scale(settings.reference, reader, train)
        if held_out is not None and held_out.comparisons:
            report(run, reader, train, held_out)
    return finish


def _loss(found: Mapping[str, float]) -> Mapping[str, float]:
    return {"loss": found.get("preference", 0.0) + found.get("approval", 0.0)}


def load_trainable(settings: RewardSettings, device: torch.device) -> TrainableReward:
    """A new reward model on a causal model, an adapter on its base, or an earlier reward model."""
    run_model = model_folder(members_of(settings.model.path)[0])
    earlier = describe(run_model) if run_model.is_dir() else None
    if earlier is not None and earlier.kind == "reward":
        if settings.model.lora is not None:
            raise UsageError(
                f"{settings.model.path} is a whole reward model; it is trained further whole. Leave model.lora out, or "
                "begin an adapter on its causal base model instead"
            )
        tokeniser = load_tokeniser(run_model)
        give_pad(tokeniser)
        reward = load_reward_model(run_model, dtype=torch.float32, device=device)
        if settings.model.gradient_checkpointing:
            reward.backbone.use_gradient_checkpointing(True)
        return TrainableReward(Trainee(None, reward), tokeniser, False)
    if earlier is not None and earlier.kind == "adapter" and earlier.notes.get("kind") == "reward":
        base = settings.model.model_copy(update={"path": base_of(str(run_model)), "lora": None})
        model = load_language_model(base, device, own_pad=True)
        reward = load_reward_adapter(model.backbone, ADAPTER, run_model)
        set_trainable(model.backbone, [ADAPTER])
        return TrainableReward(Trainee(model.backbone, reward), model.tokeniser, False)
    model = load_language_model(settings.model, device, adapter=ADAPTER, own_pad=True)
    reward = new_reward_model(model.backbone, adapter=model.adapter)
    return TrainableReward(Trainee(model.backbone if model.adapter else None, reward), model.tokeniser, model.merged)


def _on_one_process(settings: RewardSettings, weights: Weights, model: TrainableReward) -> TrainableReward:
    """An unsharded copy of the model with the gathered weights, for saving."""
    whole = load_trainable(settings, torch.device("cpu"))
    load_weight_tensors(whole.trainee, weights)
    kept, trained = whole.trainee.reward, model.trainee.reward
    kept.scale, kept.continues_prompts = trained.scale, trained.continues_prompts
    kept.scores_steps = trained.scores_steps
    return replace(whole, tokeniser=model.tokeniser)


def _ensemble(settings: RewardSettings, results: list[RunResult]) -> RunResult:
    """Write the ensemble's file into the run's folder. A scorer opened on the folder uses all members."""
    names = [str(Path(result.out).name) + "/model" for result in results]
    out = settings.run.out
    atomic_write_text(Path(out) / ENSEMBLE, json.dumps({"kind": "ensemble", "members": names}, indent=1))
    held_out = {
        name: sum(result.held_out[name] for result in results) / len(results)
        for name in results[0].held_out
        if all(name in result.held_out for result in results)
    }
    last = results[-1]
    return replace(
        last,
        out=out,
        held_out=held_out,
        model=out,
        next_command=next_command(settings),
    )
