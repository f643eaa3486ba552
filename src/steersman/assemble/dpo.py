"""`dpo`: settings -> a model trained on judgements, beside a reference's log-probs of the judged answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from steersman.batches import TokenRow
from steersman.data.tokens import tokeniser_hash
from steersman.errors import ModelError, UsageError
from steersman.execution.beginning import begins_run
from steersman.execution.context import Job, RunContext, open_run
from steersman.execution.ending import Finish, RunResult, already_finished, conclude
from steersman.execution.fit import Task, TrainingRows, learn
from steersman.execution.learner import padded_for
from steersman.inference.distance import NAME, distance
from steersman.loading.language_model import load_language_model, saving, shard_model
from steersman.methods.dpo import (
    NEEDS_NO_REFERENCE,
    DirectPreference,
    JudgedGroup,
    KahnemanTversky,
    coefficients,
    collate,
    sum_per_answer,
)
from steersman.models.answer_kl import ModelView
from steersman.models.backbone import Backbone
from steersman.models.language_model import LanguageModel
from steersman.models.rows import run_rows
from steersman.runs.commands import command_line
from steersman.runs.identity import identity_of
from steersman.runs.journal import read_rows
from steersman.settings.dpo import LOSSES, USED_BY, DpoSettings, PreferenceSettings
from steersman.text.tokeniser import PAD
from steersman.training_data.judgements import Judgements, read_both
from steersman.training_data.reference import ReferenceLogProbs, key_of, reference_log_probs
from steersman.training_data.split import content_of

TRIES = 8
"""Draws of an answer to another prompt; where nearly all answers are to one prompt, the last draw is taken."""


@dataclass(frozen=True)
class Side:
    """Judged answers by group, with the reference's log-probs; for kto also those of one mismatched answer a group."""

    judgements: Judgements
    reference: ReferenceLogProbs
    mismatched: Callable[[int], TokenRow]
    """A group's prompt with an answer to another prompt."""
    mismatched_reference: ReferenceLogProbs | None

    def __len__(self) -> int:
        return len(self.judgements)

    def prompts(self) -> list[tuple[int, ...]]:
        """The ids of each prompt, once."""
        first = (self.judgements.rows.row(int(start)) for start in self.judgements.starts[:-1])
        return list(dict.fromkeys(tuple(row.ids[: int(row.loss_mask.nonzero()[0])].tolist()) for row in first))

    def units(self) -> list[JudgedGroup]:
        return [self.unit(i) for i in range(len(self))]

    def unit(self, index: int) -> JudgedGroup:
        starts = self.judgements.starts
        rows = range(int(starts[index]), int(starts[index + 1]))
        if self.mismatched_reference is None:
            return JudgedGroup(self.judgements.group(index), self.reference.of(rows))
        row = self.mismatched(index)
        mismatched = (row, float(self.mismatched_reference.of([index]).sum()))
        return JudgedGroup(self.judgements.group(index), self.reference.of(rows), mismatched)


@begins_run
def run_dpo(settings: DpoSettings, *, quiet: bool = False) -> RunResult:
    """Learn from judgements directly; the same call on the same folder resumes."""
    job = Job("dpo", settings, settings.run, settings.train, command_line("chat", settings.run.out), quiet)
    before = already_finished(job)
    if before is not None:
        return before
    _check(settings)
    with open_run(
        job,
        partial(load_language_model, settings.model),
        data=content_of(settings.data),
        parents={"model": identity_of(settings.model.path), "reference": identity_of(reference_of(settings))},
    ) as (run, model):
        backbone = model.backbone
        train, held_out = both_sides(run, settings, model)
        shard_model(backbone, backbone, run.world, entrances=("hidden", "log_probs"))
        rows = TrainingRows(len(train), train.unit, [] if held_out is None else held_out.units())
        task = Task(
            objective_of(settings, model, run.token_budget),
            padded_for(run, model, collate),
            partial(preference_loss, settings),
        )
        finish = learn(run, settings, backbone, rows, task)
        if held_out is not None and finish.ending != "stopped" and run.world.size == 1:
            finish = with_distance(run, settings, finish, held_out, model)
        return conclude(run, finish, backbone, saving(settings.model, model))


def both_sides(run: RunContext, settings: DpoSettings, model: LanguageModel) -> tuple[Side, Side | None]:
    """Training and held-out judgements, each with the reference's log-probs."""
    train, held_out = read_both(
        run, settings.data, settings.ties, model, thumbs=settings.loss == "kto", too_long=settings.too_long
    )
    reference = ReferencePass(run, settings, model)
    return reference.side(train, "train"), None if held_out is None else reference.side(held_out, "held-out")


def _check(settings: DpoSettings) -> None:
    if settings.train.packing:
        raise UsageError(
            "train.packing lays several answers into one row, and dpo compares whole answers; leave it out"
        )
    refuse_what_has_no_place(settings)


def refuse_what_has_no_place(settings: PreferenceSettings) -> None:
    """Raise if a setting is given that the chosen loss does not use."""
    fields = type(settings).model_fields
    for name, losses in USED_BY.items():
        # A run that began before a default changed has the earlier one, which nobody gave.
        usual = (fields[name].default, settings.earlier_defaults.get(name)) if name in fields else ()
        given = name in fields and getattr(settings, name) not in usual
        if given and settings.loss not in losses:
            used = "every other" if len(losses) == len(LOSSES) - 1 else ", ".join(losses)
            raise UsageError(f"loss={settings.loss} has no place for {name}; it is used by {used}. Leave it out")
    if settings.loss == "robust" and not settings.label_smoothing:
        raise UsageError(
            "loss=robust corrects for labels that are wrong, and label_smoothing, their share, is 0; give one, such "
            "as 0.1"
        )
    if settings.length == "desensitised" and (settings.divergence != "reverse_kl" or settings.loss.startswith("apo")):
        seen = settings.loss if settings.loss.startswith("apo") else f"divergence={settings.divergence}"
        raise UsageError(
            f"length=desensitised weights tokens by the pair, and {seen} needs one log-ratio for each answer; choose "
            "length=sum or mean"
        )
    if settings.divergence != "alpha" and settings.divergence_alpha != fields["divergence_alpha"].default:
        raise UsageError(
            f"divergence_alpha is the alpha of divergence=alpha, and divergence={settings.divergence}; leave it out"
        )
    if settings.length != "desensitised" and settings.alpha != fields["alpha"].default:
        raise UsageError(
            f"alpha is what tokens count that length=desensitised finds too many, and length={settings.length}; leave "
            "it out"
        )


def preference_loss(settings: PreferenceSettings, found: Mapping[str, float]) -> dict[str, float]:
    return {"loss": sum(each * found.get(name, 0.0) for name, each in coefficients(settings).items())}


def with_distance(
    run: RunContext, settings: DpoSettings, finish: Finish, held_out: Side, model: LanguageModel
) -> Finish:
    """The finish, with the KL to the reference added.

    A run that was killed after measuring it reads it from its journal.
    """
    name, rows = f"held-out {NAME}", read_rows(run.folder.folder.journal_path)[0]
    nats = next((row[name] for row in rows if name in row), None)
    if nats is None and settings.distance.prompts:
        for parameter in model.backbone.parameters():
            parameter.grad = None  # room for a second model
        reference = reference_view(settings, model)
        nats = distance(
            held_out.prompts(), model, reference, settings.distance, seed=run.seed, token_budget=run.token_budget
        )
        if nats is not None:
            run.folder.journal({"step": finish.best_step, name: nats})
    return finish if nats is None else replace(finish, held_out={**finish.held_out, NAME: nats})


def reference_view(settings: PreferenceSettings, model: LanguageModel) -> ModelView:
    """The reference model during training: the base beneath the adapter, or a model of its own."""
    if settings.reference is None and model.adapter is not None:
        return model.backbone, None
    return other_reference(settings, model).backbone, None


def other_reference(settings: PreferenceSettings, model: LanguageModel) -> LanguageModel:
    """The reference loaded as a model of its own."""
    place = {"path": reference_of(settings), "lora": None, "quantise": None}
    # A policy of version 0.2 may have a PAD that was added to it; the base that it is compared with has it then, too.
    added = settings.model.own_pad or model.tokeniser.pad_token == PAD
    other = load_language_model(settings.model.model_copy(update=place), model.backbone.device, own_pad=added)
    if not other.tokeniser.chat_template:
        other.tokeniser.chat_template = model.tokeniser.chat_template  # ours, if the model was given it
    if tokeniser_hash(other.tokeniser) != tokeniser_hash(model.tokeniser):
        raise ModelError(
            f"reference={settings.reference} has another tokeniser than {settings.model.path}, so their "
            "log-probabilities cannot be compared; give a reference of the same family"
        )
    return other


def reference_of(settings: PreferenceSettings) -> str:
    return settings.reference or settings.model.path


@dataclass(frozen=True)
class ReferencePass:
    """Computes the reference's log-probs of each row, before anything is learned."""

    run: RunContext
    settings: DpoSettings
    model: LanguageModel

    def side(self, judgements: Judgements, name: str) -> Side:
        longest = self.settings.data.max_length
        log_probs = self._log_probs(len(judgements.rows), judgements.rows.row, f"reference-{name}")
        row = partial(mismatched_row, judgements, longest, chosen=self.settings.mismatched)
        mismatched = None
        if self.settings.loss == "kto":
            mismatched = self._log_probs(len(judgements), row, f"strangers-{name}")
        return Side(judgements, log_probs, row, mismatched)

    def _log_probs(self, count: int, row: Callable[[int], TokenRow], name: str) -> ReferenceLogProbs:
        return reference_log_probs(
            count,
            row,
            self._reference,
            self.run.path / "tokens" / f"{name}-{self._key}.bin",
            pad_id=self.model.pad_id,
            token_budget=self.run.token_budget,
            world=self.run.world,
        )

    @cached_property
    def _key(self) -> str:
        """The hash of all that decides the log-probs; the data and the reference are read for it once."""
        return key_of(
            reference=None if self._reference is None else identity_of(reference_of(self.settings)),
            data=content_of(self.settings.data),
            settings=[
                self.settings.data.model_dump(),
                *(self.settings.ties, self.settings.too_long, self.settings.mismatched),
            ],
            tokeniser=tokeniser_hash(self.model.tokeniser),
        )

    @cached_property
    def _reference(self) -> Backbone | None:
        """None where the loss needs no reference."""
        if self.settings.loss in NEEDS_NO_REFERENCE:
            return None
        if self.settings.reference is None:
            return self.model.backbone  # before training, and a new adapter changes nothing
        return other_reference(self.settings, self.model).backbone


def mismatched_row(judgements: Judgements, longest: int, index: int, *, chosen: Literal["any", "next"]) -> TokenRow:
    """A group's prompt with an answer to another prompt, for kto's KL baseline: any answer, the same in each run, or
    the first one of the next group."""
    starts, rows = judgements.starts, judgements.rows
    own = rows.row(int(starts[index]))
    prompt = _prompt_of(own)
    other = rows.row(int(starts[(index + 1) % len(judgements)]))
    if chosen == "any":
        random = np.random.default_rng(index)
        for _ in range(TRIES):
            other = rows.row(int(random.integers(len(rows))))
            if not torch.equal(_prompt_of(other), prompt):
                break
    answer = other.ids[int(other.loss_mask.nonzero()[0]) :]
    ids = torch.cat([prompt, answer])[: max(longest, len(prompt) + 1)]
    return TokenRow(ids, torch.arange(len(ids)) >= len(prompt))


def _prompt_of(row: TokenRow) -> Tensor:
    return row.ids[: int(row.loss_mask.nonzero()[0])]


def objective_of(settings: DpoSettings, model: LanguageModel, token_budget: int) -> DirectPreference | KahnemanTversky:
    if settings.loss != "kto":
        return DirectPreference(settings)
    return KahnemanTversky(settings, baseline_by(model, token_budget))


def baseline_by(model: LanguageModel, token_budget: int) -> Callable[[Sequence[JudgedGroup]], float]:
    """kto's baseline over a global batch: the mean log-ratio of mismatched answers."""
    backbone = model.backbone

    def baseline(units: Sequence[JudgedGroup]) -> float:
        mismatched_rows = [unit.mismatched for unit in units if unit.mismatched is not None]
        found = run_rows(
            [row for row, _ in mismatched_rows],
            lambda batch: sum_per_answer(backbone.log_probs(batch)[0], batch)[:, None],
            pad_id=model.pad_id,
            token_budget=token_budget,
            device=backbone.device,
        )
        return float(found.sum() - sum(reference for _, reference in mismatched_rows)) / len(mismatched_rows)

    return baseline
