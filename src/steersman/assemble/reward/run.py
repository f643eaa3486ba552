"""`reward` put together: judgements -> a reward model (or an ensemble of them), its scale, and a report on how good it is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steersman.assemble.reward.average import average_members, claim_folder
from steersman.assemble.reward.measure import Reader, measure_scale, report
from steersman.errors import UsageError
from steersman.execution.ending import RunResult, already_finished, conclude
from steersman.execution.fit import SelectionMetric, TrainingRows, learn
from steersman.execution.kept import identity_of, keep_run
from steersman.execution.learner import groups_together
from steersman.execution.machine import resolve_device, resolve_machine
from steersman.loading.language_model import base_of, load_language_model, shard_model
from steersman.methods.reward_model import Preference, Trainee
from steersman.models.adapters import set_trainable
from steersman.models.files import describe, save_model
from steersman.models.reward_model import (
    Scale,
    load_reward_adapter,
    load_reward_model,
    new_reward_model,
    save_reward_model,
)
from steersman.parallel.world import join
from steersman.reward.open import ENSEMBLE, members_of
from steersman.runs.folder import atomic_write_text
from steersman.settings.parts import RunSettings
from steersman.settings.reward import RewardSettings
from steersman.text.tokeniser import give_pad, load_tokeniser
from steersman.train.checkpoint import load_weight_tensors, weight_tensors
from steersman.training_data.judgements import read_both
from steersman.training_data.split import content_of

ADAPTER = "reward"


# Enough answers that the mean is known to a twentieth of a standard deviation.
@dataclass(frozen=True)
class TrainableReward:
    """What is trained, and whether its base is itself a base and an adapter made one: it is then on no disk."""

    trainee: Trainee
    tokeniser: Any
    merged: bool


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
            f"members_as=average takes the mean of models that began as one, and {settings.model.path} is an ensemble of {len(places)}; give the "
            "folder of one of them, or members_as=ensemble"
        )
    if settings.train.packing:
        raise UsageError(
            "train.packing lays several answers into one row, and a score is read at a row's end; leave it out for reward models"
        )
    if settings.members == 1:
        return run_member(settings, quiet=quiet)
    if settings.members_as == "average":
        claim_folder(settings)
    results: list[RunResult] = []
    for member in range(settings.members):
        out = Path(settings.run.out) / f"member-{member + 1}"
        # So that repetitions (--seeds) share no member.
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
        return average_members(settings, results, _next_command(settings.run), quiet=quiet)
    return _ensemble(settings.run, results)


def run_member(settings: RewardSettings, *, quiet: bool) -> RunResult:
    next_command = _next_command(settings.run)
    before = already_finished(settings, settings.run, next_command)
    if before is not None:
        return before
    with join(resolve_device(settings.run.device)) as world:
        # What is drawn from here on is the new head (and adapters); the order of the data has a seed of its own.
        torch.manual_seed(settings.run.seed if settings.head_seed is None else settings.head_seed)
        start = load_trainee(settings, world.device)
        trainee, backbone = start.trainee, start.trainee.reward.backbone
        pad, context = start.tokeniser.pad_token_id, backbone.context_length
        machine = resolve_machine(settings.run, settings.train, width=backbone.hidden_size, kept=Path(settings.run.out))
        facts = {
            "threads": machine.threads,
            "deterministic": machine.facts,
            "data": content_of(settings.data),
            "parents": {"model": identity_of(settings.model.path)},
        }
        with machine.working(), keep_run(settings, settings.run, kind="reward", world=world, facts=facts) as kept:
            train, held_out = read_both(settings.data, settings.ties, start.tokeniser, kept, context, world)
            shard_model(trainee, backbone, world, entrances=("scores", "scores_by_head"))
            finish = learn(
                trainee,
                TrainingRows(
                    len(train), train.group, [held_out.group(i) for i in range(len(held_out))] if held_out else []
                ),
                Preference(use_margin=settings.use_margin, centring=settings.centring),
                groups_together(pad_id=pad, device=world.device, pad_multiple=machine.pad_multiple_within(context)),
                optimiser=settings.optimiser,
                train=settings.train,
                seed=settings.run.seed,
                checkpoint_every=settings.run.checkpoint_every,
                judged=SelectionMetric("loss", higher_is_better=False, derive=_loss),
                kept=kept,
                machine=machine,
                world=world,
                label="reward",
                quiet=quiet,
            )
            if finish.ending != "stopped":
                reader = Reader(trainee, start.tokeniser, settings.data.max_length, world.device)
                trainee.reward.scale = measure_scale(settings.reference, reader, train)
                if held_out is not None and held_out.comparisons:
                    report(kept, reader, held_out.comparisons, world, quiet=quiet)
            weights = weight_tensors(trainee) if world.size > 1 else None

            def save(folder: Path) -> None:
                whole = start if weights is None else _on_one_process(settings, weights, trainee.reward.scale)
                _save(whole, folder)

            return conclude(kept, finish, save=save, world=world, next_command=next_command)


def _loss(found: Mapping[str, float]) -> Mapping[str, float]:
    return {"loss": found.get("preference", 0.0) + found.get("approval", 0.0)}


def load_trainee(settings: RewardSettings, device: torch.device) -> TrainableReward:
    """What is trained: a new reward model on a causal model, an adapter on its base, or an earlier reward model further."""
    path = Path(members_of(settings.model.path)[0]).expanduser()
    run_model = path / "model" if (path / "recipe.toml").exists() else path
    earlier = describe(run_model) if run_model.is_dir() else None
    if earlier is not None and earlier.kind == "reward":
        if settings.model.lora is not None:
            raise UsageError(
                f"{settings.model.path} is a whole reward model; it is trained further whole. Leave model.lora out, or begin an "
                "adapter on its causal base model instead"
            )
        tokeniser = load_tokeniser(run_model)
        give_pad(tokeniser)
        reward = load_reward_model(run_model, dtype=torch.float32, device=device)
        if settings.model.gradient_checkpointing:
            reward.backbone.use_gradient_checkpointing(True)
        return TrainableReward(Trainee(None, reward), tokeniser, False)
    if earlier is not None and earlier.kind == "adapter" and earlier.notes.get("kind") == "reward":
        base = settings.model.model_copy(update={"path": base_of(str(run_model)), "lora": None})
        model = load_language_model(base, device)
        reward = load_reward_adapter(model.backbone, ADAPTER, run_model)
        set_trainable(model.backbone, [ADAPTER])
        return TrainableReward(Trainee(model.backbone, reward), model.tokeniser, False)
    model = load_language_model(settings.model, device, adapter=ADAPTER)
    reward = new_reward_model(model.backbone, adapter=model.adapter)
    return TrainableReward(Trainee(model.backbone if model.adapter else None, reward), model.tokeniser, model.merged)


def _save(start: TrainableReward, folder: Path) -> None:
    reward = start.trainee.reward
    if start.merged and reward.adapter is not None:
        base = folder.absolute().parent / "base"
        save_model(reward.backbone, start.tokeniser, base)
        reward.backbone.peft.peft_config[reward.adapter].base_model_name_or_path = str(base)
    save_reward_model(reward, start.tokeniser, folder)


def _on_one_process(settings: RewardSettings, weights: dict[str, Tensor], scale: Scale) -> TrainableReward:
    start = load_trainee(settings, torch.device("cpu"))
    load_weight_tensors(start.trainee, weights)
    start.trainee.reward.scale = scale
    return start


def _ensemble(run: RunSettings, results: list[RunResult]) -> RunResult:
    """The folder that stands for all members; a scorer opened on it scores with each."""
    names = [str(Path(result.out).name) + "/model" for result in results]
    atomic_write_text(Path(run.out) / ENSEMBLE, json.dumps({"kind": "ensemble", "members": names}, indent=1))
    held_out = {
        name: sum(result.held_out[name] for result in results) / len(results)
        for name in results[0].held_out
        if all(name in result.held_out for result in results)
    }
    last = results[-1]
    return replace(
        last,
        out=run.out,
        held_out=held_out,
        model=run.out,
        next_command=_next_command(run),
    )


def _next_command(run: RunSettings) -> str:
    return f"steersman score YOUR-ANSWERS.jsonl --scorer {run.out} --out scored.jsonl"
