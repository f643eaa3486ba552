"""`ppo` put together: settings -> actors, engine, scorer, prompts, run folder -> the policy that people prefer."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from steersman.assemble.device import Machine, resolve_device, resolve_machine
from steersman.assemble.language_model import LanguageModel, load_language_model
from steersman.assemble.learner import optimiser_of, scheduled
from steersman.assemble.prompts import prompts_of
from steersman.assemble.repeat import RunResult
from steersman.assemble.run import KeptRun, keep_run
from steersman.assemble.score import load_scorer
from steersman.assemble.supervised import Finish, already_finished, conclude
from steersman.batches import TokenRow, pad_rows
from steersman.data.load import load_records
from steersman.data.order import rows_of_step
from steersman.data.sources import content_hash
from steersman.errors import DataError, UsageError
from steersman.methods.ppo.collect import Asking
from steersman.methods.ppo.loop import Memory, Parts, ppo
from steersman.methods.ppo.records import ExperienceBatch, Unit, collate
from steersman.methods.ppo.roles import ModelActors
from steersman.methods.ppo.score import Reading
from steersman.models.adapters import LoraSettings, add_lora, save_adapter, set_trainable
from steersman.models.backbone import Backbone
from steersman.models.files import write_notes
from steersman.models.heads import ValueHead, save_heads
from steersman.models.reward_model import load_reward_model, trunk_of
from steersman.parallel.world import World, join, launched
from steersman.records import Demonstration, Document, Prompt
from steersman.reward.function import FunctionScorer
from steersman.reward.scorer import Scorer
from steersman.rollout.engine import Rollout, Sampling
from steersman.rollout.native import NativeEngine
from steersman.rollout.stops import answer_text
from steersman.settings.ppo import PpoSettings
from steersman.text.template import encode_demonstration, encode_document, encode_prompt
from steersman.text.tokeniser import decode, end_ids
from steersman.train.checkpoint import load_checkpoint
from steersman.train.core import Learner
from steersman.train.precision import autocast

CRITIC = "value"


def run_ppo(
    settings: PpoSettings, *, quiet: bool = False, reward: Callable[..., Any] | Scorer | None = None
) -> RunResult:
    """Improve a policy against a scorer; the same call on the same folder resumes. `reward` is a function or a scorer that takes
    the place of settings.scorer."""
    next_command = f"steersman chat {settings.run.out}"
    before = already_finished(settings, settings.run, next_command)
    if before is not None:
        return before
    if launched():
        raise UsageError("ppo runs in one process; start it without torchrun (sft and reward run in several)")
    with join(resolve_device(settings.run.device)) as world:
        torch.manual_seed(settings.run.seed)
        model = load_language_model(settings.model, world.device)
        machine = resolve_machine(
            settings.run, settings.compute, width=model.backbone.hidden_size, kept=Path(settings.run.out)
        )
        facts = {
            "threads": machine.threads,
            "deterministic": machine.facts,
            "data": {"prompts": content_hash(settings.prompts.source)},
            "parents": {"model": settings.model.path, "scorer": _scorer_name(settings, reward)},
        }
        with machine.working(), keep_run(settings, settings.run, kind="ppo", world=world, facts=facts) as kept:
            actors = make_actors(settings, model)
            memory = Memory()
            parts = make_parts(settings, model, actors, machine, world, kept, memory, reward)
            point = kept.resume_point(world)
            if point is not None:
                _restore(memory, load_checkpoint(point.path, parts.learner, world))
                if isinstance(parts.engine, NativeEngine):
                    parts.engine.refresh(memory.iteration)
            with kept.progress("ppo", settings.iterations, done=memory.iteration, silent=quiet):
                outcome = ppo(parts, settings, memory)
            finish = Finish(
                "stopped" if outcome.ending == "stopped" else "finished",
                outcome.iteration,
                outcome.best_iteration,
                outcome.held_out,
            )
            if outcome.ending not in ("stopped", "finished"):
                kept.notice(f"the run ended at iteration {outcome.iteration}: {outcome.ending}")

            def save(folder: Path) -> None:
                model.save(folder)
                save_critic(actors, folder.parent / "critic")

            return conclude(kept, finish, save=save, world=world, next_command=next_command)


def make_actors(settings: PpoSettings, model: LanguageModel) -> ModelActors:
    """Policy, critic and reference in the layout that the settings ask for."""
    backbone = model.backbone
    head = ValueHead(backbone.hidden_size).to(backbone.device)
    if settings.layout.startswith("adapters"):
        own = settings.layout == "adapters-own-critic"
        lora = settings.model.lora
        assert lora is not None
        assert model.adapter is not None
        if own:
            targets = lora.targets if isinstance(lora.targets, str) else tuple(lora.targets)
            add_lora(backbone, CRITIC, LoraSettings(lora.rank, lora.alpha, lora.dropout, targets))
        set_trainable(backbone, [model.adapter, CRITIC] if own else [model.adapter])
        return ModelActors(
            backbone,
            head,
            policy_adapter=model.adapter,
            value_adapter=CRITIC if own else None,
            critic=None,
            frozen=None,
        )
    frozen = copy.deepcopy(backbone).requires_grad_(False).eval()
    critic = _own_critic(settings, backbone, head) if settings.layout == "separate" else None
    return ModelActors(
        backbone,
        head if critic is None else critic[1],
        policy_adapter=None,
        value_adapter=None,
        critic=critic[0] if critic else None,
        frozen=frozen,
    )


def _own_critic(settings: PpoSettings, policy: Backbone, head: ValueHead) -> tuple[Backbone, ValueHead]:
    """A critic of its own: begun as the policy, or as a reward model whose score it then foresees from the start."""
    if settings.critic == "policy":
        return trunk_of(copy.deepcopy(policy)), head
    place = Path(settings.critic).expanduser()
    folder = place / "model" if (place / "recipe.toml").exists() else place
    reward = load_reward_model(folder, dtype=policy.dtype, device=policy.device)
    if reward.backbone.vocabulary != policy.vocabulary:
        raise UsageError(
            f"the critic {settings.critic} reads {reward.backbone.vocabulary} tokens and the policy writes {policy.vocabulary}; a critic reads the "
            "policy's own tokens. Use critic=policy, or a reward model made from the same base"
        )
    head = ValueHead(reward.backbone.hidden_size).to(policy.device)
    head.start_from(reward.head, mean=reward.scale.mean, std=reward.scale.std)
    return reward.backbone, head


@dataclass(frozen=True)
class Words:
    """How this model's prompts and answers become ids and text."""

    tokeniser: Any
    stop: tuple[str, ...]
    known: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])

    def encode(self, prompt: Prompt) -> Sequence[int]:
        if prompt.id not in self.known:
            self.known[prompt.id] = tuple(encode_prompt(self.tokeniser, prompt))
        return self.known[prompt.id]

    def text_of(self, rollout: Rollout) -> str:
        return answer_text(self.tokeniser, rollout, self.stop)

    def offsets_of(self, rollout: Rollout) -> list[tuple[int, int]]:
        ends = [len(decode(self.tokeniser, rollout.ids[: i + 1])) for i in range(len(rollout.ids))]
        return list(zip([0, *ends[:-1]], ends, strict=True))


def make_parts(
    settings: PpoSettings,
    model: LanguageModel,
    actors: ModelActors,
    machine: Machine,
    world: World,
    kept: KeptRun,
    memory: Memory,
    reward: Callable[..., Any] | Scorer | None,
) -> Parts:
    """Everything that the loop is given. Each part may be replaced, and the loop's stages called one by one."""
    tokeniser, backbone = model.tokeniser, model.backbone
    words = Words(tokeniser, tuple(settings.sampling.stop))
    sampling = Sampling(**{**settings.sampling.model_dump(), "stop": words.stop})
    prompts, held_out = prompts_of(settings.prompts, words, kept, room=_room(backbone, sampling))
    return Parts(
        actors=actors,
        engine=NativeEngine(
            backbone,
            end_ids=end_ids(tokeniser, getattr(backbone.hf, "generation_config", None)),
            tokeniser=tokeniser,
            acting_as=model.adapter,
        ),
        scorer=_scorer(settings, reward, world.device),
        language=words,
        learner=_learner(settings, actors, machine, world, kept, memory, tokeniser.pad_token_id),
        reading=Reading(
            sampling.temperature,
            machine.token_budget,
            lambda rows: pad_rows(rows, pad_id=tokeniser.pad_token_id, multiple=machine.multiple).to(world.device),
            autocast(machine.precision, world.device),
        ),
        prompts=prompts,
        held_out=held_out,
        pretraining=_pretraining(settings, tokeniser),
        asking=Asking(sampling, settings.samples_per_prompt, settings.run.seed, "train"),
        keeper=kept,
        world=world,
    )


def _room(backbone: Backbone, sampling: Sampling) -> int | None:
    """The longest prompt that leaves room for a whole answer."""
    return None if backbone.context_length is None else backbone.context_length - sampling.max_new_tokens


def _learner(
    settings: PpoSettings,
    actors: ModelActors,
    machine: Machine,
    world: World,
    kept: KeptRun,
    memory: Memory,
    pad_id: int,
) -> Learner[Unit, ExperienceBatch]:
    critic = [p for module in (actors.value_head, actors.critic) if module is not None for p in module.parameters()]
    if actors.value_adapter is not None:
        critic += [
            p for name, p in actors.named_parameters() if f".{actors.value_adapter}." in f"{name}." and p.requires_grad
        ]
    rates = {id(p): settings.value_learning_rate for p in critic} if settings.value_learning_rate else {}
    return Learner(
        actors,
        optimiser_of(actors, settings.optimiser, rates={key: rate for key, rate in rates.items() if rate is not None}),
        # Iterations, not optimiser steps, are what the schedule counts: an update that ends early must not slow it down.
        rate_at=lambda _: scheduled(settings.optimiser, memory.iteration, settings.iterations),
        max_grad_norm=settings.optimiser.max_grad_norm,
        token_budget=machine.token_budget,
        packed=False,
        collate=lambda units: collate(units, pad_id=pad_id, device=world.device, multiple=machine.multiple),
        world=world,
        precision=autocast(machine.precision, world.device),
        notice=kept.notice,
    )


def _scorer(settings: PpoSettings, reward: Callable[..., Any] | Scorer | None, device: torch.device) -> Scorer:
    if reward is None:
        return load_scorer(settings.scorer, device)
    return reward if isinstance(reward, Scorer) else FunctionScorer(reward)


def _scorer_name(settings: PpoSettings, reward: Callable[..., Any] | Scorer | None) -> str:
    if reward is None:
        return str(settings.scorer.path)
    return reward.name if isinstance(reward, Scorer) else getattr(reward, "__name__", "function")


def _pretraining(settings: PpoSettings, tokeniser: Any) -> Callable[[int], Sequence[TokenRow]] | None:
    """Rows of ordinary text for each optimiser step, as many as a minibatch has answers."""
    source = settings.update.pretraining
    if source is None:
        return None
    rows: list[TokenRow] = []
    for record in load_records(source, kind=(Demonstration, Document)):
        length = settings.prompts.max_length + settings.sampling.max_new_tokens
        if isinstance(record, Demonstration):
            encoded = encode_demonstration(tokeniser, record, max_length=length, loss_on="all")
        elif isinstance(record, Document):
            encoded = encode_document(tokeniser, record, max_length=length)
        else:
            continue
        if encoded.targets:
            rows.append(TokenRow(torch.tensor(encoded.ids), torch.tensor(encoded.loss)))
    if not rows:
        raise DataError(f"update.pretraining={source}: no demonstrations or texts there; expected some to mix in")
    size = max(1, settings.prompts_per_iteration * settings.samples_per_prompt // settings.update.minibatches)
    return lambda step: [rows[i] for i in rows_of_step(len(rows), min(size, len(rows)), settings.run.seed, step)]


def _restore(memory: Memory, facts: dict[str, Any]) -> None:
    """The loop and the learning rate share this one memory, so it is filled, not replaced."""
    vars(memory).update(vars(Memory.of(facts)))


def save_critic(actors: ModelActors, folder: Path) -> None:
    """The value function beside the policy: its head, and its trunk or adapter where it has one of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    if actors.critic is not None:
        actors.critic.trunk.save_pretrained(folder)
    elif actors.value_adapter is not None:
        save_adapter(actors.backbone, actors.value_adapter, folder)
    save_heads({"value": actors.value_head}, folder)
    write_notes(folder, {"kind": "critic", "family": actors.backbone.family, "trunk": _trunk_of(actors)})


def _trunk_of(actors: ModelActors) -> str:
    if actors.critic is not None:
        return "own model"
    return "own adapter" if actors.value_adapter is not None else "the policy's"
