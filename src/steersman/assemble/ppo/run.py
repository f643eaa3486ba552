"""`ppo` put together: settings -> actors, engine, scorer, prompts, run folder -> the policy that people prefer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from steersman.assemble.ppo.reference_answers import against_reference
from steersman.assemble.ppo.save import save_policy_and_critic
from steersman.assemble.ppo.watch import open_watch
from steersman.batches import pad_rows
from steersman.data.sources import content_hash
from steersman.errors import UsageError
from steersman.execution.ending import Finish, RunResult, already_finished, conclude
from steersman.execution.kept import OpenRunFolder, identity_of, keep_run
from steersman.execution.learner import optimiser_of, scheduled
from steersman.execution.machine import Machine, resolve_device, resolve_machine
from steersman.loading.engines import native_engine
from steersman.loading.language_model import load_language_model
from steersman.loading.scorers import Reward, ScorerCache, name_of, scorer_of
from steersman.methods.ppo.actors import make_actors, shard_actors
from steersman.methods.ppo.collect import Asking
from steersman.methods.ppo.distributed import DistributedEngine, DistributedScorer
from steersman.methods.ppo.forward import ForwardSetup
from steersman.methods.ppo.loop import ppo
from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.offload import Offload
from steersman.methods.ppo.parts import Parts
from steersman.methods.ppo.records import ExperienceBatch, Unit, collate
from steersman.methods.ppo.roles import ModelActors
from steersman.models.backbone import Backbone
from steersman.models.compiled import compile_layers
from steersman.models.language_model import LanguageModel
from steersman.parallel.world import World, join
from steersman.reward.offloaded import models_of
from steersman.rollout.engine import Engine, Sampling, TakesUpWeights
from steersman.rollout.language import ModelLanguage, room_for_prompts
from steersman.rollout.native import NativeEngine
from steersman.settings.ppo import PpoSettings
from steersman.train.checkpoint import load_checkpoint, weight_tensors
from steersman.train.core import Learner
from steersman.train.precision import autocast
from steersman.training_data.pretraining import pretraining_rows
from steersman.training_data.prompts import prompts_of


@dataclass(frozen=True)
class OpenRun:
    """A run of PPO before its first iteration, or where it was left: everything that `iterate` and the stages are given."""

    settings: PpoSettings
    parts: Parts
    memory: Memory
    model: LanguageModel
    actors: ModelActors
    kept: OpenRunFolder
    world: World


def run_ppo(settings: PpoSettings, *, quiet: bool = False, reward: Reward | None = None) -> RunResult:
    """Improve a policy against a scorer; the same call on the same folder resumes. `reward` takes the place of
    settings.scorer."""
    next_command = f"steersman chat {settings.run.out}"
    before = already_finished(settings, settings.run, next_command)
    if before is not None:
        return before
    with open_ppo(settings, reward=reward) as run:
        with run.kept.progress(_kind(settings), settings.iterations, done=run.memory.iteration, silent=quiet):
            outcome = ppo(run.parts, settings, run.memory)
        stopped = outcome.ending == "stopped"
        finish = Finish(
            "stopped" if stopped else "finished", outcome.iteration, outcome.best_iteration, outcome.held_out
        )
        if outcome.ending not in ("stopped", "finished"):
            run.kept.notice(f"the run ended at iteration {outcome.iteration}: {outcome.ending}")

        weights = weight_tensors(run.actors) if run.world.size > 1 else None

        def save(folder: Path) -> None:
            save_policy_and_critic(settings, run.model, run.actors, folder, gathered=weights)

        result = conclude(run.kept, finish, save=save, world=run.world, next_command=next_command)
        return replace(result, ending=outcome.ending)


@contextmanager
def open_ppo(settings: PpoSettings, *, reward: Reward | None = None) -> Iterator[OpenRun]:
    """The run's parts put together and its folder held, for `run_ppo` or for calling the loop's stages one by one."""
    _check(settings)
    with join(resolve_device(settings.run.device)) as world:
        torch.manual_seed(settings.run.seed)
        model = load_language_model(settings.model, world.device)
        machine = resolve_machine(
            settings.run, settings.compute, width=model.backbone.hidden_size, kept=Path(settings.run.out)
        )
        facts = {
            "threads": machine.threads,
            "deterministic": machine.facts,
            "data": _data(settings),
            "parents": {"model": identity_of(settings.model.path), "scorer": name_of(settings.scorer, reward)},
        }
        with (
            machine.working(),
            keep_run(settings, settings.run, kind=_kind(settings), world=world, facts=facts) as kept,
        ):
            actors = make_actors(settings, model)
            plain = shard_actors(actors, world)
            memory = Memory(settings.kl.coefficient)
            offload = Offload(settings.compute, actors, world, kept.notice)
            parts = make_parts(settings, model, actors, plain, machine, world, kept, memory, reward, offload)
            point = kept.resume_point(world)
            if point is not None:
                _restore(memory, load_checkpoint(point.path, parts.learner, world))
                offload.after_resuming()
                if memory.best_value is not None and settings.keep == "best":
                    kept.mark_best_again(memory.best_iteration, "objective", memory.best_value)
                if memory.watch.best_value is not None:
                    kept.believe_in(memory.watch.best_step)
                if isinstance(parts.engine, TakesUpWeights):
                    parts.engine.refresh(memory.iteration)
            yield OpenRun(settings, parts, memory, model, actors, kept, world)


def _check(settings: PpoSettings) -> None:
    lora = settings.model.lora
    if lora is not None and lora.dropout:
        raise UsageError(
            f"model.lora.dropout is {lora.dropout}; PPO compares two probabilities of one token, and the noise of two dropout masks "
            "would be in their ratio. Leave it at 0"
        )
    if settings.critic != "policy" and settings.layout != "separate":
        raise UsageError(
            f"critic={settings.critic} begins a critic with a model of its own, and in layout={settings.layout} there is none; "
            "choose layout=separate"
        )


def _data(settings: PpoSettings) -> dict[str, str]:
    """Hashes of what is learned from and measured on, for the stamp: a run does not continue on other data."""
    held_out = settings.prompts.held_out
    sources = {
        "prompts": settings.prompts.source,
        "held out": held_out if isinstance(held_out, str) else None,
        "pretraining": settings.update.pretraining,
    }
    return {name: content_hash(source) for name, source in sources.items() if source is not None}


def make_parts(
    settings: PpoSettings,
    model: LanguageModel,
    actors: ModelActors,
    plain: Backbone,
    machine: Machine,
    world: World,
    kept: OpenRunFolder,
    memory: Memory,
    reward: Reward | None,
    offload: Offload,
) -> Parts:
    """Everything that the loop is given. Each part may be replaced, and the loop's stages called one by one. `plain` is the
    policy as the engine needs it: whole."""
    tokeniser, backbone = model.tokeniser, model.backbone
    pad_multiple = machine.pad_multiple_within(backbone.context_length)
    words = ModelLanguage(tokeniser, tuple(settings.sampling.stop))
    sampling = Sampling(**{**settings.sampling.model_dump(), "stop": words.stop})
    prompts, held_out = prompts_of(settings.prompts, words, kept.notice, room=room_for_prompts(backbone, sampling))
    engine = _engine(model, plain, actors, machine, world)
    slower = engine.why_slower if isinstance(engine, NativeEngine) else ""
    if slower and world.device.type == "cuda":
        kept.notice(f"answers are not drawn by recorded steps, which is several times slower ({slower})")
    plain_scorer = scorer_of(settings.scorer, reward, world.device, ScorerCache.of(kept, world))
    if machine.compiled:
        compile_layers([actors, *models_of(plain_scorer)])
    scorer, watch = open_watch(settings.watch, plain_scorer, world, kept, offload.scorer)
    scorer = offload.scorer(scorer)
    offload.check_scorers(scorer.name)
    scorer = scorer if world.size == 1 else DistributedScorer(scorer, world)
    if settings.score.preference_over is not None:
        scorer = against_reference(settings, scorer, engine, words, sampling, prompts, held_out, kept, world)
    return Parts(
        actors=actors,
        engine=engine,
        scorer=scorer,
        language=words,
        learner=_learner(settings, actors, machine, world, kept, memory, tokeniser.pad_token_id, offload),
        forward=ForwardSetup(
            sampling.temperature,
            machine.token_budget,
            lambda rows: pad_rows(rows, pad_id=tokeniser.pad_token_id, pad_multiple=pad_multiple).to(world.device),
            autocast(machine.precision, world.device),
            world,
            unpadded=actors.backbone.skips_padding(half=machine.precision == "bf16"),
            on_device=offload.reading(),
        ),
        prompts=prompts,
        held_out=held_out,
        pretraining=pretraining_rows(settings, tokeniser),
        asking=Asking(sampling, settings.samples_per_prompt, settings.run.seed, "train"),
        keeper=kept,
        world=world,
        watch=watch,
    )


def _learner(
    settings: PpoSettings,
    actors: ModelActors,
    machine: Machine,
    world: World,
    kept: OpenRunFolder,
    memory: Memory,
    pad_id: int,
    offload: Offload,
) -> Learner[Unit, ExperienceBatch]:
    critic = [p for module in (actors.value_head, actors.critic) if module is not None for p in module.parameters()]
    if actors.value_adapter is not None:
        critic += [
            p for name, p in actors.named_parameters() if f".{actors.value_adapter}." in f"{name}." and p.requires_grad
        ]
    learning_rates = {id(p): settings.value_learning_rate for p in critic} if settings.value_learning_rate else {}
    optimiser = optimiser_of(
        actors,
        settings.optimiser,
        learning_rates={key: rate for key, rate in learning_rates.items() if rate is not None},
    )
    return Learner(
        actors,
        optimiser,
        # Iterations, not optimiser steps, are what the schedule counts: an update that ends early must not slow it down.
        rate_at=lambda _: scheduled(settings.optimiser, memory.iteration, settings.iterations),
        max_grad_norm=settings.optimiser.max_grad_norm,
        token_budget=machine.token_budget,
        packed=False,
        collate=lambda units: collate(
            units,
            pad_id=pad_id,
            device=world.device,
            pad_multiple=machine.pad_multiple_within(actors.backbone.context_length),
            both_kinds=world.size > 1 and settings.update.pretraining is not None,
        ),
        world=world,
        precision=autocast(machine.precision, world.device),
        notice=kept.notice,
        unpadded=actors.backbone.skips_padding(half=machine.precision == "bf16"),
        on_device=offload.learning(optimiser),
    )


def _engine(model: LanguageModel, plain: Backbone, actors: ModelActors, machine: Machine, world: World) -> Engine:
    """In one process the engine stands on the very weights that learn, and tells what they know of each token: as long as both compute
    in float32, since anything coarser says something else of a token in another batch."""
    voice, dtype = (plain, model.adapter), machine.rollout_dtype
    if world.size > 1:
        return DistributedEngine(native_engine(voice, model.tokeniser, dtype=dtype), model.backbone, world)
    exact = machine.precision == "fp32"
    head = actors.value_head if exact and actors.values_on_the_policys_trunk else None
    return native_engine(voice, model.tokeniser, with_token_info=exact, value_head=head, dtype=dtype)


def _kind(settings: PpoSettings) -> str:
    """What the run is called among others: by its method."""
    return "ppo" if settings.advantage.estimator == "gae" else settings.advantage.estimator


def _restore(memory: Memory, facts: dict[str, Any]) -> None:
    """The loop and the learning rate share this one memory, so it is filled, not replaced."""
    vars(memory).update(vars(Memory.of(facts)))
