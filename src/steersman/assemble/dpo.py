"""`dpo` put together: settings -> model, judgements, the reference's opinion of them, run folder -> the model people prefer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from steersman.batches import TokenRow
from steersman.data.tokens import tokeniser_hash
from steersman.errors import ModelError, UsageError
from steersman.execution.ending import Finish, RunResult, already_finished, conclude
from steersman.execution.fit import SelectionMetric, TrainingRows, learn
from steersman.execution.kept import OpenRunFolder, identity_of, keep_run
from steersman.execution.machine import resolve_device, resolve_machine
from steersman.inference.distance import NAME, distance
from steersman.loading.language_model import load_language_model, shard_model, whole_again
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
from steersman.parallel.world import World, join
from steersman.runs.journal import read_rows
from steersman.settings.dpo import LOSSES, USED_BY, DpoSettings, PreferenceSettings
from steersman.train.checkpoint import weight_tensors
from steersman.training_data.judgements import Judgements, read_both
from steersman.training_data.reference import ReferenceLogProbs, key_of, reference_log_probs
from steersman.training_data.split import content_of


@dataclass(frozen=True)
class Side:
    """SelectionMetric answers by group, each row with the reference's opinion of it, and for kto its opinion of each group's stranger."""

    judgements: Judgements
    longest: int
    reference: ReferenceLogProbs
    mismatched_reference: ReferenceLogProbs | None

    def __len__(self) -> int:
        return len(self.judgements)

    def prompts(self) -> list[tuple[int, ...]]:
        """The ids of each prompt, once."""
        first = (self.judgements.rows.row(int(start)) for start in self.judgements.starts[:-1])
        return list(dict.fromkeys(tuple(row.ids[: int(row.loss_mask.nonzero()[0])].tolist()) for row in first))

    def unit(self, index: int) -> JudgedGroup:
        starts = self.judgements.starts
        rows = range(int(starts[index]), int(starts[index + 1]))
        if self.mismatched_reference is None:
            return JudgedGroup(self.judgements.group(index), self.reference.of(rows))
        row = mismatched_row(self.judgements, self.longest, index)
        mismatched = (row, float(self.mismatched_reference.of([index]).sum()))
        return JudgedGroup(self.judgements.group(index), self.reference.of(rows), mismatched)


def run_dpo(settings: DpoSettings, *, quiet: bool = False) -> RunResult:
    """Learn from judgements directly; the same call on the same folder resumes."""
    next_command = f"steersman chat {settings.run.out}"
    before = already_finished(settings, settings.run, next_command)
    if before is not None:
        return before
    _check(settings)
    with join(resolve_device(settings.run.device)) as world:
        torch.manual_seed(settings.run.seed)
        model = load_language_model(settings.model, world.device)
        backbone, pad = model.backbone, model.tokeniser.pad_token_id
        context = backbone.context_length
        machine = resolve_machine(settings.run, settings.train, width=backbone.hidden_size, kept=Path(settings.run.out))
        facts = {
            "threads": machine.threads,
            "deterministic": machine.facts,
            "data": content_of(settings.data),
            "parents": {"model": identity_of(settings.model.path), "reference": identity_of(reference_of(settings))},
        }
        with machine.working(), keep_run(settings, settings.run, kind="dpo", world=world, facts=facts) as kept:
            learned, measured = asked_sides(settings, model, kept, machine.token_budget, world)
            shard_model(backbone, backbone, world, entrances=("hidden", "log_probs"))
            finish = learn(
                backbone,
                TrainingRows(
                    len(learned), learned.unit, list(map(measured.unit, range(len(measured)))) if measured else []
                ),
                objective_of(settings, backbone, pad, machine.token_budget),
                lambda units: collate(
                    units, pad_id=pad, device=world.device, pad_multiple=machine.pad_multiple_within(context)
                ),
                optimiser=settings.optimiser,
                train=settings.train,
                seed=settings.run.seed,
                checkpoint_every=settings.run.checkpoint_every,
                judged=SelectionMetric(
                    "loss", higher_is_better=False, derive=lambda found: preference_loss(settings, found)
                ),
                kept=kept,
                machine=machine,
                world=world,
                label="dpo",
                quiet=quiet,
            )
            if measured is not None and finish.ending != "stopped" and world.size == 1:
                finish = with_distance(settings, finish, measured, model, kept, machine.token_budget)
            weights = weight_tensors(backbone) if world.size > 1 else None

            def save(folder: Path) -> None:
                (model if weights is None else whole_again(settings.model, weights)).save(folder)

            return conclude(kept, finish, save=save, world=world, next_command=next_command)


def asked_sides(
    settings: DpoSettings, model: LanguageModel, kept: OpenRunFolder, token_budget: int, world: World
) -> tuple[Side, Side | None]:
    """What is learned from and what is held out, each with the reference's opinion of it."""
    context = model.backbone.context_length
    train, held_out = read_both(settings.data, settings.ties, model.tokeniser, kept, context, world)
    asker = ReferencePass(settings, model, kept, token_budget, world)
    return asker.side(train, "train"), None if held_out is None else asker.side(held_out, "held-out")


def _check(settings: DpoSettings) -> None:
    if settings.train.packing:
        raise UsageError(
            "train.packing lays several answers into one row, and dpo compares whole answers; leave it out"
        )
    refuse_what_has_no_place(settings)


def refuse_what_has_no_place(settings: PreferenceSettings) -> None:
    """Raise if something was set that the chosen loss does not read."""
    fields = type(settings).model_fields
    for name, losses in USED_BY.items():
        given = name in fields and getattr(settings, name) != fields[name].default
        if given and settings.loss not in losses:
            used = "every other" if len(losses) == len(LOSSES) - 1 else ", ".join(losses)
            raise UsageError(f"loss={settings.loss} has no place for {name}; it is used by {used}. Leave it out")
    if settings.loss == "robust" and not settings.label_smoothing:
        raise UsageError(
            "loss=robust corrects for labels that are wrong, and label_smoothing, their share, is 0; give one, such as 0.1"
        )
    if settings.length != "desensitised" and settings.alpha != fields["alpha"].default:
        raise UsageError(
            f"alpha is what tokens count that length=desensitised finds too many, and length={settings.length}; leave it out"
        )


def preference_loss(settings: PreferenceSettings, found: Mapping[str, float]) -> dict[str, float]:
    return {"loss": sum(each * found.get(name, 0.0) for name, each in coefficients(settings).items())}


def with_distance(
    settings: DpoSettings, finish: Finish, held_out: Side, model: LanguageModel, kept: OpenRunFolder, token_budget: int
) -> Finish:
    """The finish with the KL to the reference beside what was measured in training; a run that was killed after its last step
    reads it from its journal."""
    name, rows = f"held-out {NAME}", read_rows(kept.folder.journal_path)[0]
    nats = next((row[name] for row in rows if name in row), None)
    if nats is None and settings.distance.prompts:
        for parameter in model.backbone.parameters():
            parameter.grad = None  # room for a second model
        voice = reference_voice(settings, model)
        nats = distance(
            held_out.prompts(), model, voice, settings.distance, seed=settings.run.seed, token_budget=token_budget
        )
        if nats is not None:
            kept.journal({"step": finish.best_step, name: nats})
    return finish if nats is None else replace(finish, held_out={**finish.held_out, NAME: nats})


def reference_voice(settings: PreferenceSettings, model: LanguageModel) -> ModelView:
    """The reference once the model has begun to learn: beneath its adapter, or a model by itself."""
    if settings.reference is None and model.adapter is not None:
        return model.backbone, None
    return other_reference(settings, model).backbone, None


def other_reference(settings: PreferenceSettings, model: LanguageModel) -> LanguageModel:
    """The reference by itself."""
    place = {"path": reference_of(settings), "lora": None, "quantise": None}
    other = load_language_model(settings.model.model_copy(update=place), model.backbone.device)
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
    """Asks the reference, before anything is learned, what it thinks of each row."""

    settings: DpoSettings
    model: LanguageModel
    kept: OpenRunFolder
    token_budget: int
    world: World

    def side(self, judgements: Judgements, name: str) -> Side:
        longest = self.settings.data.max_length
        reference = None if self.settings.loss in NEEDS_NO_REFERENCE else self._reference()
        log_probs = self._ask(len(judgements.rows), judgements.rows.row, reference, f"reference-{name}")
        strange = None
        if self.settings.loss == "kto":
            row = partial(mismatched_row, judgements, longest)
            strange = self._ask(len(judgements), row, reference, f"strangers-{name}")
        return Side(judgements, longest, log_probs, strange)

    def _ask(
        self, count: int, row: Callable[[int], TokenRow], reference: Backbone | None, name: str
    ) -> ReferenceLogProbs:
        key = key_of(
            reference=identity_of(reference_of(self.settings)) if reference is not None else None,
            data=content_of(self.settings.data),
            settings=[self.settings.data.model_dump(), self.settings.ties],
            tokeniser=tokeniser_hash(self.model.tokeniser),
        )
        path = self.kept.folder.path / "tokens" / f"{name}-{key}.bin"
        return reference_log_probs(
            count,
            row,
            reference,
            path,
            pad_id=self.model.tokeniser.pad_token_id,
            token_budget=self.token_budget,
            world=self.world,
        )

    def _reference(self) -> Backbone:
        if self.settings.reference is None:
            return self.model.backbone  # nothing has been learned yet, and a new adapter adds nothing
        return other_reference(self.settings, self.model).backbone


def mismatched_row(judgements: Judgements, longest: int, index: int) -> TokenRow:
    """A group's prompt with the first answer of the next group: what kto's KL baseline is measured on."""
    starts, rows = judgements.starts, judgements.rows
    own, other = (rows.row(int(starts[i])) for i in (index, (index + 1) % len(judgements)))
    prompt = own.ids[: int(own.loss_mask.nonzero()[0])]
    answer = other.ids[int(other.loss_mask.nonzero()[0]) :]
    ids = torch.cat([prompt, answer])[: max(longest, len(prompt) + 1)]
    return TokenRow(ids, torch.arange(len(ids)) >= len(prompt))


def objective_of(
    settings: DpoSettings, backbone: Backbone, pad_id: int, token_budget: int
) -> DirectPreference | KahnemanTversky:
    if settings.loss != "kto":
        return DirectPreference(settings)
    return KahnemanTversky(settings, baseline_by(backbone, pad_id, token_budget))


def baseline_by(backbone: Backbone, pad_id: int, token_budget: int) -> Callable[[Sequence[JudgedGroup]], float]:
    """kto's baseline over a global batch: the mean log-ratio of answers to prompts that they do not belong to."""

    def baseline(units: Sequence[JudgedGroup]) -> float:
        mismatched_rows = [unit.mismatched for unit in units if unit.mismatched is not None]
        found = run_rows(
            [row for row, _ in mismatched_rows],
            lambda batch: sum_per_answer(backbone.log_probs(batch)[0], batch)[:, None],
            pad_id=pad_id,
            token_budget=token_budget,
            device=backbone.device,
        )
        return float(found.sum() - sum(reference for _, reference in mismatched_rows)) / len(mismatched_rows)

    return baseline
