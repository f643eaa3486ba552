"""Critique and revision (Bai et al. 2022, section 3): a model's own answer, criticised by a drawn principle and
revised, round after round.

Every text is a function of the seed, the prompt, the answer's place and the round, so that a continued run writes the
same. Texts that cannot be used are kept with a status: the next round goes on from the last usable text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from steersman.constitution.document import Constitution, hash_of
from steersman.constitution.drawing import draw_examples, draw_principles, prompt_kind
from steersman.constitution.malformed import TOO_LONG, critique_flaw, revision_flaw
from steersman.constitution.render import ModelRequest, critique_request, revision_request
from steersman.evaluate.answers import Answer
from steersman.inference.draw import AnsweringModel, AnswerSlot, draw, usable
from steersman.records import Completion, Critique, Message, Principle, Prompt, digest_of
from steersman.rollout.engine import Sampling, sample_seed

NO_PRINCIPLE = "prompt: no principle is for its kind"
PROMPT_TOO_LONG = f"prompt: {TOO_LONG}"


@runtime_checkable
class Writer(Protocol):
    """A model that writes: a local one, or one behind an endpoint."""

    @property
    def name(self) -> str: ...
    def fits(self, prompt: Prompt) -> bool:
        """Whether the model can read the prompt and has room for an answer."""
        ...

    def write(self, prompts: Sequence[Prompt], sampling: Sampling, seeds: Sequence[int]) -> list[Answer]:
        """One text for each prompt."""
        ...


@dataclass(frozen=True)
class LocalWriter:
    """A loaded model that writes through its engine."""

    model: AnsweringModel

    @property
    def name(self) -> str:
        return self.model.name

    def fits(self, prompt: Prompt) -> bool:
        return self.model.fits(prompt)

    def write(self, prompts: Sequence[Prompt], sampling: Sampling, seeds: Sequence[int]) -> list[Answer]:
        return draw(self.model, prompts, sampling, seeds=list(seeds)).answers if prompts else []


@dataclass(frozen=True)
class RevisionPlan:
    """Who answers, who revises, by which constitution and how."""

    answering: Writer
    reviser: Writer
    constitution: Constitution
    sampling: Sampling
    reviser_sampling: Sampling
    rounds: int
    answers: int
    examples: int
    seed: int


@dataclass
class _Chain:
    """One answer on its way through the rounds. `of` is its prompt's place in the group, `place` its own."""

    of: int
    prompt: Prompt
    place: int
    principles: tuple[Principle, ...]
    current: Completion
    rows: list[Critique] = field(default_factory=list[Critique])

    @property
    def id(self) -> str:
        return f"{self.prompt.id}\x1f{self.place}"


def revise_group(group: Sequence[Prompt], plan: RevisionPlan) -> list[Critique]:
    """Answer these prompts and take each answer through the rounds. A prompt that cannot be answered has one row."""
    refused = {place: why for place, prompt in enumerate(group) if (why := _refusal(prompt, plan))}
    chains = _answered([(i, prompt) for i, prompt in enumerate(group) if i not in refused], plan)
    for number in range(1, plan.rounds + 1):
        _round(chains, number, plan)
    rows: list[Critique] = []
    for place, prompt in enumerate(group):
        rows += [_not_begun(prompt, refused[place], plan)] if place in refused else []
        for chain in chains:
            rows += _with_final(chain.rows) if chain.of == place else []
    return rows


def _refusal(prompt: Prompt, plan: RevisionPlan) -> str:
    if not plan.answering.fits(prompt):
        return PROMPT_TOO_LONG
    return "" if plan.constitution.principles_for(prompt_kind(prompt)) else NO_PRINCIPLE


def _not_begun(prompt: Prompt, why: str, plan: RevisionPlan) -> Critique:
    nothing = Completion("")
    return Critique(
        prompt, nothing, "", "", nothing, constitution=plan.constitution.hash, round=0, final=False, status=why
    )


def _answered(prompts: Sequence[tuple[int, Prompt]], plan: RevisionPlan) -> list[_Chain]:
    """A chain for each answer to each prompt. Each prompt comes with its place in the group."""
    wanted = [(of, prompt, k) for of, prompt in prompts for k in range(plan.answers)]
    seeds = [sample_seed(plan.seed, 0, prompt.id, k) for _, prompt, k in wanted]
    answers = plan.answering.write([prompt for _, prompt, _ in wanted], plan.sampling, seeds)
    return [
        _Chain(
            of,
            prompt,
            k,
            draw_principles(plan.constitution, prompt, seed=seed, count=plan.rounds),
            _completion(answer, plan.answering.name, plan.sampling),
        )
        for (of, prompt, k), seed, answer in zip(wanted, seeds, answers, strict=True)
    ]


def _completion(answer: Answer, model: str, sampling: Sampling) -> Completion:
    return Completion(answer.text, model, AnswerSlot(0, sampling).described(), answer.seed)


def _round(chains: Sequence[_Chain], number: int, plan: RevisionPlan) -> None:
    """One critique and revision of each chain; every chain gets a row."""
    rows = [_begin(chain, number, plan) for chain in chains]
    open_ = [i for i, row in enumerate(rows) if not row.status]
    asked = [_critique_prompt(chains[i], number, plan) for i in open_]
    critiques = _write(asked, [chains[i].id for i in open_], 2 * number - 1, plan)
    for i, written in zip(open_, critiques, strict=True):
        rows[i] = _criticised(rows[i], chains[i].principles[number - 1], written)
    open_ = [i for i in open_ if not rows[i].status]
    asked = [_revision_prompt(chains[i], rows[i], number, plan) for i in open_]
    revisions = _write(asked, [chains[i].id for i in open_], 2 * number, plan)
    for i, written in zip(open_, revisions, strict=True):
        rows[i] = _revised(rows[i], chains[i].principles[number - 1], written, plan)
    for chain, row in zip(chains, rows, strict=True):
        chain.rows.append(row)
        if not row.status:
            chain.current = row.revision


def _begin(chain: _Chain, number: int, plan: RevisionPlan) -> Critique:
    """The row of a round before anything is written: nothing is revised yet."""
    principle = chain.principles[number - 1]
    return Critique(
        chain.prompt,
        chain.current,
        principle.name,
        "",
        chain.current,
        id=digest_of([chain.id, number, plan.seed]),
        principle_hash=hash_of(principle),
        constitution=plan.constitution.hash,
        model=plan.reviser.name,
        round=number,
        final=False,
        status="" if usable(chain.current.text) else "answer: empty",
    )


def _critique_prompt(chain: _Chain, number: int, plan: RevisionPlan) -> Prompt:
    principle = chain.principles[number - 1]
    examples = draw_examples(plan.constitution, principle, chain.prompt, seed=plan.seed, count=plan.examples)
    return as_prompt(
        critique_request(
            plan.constitution, principle, chain.prompt, chain.current.text, seed=plan.seed, examples=examples
        )
    )


def _revision_prompt(chain: _Chain, row: Critique, number: int, plan: RevisionPlan) -> Prompt:
    principle = chain.principles[number - 1]
    examples = draw_examples(plan.constitution, principle, chain.prompt, seed=plan.seed, count=plan.examples)
    return as_prompt(
        revision_request(
            plan.constitution,
            principle,
            chain.prompt,
            row.original.text,
            row.critique,
            seed=plan.seed,
            examples=examples,
        )
    )


def as_prompt(request: ModelRequest) -> Prompt:
    """A request whose reply is generated, as a prompt; an opening is the beginning of the assistant's turn."""
    opened = (Message("assistant", request.opening),) if request.opening else ()
    return Prompt((*request.messages, *opened))


def _write(asked: Sequence[Prompt], ids: Sequence[str], step: int, plan: RevisionPlan) -> list[Answer | None]:
    """What the reviser writes; None where a request is longer than it can read."""
    fitting = [i for i, prompt in enumerate(asked) if plan.reviser.fits(prompt)]
    seeds = [sample_seed(plan.seed, step, ids[i], 0) for i in fitting]
    written = plan.reviser.write([asked[i] for i in fitting], plan.reviser_sampling, seeds)
    found: list[Answer | None] = [None] * len(asked)
    for i, answer in zip(fitting, written, strict=True):
        found[i] = answer
    return found


def _criticised(row: Critique, principle: Principle, written: Answer | None) -> Critique:
    if written is None:
        return replace(row, status=f"critique: {TOO_LONG}")
    status = critique_flaw(written.text, principle.critique_request, cut_off=written.cut_off)
    return replace(row, critique=written.text, seed=written.seed, status=status)


def _revised(row: Critique, principle: Principle, written: Answer | None, plan: RevisionPlan) -> Critique:
    if written is None:
        return replace(row, status=f"revision: {TOO_LONG}")
    status = revision_flaw(
        written.text, principle.revision_request, row.critique, row.original.text, cut_off=written.cut_off
    )
    return replace(row, revision=_completion(written, plan.reviser.name, plan.reviser_sampling), status=status)


def _with_final(rows: Sequence[Critique]) -> list[Critique]:
    """The rows with the last usable one marked: its revision is what the rounds have led to."""
    last = max((i for i, row in enumerate(rows) if not row.status), default=-1)
    return [replace(row, final=i == last) for i, row in enumerate(rows)]
