"""`ppo`: settings -> a policy trained against a scorer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from steersman.assemble.ppo.checks import check_settings
from steersman.assemble.ppo.environment import playing_of, room_for_episodes
from steersman.assemble.ppo.reference_answers import StartingPolicy, against_reference
from steersman.assemble.ppo.save import save_policy_and_critic
from steersman.assemble.ppo.watch import open_watch
from steersman.batches import pad_rows
from steersman.errors import UsageError
from steersman.execution.beginning import no_folder_if_refused
from steersman.execution.capacity import card_token_budget
from steersman.execution.context import Job, RunContext, open_run
from steersman.execution.ending import Finish, RunResult, already_finished, conclude
from steersman.execution.learner import optimiser_of, scheduled
from steersman.execution.recorded import as_recorded
from steersman.loading.engines import native_engine
from steersman.loading.language_model import load_language_model
from steersman.loading.scorers import Reward, ScorerCache, scorer_of, stamped_scorer
from steersman.loading.sources import hash_of_source
from steersman.methods.ppo.actors import make_actors, shard_actors
from steersman.methods.ppo.collect import Asking
from steersman.methods.ppo.distributed import DistributedEngine, DistributedScorer
from steersman.methods.ppo.forward import ForwardSetup
from steersman.methods.ppo.loop import ppo
from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.offload import Offload
from steersman.methods.ppo.parts import Parts
from steersman.methods.ppo.records import Collation, ExperienceBatch, Unit
from steersman.methods.ppo.roles import ModelActors
from steersman.methods.ppo.watched import Watch
from steersman.models.backbone import Backbone
from steersman.models.compiled import compile_layers
from steersman.models.language_model import LanguageModel
from steersman.models.packed_attention import use_public_attention
from steersman.reward.offloaded import models_of
from steersman.reward.scorer import Scorer
from steersman.rollout.engine import Engine, Sampling, TakesUpWeights
from steersman.rollout.language import ModelLanguage
from steersman.rollout.native import DecodingOptions, NativeEngine
from steersman.runs.commands import command_line
from steersman.runs.folder import RunFolder
from steersman.runs.identity import identity_of
from steersman.settings.ppo import PpoSettings
from steersman.train.checkpoint import load_checkpoint
from steersman.train.core import Learner
from steersman.train.optim import Optimisation
from steersman.train.plan import Batching
from steersman.train.precision import autocast
from steersman.train.recorded import CudaRecorder
from steersman.training_data.pretraining import pretraining_rows
from steersman.training_data.prompts import hashes_of_prompts, prompts_of


@dataclass(frozen=True)
class PpoModels:
    """The models of a PPO run: the policy as it was loaded, with its tokeniser, and the models of all roles."""

    policy: LanguageModel
    actors: ModelActors
    whole_policy: Backbone
    """The policy for the engine, unsharded in each process."""


@dataclass(frozen=True)
class OpenRun:
    """An open PPO run before its first iteration, or where it stopped, with all that `iterate` and the stages take."""

    run: RunContext
    settings: PpoSettings
    parts: Parts
    memory: Memory
    models: PpoModels

    @property
    def actors(self) -> ModelActors:
        return self.models.actors


def run_ppo(settings: PpoSettings, *, quiet: bool = False, reward: Reward | None = None) -> RunResult:
    """Improve a policy against a scorer; the same call on the same folder resumes.

    `reward` replaces settings.scorer.
    """
    settings = as_recorded(settings, RunFolder(Path(settings.run.out)))
    before = already_finished(_job(settings, quiet=quiet))
    if before is not None:
        return before
    with open_ppo(settings, quiet=quiet, reward=reward) as opened:
        run, memory = opened.run, opened.memory
        with run.folder.progress(run.job.kind, settings.iterations, done=memory.iteration, silent=quiet):
            outcome = ppo(opened.parts, settings, memory)
        stopped = outcome.ending == "stopped"
        finish = Finish(
            "stopped" if stopped else "finished", outcome.iteration, outcome.best_iteration, outcome.held_out
        )
        if outcome.ending not in ("stopped", "finished"):
            run.notice(f"the run ended at iteration {outcome.iteration}: {outcome.ending}")
        save = partial(save_policy_and_critic, settings, opened.models.policy, opened.models.actors)
        result = conclude(run, finish, opened.models.actors, save)
        return replace(result, ending=outcome.ending)


@contextmanager
def open_ppo(settings: PpoSettings, *, quiet: bool = True, reward: Reward | None = None) -> Iterator[OpenRun]:
    """The open run and its parts, for `run_ppo` or for calling the loop's stages one by one."""
    settings = as_recorded(settings, RunFolder(Path(settings.run.out)))
    check_settings(settings)
    with (
        no_folder_if_refused(Path(settings.run.out)),
        open_run(
            _job(settings, quiet=quiet),
            partial(load_language_model, settings.model),
            data=_data(settings),
            parents={
                "model": identity_of(settings.model.path),
                "scorer": stamped_scorer(settings.scorer, reward),
                **({} if settings.reference is None else {"reference": identity_of(settings.reference)}),
                **({} if settings.environment is None else {"environment": settings.environment.path}),
            },
        ) as (run, policy),
    ):
        actors = make_actors(settings, policy, _reference(run, settings, policy))
        models = PpoModels(policy, actors, shard_actors(actors, run.world))
        memory = Memory(settings.kl.coefficient)
        offload = Offload(settings.compute, actors, run.world, run.notice)
        parts = make_parts(run, settings, models, memory, reward, offload)
        point = run.folder.resume_point(run.world)
        if point is not None:
            _restore(memory, load_checkpoint(point.path, parts.learner, run.world))
            offload.after_resuming()
            if memory.best_value is not None and settings.keep == "best":
                run.folder.mark_best_again(memory.best_iteration, "objective", memory.best_value)
            if memory.watch.best_value is not None:
                run.folder.believe_in(memory.watch.best_step)
            if isinstance(parts.engine, TakesUpWeights):
                parts.engine.refresh(memory.iteration)
        yield OpenRun(run, settings, parts, memory, models)


def _job(settings: PpoSettings, *, quiet: bool) -> Job:
    """The job. Its kind, in stamp.json, is the method: ppo, rloo, grpo …"""
    kind, following = settings.advantage.method, command_line("chat", settings.run.out)
    return Job(kind, settings, settings.run, settings.compute, following, quiet)


def _reference(run: RunContext, settings: PpoSettings, policy: LanguageModel) -> Backbone | None:
    """The reference where it is a model of its own."""
    if settings.reference is None:
        return None
    place = settings.model.model_copy(update={"path": settings.reference, "revision": None, "lora": None})
    found = load_language_model(place, run.device)
    if found.tokeniser.get_vocab() != policy.tokeniser.get_vocab():
        raise UsageError(
            f"reference={settings.reference} has another vocabulary than {settings.model.path}, so that their "
            "probabilities of a token cannot be compared; give a model with the same tokeniser"
        )
    return found.backbone


def _data(settings: PpoSettings) -> dict[str, str]:
    """Hashes of the training and held-out data, for the stamp: a run does not continue with other data."""
    held_out = settings.prompts.held_out
    sources = {
        "held out": held_out if isinstance(held_out, str) else None,
        "pretraining": settings.update.pretraining,
    }
    others = {name: hash_of_source(source) for name, source in sources.items() if source is not None}
    return {**hashes_of_prompts(settings.prompts), **others}


def make_parts(
    run: RunContext,
    settings: PpoSettings,
    models: PpoModels,
    memory: Memory,
    reward: Reward | None,
    offload: Offload,
) -> Parts:
    """The parts of the loop. Each may be replaced."""
    tokeniser, actors = models.policy.tokeniser, models.actors
    pad_id, pad_multiple = models.policy.pad_id, run.pad_multiple(models.policy.context_length)
    language = _language(tokeniser, settings)
    sampling = Sampling(**{**settings.sampling.model_dump(), "stop": language.stop})
    room = room_for_episodes(settings, models.policy.backbone, sampling)
    prompts, held_out = prompts_of(settings.prompts, language, run.notice, room=room)
    engine = _engine(run, settings, models)
    slower = engine.why_slower if isinstance(engine, NativeEngine) else ""
    if slower and run.device.type == "cuda":
        run.notice(f"answers are not drawn by recorded steps, which is several times slower ({slower})")
    scorer, watch = _scorer_and_watch(run, settings, actors, reward, offload)
    if settings.score.preference_over is not None:
        starting = StartingPolicy(engine, language, sampling)
        scorer = against_reference(run, settings, scorer, starting, prompts, held_out)
    return Parts(
        actors=actors,
        engine=engine,
        scorer=scorer,
        language=language,
        learner=_learner(run, settings, actors, memory, pad_id, offload),
        forward=ForwardSetup(
            sampling.temperature,
            run.token_budget,
            lambda rows: pad_rows(rows, pad_id=pad_id, pad_multiple=pad_multiple).to(run.device),
            autocast(run.machine.precision, run.device),
            run.world,
            unpadded=actors.backbone.skips_padding(half=run.machine.precision == "bf16"),
            on_device=offload.reading(),
        ),
        prompts=prompts,
        held_out=held_out,
        pretraining=pretraining_rows(settings, tokeniser),
        asking=Asking(sampling, settings.samples_per_prompt, run.seed, "train", playing_of(settings, run.world)),
        keeper=run.folder,
        world=run.world,
        watch=watch,
    )


def _language(tokeniser: Any, settings: PpoSettings) -> ModelLanguage:
    stop, chosen = tuple(settings.sampling.stop), settings.environment
    if chosen is None:
        return ModelLanguage(tokeniser, stop)
    return ModelLanguage(tokeniser, stop, chosen.role, chosen.observation_tokens)


def _scorer_and_watch(
    run: RunContext, settings: PpoSettings, actors: ModelActors, reward: Reward | None, offload: Offload
) -> tuple[Scorer, Watch | None]:
    """The scorer, distributed over the processes, and the watch."""
    plain = scorer_of(settings.scorer, reward, run.device, ScorerCache.of(run.folder, run.world))
    models = [actors, *models_of(plain)]
    if run.machine.compiled:
        compile_layers(models)
    if settings.compute.attention == "varlen":
        use_public_attention(models)
    scorer, watch = open_watch(run, settings.watch, plain, offload.scorer)
    scorer = offload.scorer(scorer)
    offload.check_scorers(scorer.name)
    return scorer if run.world.size == 1 else DistributedScorer(scorer, run.world), watch


def _learner(
    run: RunContext, settings: PpoSettings, actors: ModelActors, memory: Memory, pad_id: int, offload: Offload
) -> Learner[Unit, ExperienceBatch]:
    critic = [p for module in (actors.value_head, actors.critic) if module is not None for p in module.parameters()]
    if actors.value_adapter is not None:
        critic += [
            p for name, p in actors.named_parameters() if f".{actors.value_adapter}." in f"{name}." and p.requires_grad
        ]
    rate = settings.value_learning_rate
    rates = {id(p): rate for p in critic} if rate else {}
    optimiser = optimiser_of(actors, settings.optimiser, run.world, learning_rates=rates)
    half = run.machine.precision == "bf16"
    records = _records(run, settings, actors)
    return Learner(
        actors,
        Optimisation(
            optimiser,
            # The schedule counts iterations: an update that ends early must not slow it down.
            rate_at=lambda _: scheduled(settings.optimiser, memory.iteration, settings.iterations),
            max_grad_norm=settings.optimiser.max_grad_norm,
        ),
        Batching(
            Collation(
                pad_id,
                run.device,
                run.pad_multiple(actors.backbone.context_length),
                both_kinds=run.world.size > 1 and settings.update.pretraining is not None,
                buckets=records,
            ),
            card_token_budget(
                run,
                actors,
                settings.compute,
                settings.optimiser.states,
                checkpointing=settings.model.gradient_checkpointing,
            ),
            unpadded=actors.backbone.skips_padding(half=half),
            recorder=CudaRecorder() if records else None,
        ),
        run.world,
        precision=autocast(run.machine.precision, run.device),
        notice=run.notice,
        on_device=offload.learning(optimiser),
    )


def _records(run: RunContext, settings: PpoSettings, actors: ModelActors) -> bool:
    """Whether the update's passes are recorded as CUDA graphs."""
    if not settings.compute.cuda_graphs or run.device.type != "cuda":
        return False
    update = settings.update
    reasons = {
        "a recording is for one process, and there are several": run.world.size > 1,
        "rows are padded (precision fp32, or a model whose rows cannot be packed)": not actors.backbone.skips_padding(
            half=run.machine.precision == "bf16"
        ),
        "the logits do not follow from the hidden states": actors.backbone.readout is None,
        f"update.ratio={update.ratio}": update.ratio != "token",
        "update.positive_coefficient": update.positive_coefficient > 0,
    }
    against = [reason for reason, holds in reasons.items() if holds]
    if against:
        run.notice(f"compute.cuda_graphs changes nothing here: {against[0]}")
    return not against


def _engine(run: RunContext, settings: PpoSettings, models: PpoModels) -> Engine:
    """The engine. In one process it uses the trained weights themselves, and returns each token's value and entropy.

    These are exact only in float32: in bf16 the same token has other numbers in another batch.
    """
    model, dtype = models.policy, run.machine.rollout_dtype
    view = (models.whole_policy, model.adapter)
    options = DecodingOptions(paged=settings.compute.paged_cache, split=settings.compute.split_attention)
    if run.world.size > 1:
        return DistributedEngine(
            native_engine(view, model.tokeniser, dtype=dtype, options=options), model.backbone, run.world
        )
    exact = run.machine.precision == "fp32"
    head = models.actors.value_head if exact and models.actors.values_on_the_policys_trunk else None
    return native_engine(view, model.tokeniser, with_token_info=exact, value_head=head, dtype=dtype, options=options)


def _restore(memory: Memory, facts: dict[str, Any]) -> None:
    """Fill the shared memory in place: the learning-rate schedule reads the same object."""
    vars(memory).update(vars(Memory.of(facts)))
