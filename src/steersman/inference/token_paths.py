"""Alternative continuations: at each token of an answer its likeliest alternatives, each continued by the policy and
scored, with the critic's value of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from steersman.batches import TokenRow
from steersman.inference.opened_policy import OpenedPolicy
from steersman.loading.engines import ending_of, native_engine
from steersman.maths.tokens import gather_before
from steersman.methods.ppo.records import Sample
from steersman.models.acting import acting_as
from steersman.models.answer_kl import ModelView
from steersman.pages.microscope import END
from steersman.rollout.batch import Rollout
from steersman.rollout.engine import sample_seed
from steersman.text.tokeniser import decode

ALTERNATIVES, CONTINUATIONS = 3, 6
LIKELY = 0.01
"""The least probability of an alternative under the policy."""
MOST_PLACES = 32
"""The most positions of one answer; those with the highest entropy are taken."""


@dataclass(frozen=True)
class Branch:
    """One choice of token at one position, with its continuations."""

    place: int
    token: int
    taken: bool
    chance: float
    reference_chance: float


def paths_of(opened: OpenedPolicy, sample: Sample) -> dict[str, list[dict[str, Any]]]:
    """For each position, the sampled token and its alternatives, each with scored continuations. Empty where no
    alternative was likely."""
    branches = _branches(opened, sample)
    if not branches:
        return {}
    ends = set(ending_of(opened.updated[0], opened.model.tokeniser).end_ids)
    stops = set(opened.sampling.stop_ids)
    drawn = _continued(opened, sample, branches, ends | stops)
    values = _values(opened, sample, branches, ends | stops)
    items = [(sample.prompt, opened.language.text_of(rollout)) for rollouts in drawn for rollout in rollouts]
    scores = iter([score.value for score in opened.scorer.score(items)])
    found: dict[str, list[dict[str, Any]]] = {}
    for branch, rollouts, value in zip(branches, drawn, values, strict=True):
        told = [next(scores) for _ in rollouts]
        found.setdefault(str(branch.place), []).append(_told(opened, sample, branch, rollouts, told, value))
    return found


def _branches(opened: OpenedPolicy, sample: Sample) -> list[Branch]:
    """The sampled token and its likeliest alternatives, at the positions with the highest entropy."""
    here, there = (_distribution(opened, voice, sample) for voice in (opened.updated, opened.frozen))
    entropies = -(here * here.clamp_min(1e-30).log()).sum(1)
    places = sorted(entropies.topk(min(MOST_PLACES, len(entropies))).indices.tolist())
    found: list[Branch] = []
    for place in places:
        said = sample.rollout.ids[place]
        likeliest = here[place].topk(min(ALTERNATIVES + 1, here.shape[1])).indices.tolist()
        others = [token for token in likeliest if token != said and float(here[place, token]) >= LIKELY][:ALTERNATIVES]
        for token in [said, *others] if others else []:
            chances = float(here[place, token]), float(there[place, token])
            found.append(Branch(place, token, token == said, *chances))
    return found


def _distribution(opened: OpenedPolicy, voice: ModelView, sample: Sample) -> Tensor:
    """The probability of every token at each position of the answer, at the run's temperature."""
    backbone, adapter = voice
    batch = opened.forward.pad([sample.row])
    with torch.no_grad(), acting_as(backbone, adapter):
        hidden = gather_before(backbone.hidden(batch), batch.loss_mask)
        return torch.softmax(backbone.logits_of(hidden) / opened.sampling.temperature, dim=-1).cpu()


def _continued(opened: OpenedPolicy, sample: Sample, branches: Sequence[Branch], ends: set[int]) -> list[list[Rollout]]:
    """Complete answers through each branch. A branch that ends the answer has no continuation."""
    engine = native_engine(opened.updated, opened.model.tokeniser)
    going = [branch for branch in branches if branch.token not in ends]
    said = {id(branch): (*sample.rollout.ids[: branch.place], branch.token) for branch in branches}
    context = opened.model.backbone.context_length
    room = [b for b in going if context is None or len(sample.rollout.prompt_ids) + len(said[id(b)]) < context]
    seeds = [sample_seed(sample.rollout.seed, b.place, b.token, k) for b in room for k in range(CONTINUATIONS)]
    prompts = [(*sample.rollout.prompt_ids, *said[id(branch)]) for branch in room]
    drawn = engine.generate(prompts, opened.sampling, samples=CONTINUATIONS, seeds=seeds) if room else []
    by_branch: dict[int, list[Rollout]] = {id(branch): [] for branch in branches}
    for rollout in drawn:
        branch = room[rollout.prompt]
        by_branch[id(branch)].append(_whole(rollout, sample, said[id(branch)], opened.sampling.max_new_tokens))
    return [by_branch[id(b)] or [replace(sample.rollout, ids=said[id(b)], finish_reason="end")] for b in branches]


def _whole(rollout: Rollout, sample: Sample, said: tuple[int, ...], longest: int) -> Rollout:
    """A continuation with the tokens before it, truncated as in the run."""
    ids = (*said, *rollout.ids)
    cut = len(ids) > longest
    return replace(
        rollout,
        prompt_ids=sample.rollout.prompt_ids,
        ids=ids[:longest],
        finish_reason="length" if cut else rollout.finish_reason,
    )


def _values(opened: OpenedPolicy, sample: Sample, branches: Sequence[Branch], ends: set[int]) -> list[float | None]:
    """The critic's value after the token. None without a critic, or where the answer has ended."""
    found: list[float | None] = [None] * len(branches)
    if opened.actors.value_head is None:
        return found
    going = [i for i, branch in enumerate(branches) if branch.token not in ends]
    budget = max(1, opened.forward.token_budget // max(1, len(sample.row.ids)))
    for start in range(0, len(going), budget):
        part = going[start : start + budget]
        rows: list[TokenRow] = []
        for i in part:
            branch = branches[i]
            # The value of a state is read before the token that would come next; which one that is does not matter.
            ids = torch.tensor(
                [*sample.rollout.prompt_ids, *sample.rollout.ids[: branch.place], branch.token, branch.token]
            )
            rows.append(TokenRow(ids, torch.arange(len(ids)) == len(ids) - 1))
        with torch.no_grad():
            batch = opened.forward.pad(rows)
            values = opened.actors.policy(batch, temperature=opened.sampling.temperature, with_entropy=False)[2]
        assert values is not None
        for i, value in zip(part, values.float().cpu().tolist(), strict=True):
            found[i] = float(value)
    return found


def _told(
    opened: OpenedPolicy,
    sample: Sample,
    branch: Branch,
    rollouts: Sequence[Rollout],
    scores: Sequence[float],
    value: float | None,
) -> dict[str, Any]:
    tokeniser = opened.model.tokeniser
    before = decode(tokeniser, sample.rollout.ids[: branch.place])
    upto = decode(tokeniser, (*sample.rollout.ids[: branch.place], branch.token))
    mean = sum(scores) / len(scores)
    squares = sum((score - mean) ** 2 for score in scores)
    paths = [
        {
            "text": opened.language.text_of(rollout)[len(upto) :],
            "score": round(score, 4),
            "cut": rollout.finish_reason == "length",
        }
        for rollout, score in zip(rollouts, scores, strict=True)
    ]
    return {
        "text": upto[len(before) :] or END,
        "taken": branch.taken,
        "chance": round(branch.chance, 5),
        "reference_chance": round(branch.reference_chance, 5),
        "value": None if value is None else round(value, 4),
        "mean": round(mean, 4),
        # The standard error of the mean; an answer that ended has one score and no error.
        "error": round((squares / (len(scores) - 1) / len(scores)) ** 0.5, 4) if len(scores) > 1 else 0.0,
        "paths": sorted(paths, key=lambda path: -path["score"]),
    }
