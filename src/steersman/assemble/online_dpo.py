"""`online-dpo`: settings -> a policy trained on pairs of its own answers, judged by a scorer during training.

Only the source of a step's pairs differs from DPO. The pairs follow from the step's number and its first weights, so a
run resumes without storing samples.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from steersman.assemble.dpo import preference_loss, reference_of, reference_view, refuse_what_has_no_place
from steersman.batches import AnswerGroup
from steersman.errors import UsageError
from steersman.execution.beginning import begins_run
from steersman.execution.context import Job, RunContext, open_run
from steersman.execution.ending import Finish, RunResult, already_finished, conclude
from steersman.execution.fit import RowsMadeByStep, RowsOfStep, Task, learn
from steersman.execution.learner import padded_for
from steersman.inference.distance import NAME
from steersman.loading.engines import ending_of, native_engine
from steersman.loading.language_model import load_language_model, saving, shard_model
from steersman.loading.scorers import Reward, ScorerCache, scorer_of, stamped_scorer
from steersman.loading.sources import refuse_missing_source
from steersman.methods.dpo import DirectPreference, JudgedBatch, JudgedGroup, collate
from steersman.methods.online_dpo import judged_pairs
from steersman.methods.online_opponents import Exploratory, NashMirrorDescent, against_opponent
from steersman.methods.ppo.collect import Asking, collect, prompts_of_iteration
from steersman.methods.ppo.distributed import DistributedEngine, DistributedScorer, SplitEngine, checked_scores
from steersman.methods.ppo.records import Sample
from steersman.models.acting import acting_as
from steersman.models.answer_kl import ModelView, answer_kl
from steersman.models.language_model import LanguageModel
from steersman.parallel.world import World
from steersman.records import Prompt
from steersman.reward.scorer import Scorer
from steersman.rollout.engine import Engine, Sampling
from steersman.rollout.language import ModelLanguage, room_for_prompts
from steersman.rollout.mixture import MixtureEngine
from steersman.rollout.native import NativeEngine
from steersman.runs.commands import command_line
from steersman.runs.identity import identity_of
from steersman.runs.journal import read_rows
from steersman.settings.dpo import OnlineDpoSettings
from steersman.train.objective import Objective
from steersman.training_data.prompts import hashes_of_prompts, prompts_of
from steersman.training_data.reference import shared_log_probs

Samples = NativeEngine | DistributedEngine


@dataclass(frozen=True)
class PairMaker:
    """Samples answers, scores them, and makes judged pairs of them."""

    run: RunContext
    settings: OnlineDpoSettings
    model: LanguageModel
    language: ModelLanguage
    scorer: Scorer
    policy: ModelView
    """The policy that samples: with several processes a whole copy of the one that learns."""
    reference: ModelView

    @property
    def sampling(self) -> Sampling:
        return sampling_of(self.settings, self.language)

    def engine(self, voice: ModelView) -> Samples:
        """An engine that answers as this model; with several processes each answers a share."""
        plain = native_engine(voice, self.model.tokeniser)
        return plain if self.run.world.size == 1 else DistributedEngine(plain, self.model.backbone, self.run.world)

    def samples(
        self, engine: Engine, prompts: Sequence[Prompt], each: int, *, step: int, purpose: str
    ) -> tuple[list[Sample], list[float]]:
        asking = Asking(self.sampling, each, self.run.seed, purpose)
        found = collect(prompts, engine, self.language, asking, iteration=step)
        scores = checked_scores(self.scorer, [(sample.prompt, sample.text) for sample in found])
        return found, [score.value for score in scores]

    def pairs(self, samples: Sequence[Sample], scores: Sequence[float]) -> list[JudgedGroup]:
        """The best and the worst answer to each prompt, with the reference's log-probs."""
        each, labels = self.settings.samples_per_prompt, self.settings.labels
        pairs = judged_pairs(samples, scores, each=each, labels=labels)
        return self.with_reference([pair.group for pair in pairs])

    def with_reference(self, groups: Sequence[AnswerGroup]) -> list[JudgedGroup]:
        """The pairs, each with the reference's log-probs of its answers."""
        rows = [row for group in groups for row in group.rows]
        backbone, adapter = self.reference
        pad_id, budget = self.model.pad_id, self.run.token_budget
        with acting_as(backbone, adapter):
            found = shared_log_probs(rows, backbone, pad_id=pad_id, token_budget=budget, world=self.run.world)
        log_probs = [torch.from_numpy(row) for row in found]
        return [JudgedGroup(group, torch.cat(log_probs[2 * i : 2 * i + 2])) for i, group in enumerate(groups)]


@begins_run
def run_online_dpo(settings: OnlineDpoSettings, *, quiet: bool = False, reward: Reward | None = None) -> RunResult:
    """Learn from a scorer's judgements of the policy's own answers; the same call on the same folder resumes.

    `reward` replaces settings.scorer.
    """
    job = Job("online-dpo", settings, settings.run, settings.train, command_line("chat", settings.run.out), quiet)
    before = already_finished(job)
    if before is not None:
        return before
    _check(settings)
    if isinstance(settings.prompts.held_out, str):
        refuse_missing_source(settings.prompts.held_out)
    parents = {
        "model": identity_of(settings.model.path),
        "reference": identity_of(reference_of(settings)),
        "scorer": stamped_scorer(settings.scorer, reward),
    }
    with open_run(
        job,
        partial(load_language_model, settings.model),
        data=hashes_of_prompts(settings.prompts),
        parents=parents,
    ) as (run, model):
        language = ModelLanguage(model.tokeniser, tuple(settings.sampling.stop))
        room = room_for_prompts(model.backbone, sampling_of(settings, language))
        prompts, held_out = prompts_of(settings.prompts, language, run.notice, room=room)
        scorer = scorer_of(settings.scorer, reward, run.device, ScorerCache.of(run.folder, run.world))
        policy, reference = whole_views(run.world, settings, model)
        if run.world.size > 1:
            scorer = DistributedScorer(scorer, run.world)
        maker = PairMaker(run, settings, model, language, scorer, policy, reference)
        engine = maker.engine(policy)
        rows = RowsMadeByStep(len(prompts), _pairs_of_step(maker, engine, prompts), _held_out(maker, held_out))
        task = Task(_objective(settings), padded_for(run, model, collate), partial(preference_loss, settings))
        finish = learn(run, settings, model.backbone, rows, task)
        if finish.ending != "stopped" and held_out and settings.distance.prompts:
            finish = _measured(maker, engine, held_out, finish)
        return conclude(run, finish, model.backbone, saving(settings.model, model))


def whole_views(world: World, settings: OnlineDpoSettings, model: LanguageModel) -> tuple[ModelView, ModelView]:
    """The policy that samples and the reference, both whole in each process; the model that learns is sharded."""
    reference = reference_view(settings, model)
    if world.size == 1:
        return (model.backbone, model.adapter), reference
    plain = copy.deepcopy(model.backbone)
    shard_model(model.backbone, model.backbone, world, entrances=("hidden", "log_probs"))
    return (plain, model.adapter), (plain, None) if reference[0] is model.backbone else reference


def sampling_of(settings: OnlineDpoSettings, language: ModelLanguage) -> Sampling:
    return Sampling(**{**settings.sampling.model_dump(), "stop": language.stop})


def _check(settings: OnlineDpoSettings) -> None:
    if settings.loss == "kto":
        raise UsageError("online DPO judges pairs, and loss=kto learns from single answers; choose another loss")
    if settings.train.packing:
        raise UsageError(
            "train.packing lays several answers into one row, and online DPO compares whole answers; leave it out"
        )
    if settings.distance.max_new_tokens != type(settings.distance)().max_new_tokens:
        raise UsageError(
            "online DPO measures answers as it samples them; set sampling.max_new_tokens instead of "
            "distance.max_new_tokens"
        )
    refuse_what_has_no_place(settings)


def _held_out(maker: PairMaker, prompts: Sequence[Prompt]) -> list[JudgedGroup]:
    """Pairs of the reference's answers: the same after a resume, and for runs that are compared."""
    if not prompts or not maker.settings.distance.prompts:
        return []
    engine = maker.engine(maker.reference)
    chosen = prompts[: maker.settings.distance.prompts]
    each = maker.settings.samples_per_prompt
    return maker.pairs(*maker.samples(engine, chosen, each, step=0, purpose="held-out pairs"))


def _pairs_of_step(maker: PairMaker, engine: Samples, prompts: Sequence[Prompt]) -> RowsOfStep:
    """A function that makes the pairs of a step with its first weights."""
    settings, opponent = maker.settings, _opponent(maker)

    def rows_of(step: int) -> list[JudgedGroup]:
        engine.refresh(step)
        chosen = prompts_of_iteration(len(prompts), settings.train.batch_size, seed=maker.run.seed, iteration=step)
        each = settings.samples_per_prompt if opponent is None else 1
        samples, scores = maker.samples(engine, [prompts[i] for i in chosen], each, step=step, purpose="train")
        maker.run.folder.journal(
            {
                # the step that comes next: a resumed run repeats it, and writes this row again
                "step": step + 1,
                "score": sum(scores) / len(scores),
                "answer length": sum(len(sample.rollout.ids) for sample in samples) / len(samples),
                "ended with EOS": sum(sample.rollout.finish_reason != "length" for sample in samples) / len(samples),
            }
        )
        if opponent is None:
            return maker.pairs(samples, scores)
        theirs = maker.samples(opponent, [prompts[i] for i in chosen], 1, step=step, purpose="opponent")
        judge = "soft" if settings.method == "nash_md" else settings.labels
        return maker.with_reference(against_opponent(samples, theirs[0], scores, theirs[1], judge))

    return rows_of


def _opponent(maker: PairMaker) -> Engine | None:
    """What gives the second answer of each pair; None if the policy gives all."""
    settings, tokeniser = maker.settings, maker.model.tokeniser
    if settings.method == "online_dpo":
        return None
    if settings.method == "xpo":
        return maker.engine(maker.reference)
    mixture = MixtureEngine(
        maker.policy,
        maker.reference,
        share=settings.mixture,
        ending=ending_of(maker.model.backbone, tokeniser),
        token_budget=maker.run.token_budget,
    )
    return mixture if maker.run.world.size == 1 else SplitEngine(mixture, maker.run.world)


def _objective(settings: OnlineDpoSettings) -> Objective[JudgedGroup, JudgedBatch]:
    if settings.method == "nash_md":
        return NashMirrorDescent(settings)
    return DirectPreference(settings) if settings.method == "online_dpo" else Exploratory(settings)


def _measured(maker: PairMaker, engine: Samples, prompts: Sequence[Prompt], finish: Finish) -> Finish:
    """The finish, with the policy's score and KL to the reference on held-out prompts."""
    rows = read_rows(maker.run.folder.folder.journal_path)[0]
    found = next((row for row in rows if f"held-out {NAME}" in row), None)
    found = maker.run.world.exchange(found)[0]
    if found is None:
        engine.refresh(finish.step)
        chosen = prompts[: maker.settings.distance.prompts]
        samples, scores = maker.samples(engine, chosen, 1, step=0, purpose="held-out")
        nats = answer_kl(
            [sample.row for sample in samples],
            maker.policy,
            maker.reference,
            pad_id=maker.model.pad_id,
            token_budget=maker.run.token_budget,
            temperature=maker.sampling.logit_temperature,
        )
        numbers = {f"held-out {NAME}": float(nats.mean()), "held-out score": sum(scores) / len(scores)}
        found = {"step": finish.best_step, **numbers}
        maker.run.folder.journal(found)
    names = (NAME, "score")
    return replace(finish, held_out={**finish.held_out, **{name: found[f"held-out {name}"] for name in names}})
