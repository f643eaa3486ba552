"""`online-dpo` put together: policy, prompts, scorer -> pairs made and judged as the policy learns -> the model the scorer prefers.

Everything but where a step's pairs come from is DPO's. They follow from the step's number and the weights it begins with, so a run
resumes without keeping what was sampled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from steersman.assemble.dpo import preference_loss, reference_of, reference_voice, refuse_what_has_no_place
from steersman.data.sources import content_hash
from steersman.errors import UsageError
from steersman.execution.ending import Finish, RunResult, already_finished, conclude
from steersman.execution.fit import SelectionMetric, TrainingRows, learn
from steersman.execution.kept import OpenRunFolder, identity_of, keep_run
from steersman.execution.machine import resolve_device, resolve_machine
from steersman.inference.distance import NAME
from steersman.loading.engines import native_engine
from steersman.loading.language_model import load_language_model
from steersman.loading.scorers import Reward, ScorerCache, name_of, scorer_of
from steersman.methods.dpo import DirectPreference, JudgedGroup, collate
from steersman.methods.online_dpo import judged_pairs
from steersman.methods.ppo.collect import Asking, collect, prompts_of_iteration
from steersman.methods.ppo.distributed import checked_scores
from steersman.methods.ppo.records import Sample
from steersman.models.acting import acting_as
from steersman.models.answer_kl import ModelView, answer_kl
from steersman.models.rows import log_probs_of
from steersman.parallel.world import join
from steersman.records import Prompt
from steersman.reward.scorer import Scorer
from steersman.rollout.engine import Sampling
from steersman.rollout.language import ModelLanguage, room_for_prompts
from steersman.rollout.native import NativeEngine
from steersman.runs.journal import read_rows
from steersman.settings.dpo import OnlineDpoSettings
from steersman.training_data.prompts import prompts_of


@dataclass(frozen=True)
class Sampler:
    """Makes and judges pairs."""

    settings: OnlineDpoSettings
    words: ModelLanguage
    sampling: Sampling
    scorer: Scorer
    reference: ModelView
    pad_id: int
    token_budget: int

    def samples(
        self, engine: NativeEngine, prompts: Sequence[Prompt], each: int, *, step: int, purpose: str
    ) -> tuple[list[Sample], list[float]]:
        asking = Asking(self.sampling, each, self.settings.run.seed, purpose)
        found = collect(prompts, engine, self.words, asking, iteration=step)
        scores = checked_scores(self.scorer, [(sample.prompt, sample.text) for sample in found])
        return found, [score.value for score in scores]

    def units(self, samples: Sequence[Sample], scores: Sequence[float]) -> list[JudgedGroup]:
        """The pairs, each with the reference's opinion of its answers."""
        groups = [pair.group for pair in judged_pairs(samples, scores, each=self.settings.samples_per_prompt)]
        rows = [row for group in groups for row in group.rows]
        backbone, adapter = self.reference
        with acting_as(backbone, adapter):
            opinions = [
                torch.from_numpy(found) for found in log_probs_of(rows, backbone, self.pad_id, self.token_budget)
            ]
        return [JudgedGroup(group, torch.cat(opinions[2 * i : 2 * i + 2])) for i, group in enumerate(groups)]


def run_online_dpo(settings: OnlineDpoSettings, *, quiet: bool = False, reward: Reward | None = None) -> RunResult:
    """Learn from a scorer's judgements of the policy's own answers; the same call on the same folder resumes. `reward` takes the place
    of settings.scorer."""
    next_command = f"steersman chat {settings.run.out}"
    before = already_finished(settings, settings.run, next_command)
    if before is not None:
        return before
    _check(settings)
    with join(resolve_device(settings.run.device)) as world:
        if world.size > 1:
            raise UsageError(
                "online DPO works in one process; start it without torchrun, or use ppo or rloo in several"
            )
        torch.manual_seed(settings.run.seed)
        model = load_language_model(settings.model, world.device)
        backbone, pad = model.backbone, model.tokeniser.pad_token_id
        machine = resolve_machine(settings.run, settings.train, width=backbone.hidden_size, kept=Path(settings.run.out))
        facts = {
            "threads": machine.threads,
            "deterministic": machine.facts,
            "data": {"prompts": content_hash(settings.prompts.source)},
            "parents": {
                "model": identity_of(settings.model.path),
                "reference": identity_of(reference_of(settings)),
                "scorer": name_of(settings.scorer, reward),
            },
        }
        with machine.working(), keep_run(settings, settings.run, kind="online-dpo", world=world, facts=facts) as kept:
            words = ModelLanguage(model.tokeniser, tuple(settings.sampling.stop))
            sampling = Sampling(**{**settings.sampling.model_dump(), "stop": words.stop})
            context = backbone.context_length
            room = room_for_prompts(backbone, sampling)
            prompts, held_out = prompts_of(settings.prompts, words, kept.notice, room=room)
            reference = reference_voice(settings, model)
            scorer = scorer_of(settings.scorer, reward, world.device, ScorerCache.of(kept, world))
            sampler = Sampler(settings, words, sampling, scorer, reference, pad, machine.token_budget)
            engine = native_engine((backbone, model.adapter), model.tokeniser)
            finish = learn(
                backbone,
                TrainingRows(len(prompts), _no_unit, _held_out(sampler, held_out, model.tokeniser)),
                DirectPreference(settings),
                lambda units: collate(
                    units, pad_id=pad, device=world.device, pad_multiple=machine.pad_multiple_within(context)
                ),
                optimiser=settings.optimiser,
                train=settings.train,
                seed=settings.run.seed,
                checkpoint_every=settings.run.checkpoint_every,
                judged=SelectionMetric("loss", higher_is_better=False, derive=partial(preference_loss, settings)),
                kept=kept,
                machine=machine,
                world=world,
                label="online dpo",
                quiet=quiet,
                rows_of=_living(sampler, engine, prompts, kept),
            )
            if finish.ending != "stopped" and held_out and settings.distance.prompts:
                finish = _measured(sampler, engine, (backbone, model.adapter), held_out, kept, finish)
            return conclude(kept, finish, save=model.save, world=world, next_command=next_command)


def _check(settings: OnlineDpoSettings) -> None:
    if settings.loss == "kto":
        raise UsageError("online DPO judges pairs, and loss=kto learns from single answers; choose another loss")
    if settings.train.packing:
        raise UsageError(
            "train.packing lays several answers into one row, and online DPO compares whole answers; leave it out"
        )
    if settings.distance.max_new_tokens != type(settings.distance)().max_new_tokens:
        raise UsageError(
            "online DPO measures answers as it samples them; set sampling.max_new_tokens instead of distance.max_new_tokens"
        )
    refuse_what_has_no_place(settings)


def _no_unit(index: int) -> JudgedGroup:
    raise AssertionError(f"pairs are made by the step, and there is none with the number {index}")


def _held_out(sampler: Sampler, prompts: Sequence[Prompt], tokeniser: object) -> list[JudgedGroup]:
    """Pairs that the reference made: the same whenever the run is resumed, and for runs that are compared."""
    if not prompts or not sampler.settings.distance.prompts:
        return []
    engine = native_engine(sampler.reference, tokeniser)
    chosen = prompts[: sampler.settings.distance.prompts]
    each = sampler.settings.samples_per_prompt
    return sampler.units(*sampler.samples(engine, chosen, each, step=0, purpose="held-out pairs"))


def _living(
    sampler: Sampler, engine: NativeEngine, prompts: Sequence[Prompt], kept: OpenRunFolder
) -> Callable[[int], list[JudgedGroup]]:
    """The pairs of a step, made by the weights that it begins with."""
    settings = sampler.settings

    def rows_of(step: int) -> list[JudgedGroup]:
        engine.refresh(step)
        chosen = prompts_of_iteration(len(prompts), settings.train.batch_size, seed=settings.run.seed, iteration=step)
        each = settings.samples_per_prompt
        samples, scores = sampler.samples(engine, [prompts[i] for i in chosen], each, step=step, purpose="train")
        kept.journal(
            {
                # the step that is about to be done: a resumed run makes it, and this row, again
                "step": step + 1,
                "score": sum(scores) / len(scores),
                "answer length": sum(len(sample.rollout.ids) for sample in samples) / len(samples),
                "ended with EOS": sum(sample.rollout.finish_reason != "length" for sample in samples) / len(samples),
            }
        )
        return sampler.units(samples, scores)

    return rows_of


def _measured(
    sampler: Sampler,
    engine: NativeEngine,
    voice: ModelView,
    prompts: Sequence[Prompt],
    kept: OpenRunFolder,
    finish: Finish,
) -> Finish:
    """What the finished policy answers to held-out prompts: its score, and how far it is from the reference."""
    rows = read_rows(kept.folder.journal_path)[0]
    found = next((row for row in rows if f"held-out {NAME}" in row), None)
    if found is None:
        engine.refresh(finish.step)
        chosen = prompts[: sampler.settings.distance.prompts]
        samples, scores = sampler.samples(engine, chosen, 1, step=0, purpose="held-out")
        nats = answer_kl(
            [sample.row for sample in samples],
            voice,
            sampler.reference,
            pad_id=sampler.pad_id,
            token_budget=sampler.token_budget,
            temperature=sampler.sampling.logit_temperature,
        )
        numbers = {f"held-out {NAME}": float(nats.mean()), "held-out score": sum(scores) / len(scores)}
        found = {"step": finish.best_step, **numbers}
        kept.journal(found)
    names = (NAME, "score")
    return replace(finish, held_out={**finish.held_out, **{name: found[f"held-out {name}"] for name in names}})
