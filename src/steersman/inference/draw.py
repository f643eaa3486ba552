"""Sampling answers. `draw` encodes prompts, generates with given seeds and decodes. `answer_group` samples the several
answers of `sample`.

Several models and temperatures take turns within a prompt. An answer depends only on the seed, its prompt, its place
among the prompt's answers, and how often it was sampled before. An answer that is empty, or an unwanted copy of
another, is sampled again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from steersman.errors import DataError, UsageError
from steersman.evaluate.answers import Answer
from steersman.loading.engines import engine_of
from steersman.models.language_model import LanguageModel
from steersman.records import Completion, Prompt
from steersman.rollout.batch import Rollout
from steersman.rollout.engine import Engine, OnToken, Sampling, sample_seed
from steersman.rollout.stops import answer_text
from steersman.settings.sample import SampleSettings
from steersman.text.template import encode_prompt

ATTEMPTS = 4
"""How often an answer is sampled before it is left out as empty, or as a copy of another under `distinct`."""


@dataclass(frozen=True)
class AnsweringModel:
    """A model that generates answers: its name, engine, tokeniser and context length."""

    name: str
    engine: Engine
    tokeniser: Any
    context: int | None

    @staticmethod
    def of(name: str, model: LanguageModel) -> "AnsweringModel":
        return AnsweringModel(name, engine_of(model), model.tokeniser, model.backbone.context_length)

    def fits(self, prompt: Prompt) -> bool:
        return self.context is None or len(encode_prompt(self.tokeniser, prompt)) < self.context

    def refuse_long(self, prompts: Sequence[Prompt]) -> None:
        """Raise if a prompt leaves no room for an answer. All models of a comparison must answer the same prompts."""
        long = [prompt for prompt in prompts if not self.fits(prompt)]
        if long:
            raise DataError(
                f"{len(long)} of {len(prompts)} prompts fill the context of {self.name} ({self.context} tokens), "
                "such as "
                f"{long[0].shown[:60]!r}. All models answer the same prompts: take these out, or leave the model out"
            )


@dataclass(frozen=True)
class DrawnAnswers:
    """Answers and the rollouts that they were decoded from, in the same order: all samples of the first prompt, then
    the next."""

    answers: list[Answer]
    rollouts: Sequence[Rollout]


def prompt_seeds(prompts: Sequence[Prompt], seed: int, *, samples: int = 1) -> list[int]:
    """The seed of each sample. It depends on the prompt and the sample's place alone, so all models answer a prompt
    with the same random numbers."""
    return [sample_seed(seed, 0, prompt.id, k) for prompt in prompts for k in range(samples)]


def draw(
    model: AnsweringModel,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    seeds: Sequence[int] | int,
    samples: int = 1,
    on_token: OnToken | None = None,
) -> DrawnAnswers:
    """Answers to prompts: encode, generate with the given seeds, decode."""
    encoded = [encode_prompt(model.tokeniser, prompt) for prompt in prompts]
    rollouts = model.engine.generate(encoded, sampling, samples=samples, seeds=seeds, on_token=on_token)
    answers = [
        Answer(answer_text(model.tokeniser, one, sampling.stop), len(one.ids), one.finish_reason, one.seed)
        for one in rollouts
    ]
    return DrawnAnswers(answers, rollouts)


@dataclass(frozen=True)
class AnswerSlot:
    """One of a prompt's answers before it is sampled: the model and the sampling settings."""

    model: int
    sampling: Sampling

    def described(self) -> dict[str, Any]:
        """The sampling settings that are stored with the answer; those that are off are left out."""
        usual = Sampling(self.sampling.max_new_tokens, self.sampling.temperature)
        chosen = {key: value for key, value in asdict(self.sampling).items() if value != getattr(usual, key)}
        found = {"temperature": self.sampling.temperature, "max_new_tokens": self.sampling.max_new_tokens, **chosen}
        return json.loads(json.dumps(found))


@dataclass(frozen=True)
class Group:
    """The answers to some prompts, and which are missing. Each is identified by its place in the group."""

    answers: list[tuple[Completion, ...]]
    too_long: set[int]
    """Prompts longer than a model's context."""
    given_up: list[int]
    """The prompt of each answer that stayed empty, or equal to another."""
    cut: list[int]
    """The prompt of each answer that ended for want of room."""


def plan_slots(settings: SampleSettings, models: int) -> list[AnswerSlot]:
    """The model and settings of each of a prompt's answers: models and temperatures in turn. Greedy decoding gives one
    answer."""
    temperatures = settings.temperature if isinstance(settings.temperature, list) else [settings.temperature]
    ways = [
        AnswerSlot(
            model,
            Sampling(
                settings.max_new_tokens,
                temperature,
                top_k=settings.top_k,
                top_p=settings.top_p,
                min_p=settings.min_p,
                repetition_penalty=settings.repetition_penalty,
                min_new_tokens=settings.min_new_tokens,
                stop=tuple(settings.stop),
                q_beta=settings.q_beta,
            ),
        )
        for temperature in temperatures
        for model in range(models)
    ]
    if not ways or settings.answers < len(ways):
        raise UsageError(
            f"{settings.answers} answers to a prompt cannot come from {models} models at {len(temperatures)} "
            "temperatures; "
            f"expected answers={max(1, len(ways))} or more, and at least one model and temperature"
        )
    drawing = [way for way in ways if not way.sampling.greedy]
    if not drawing and settings.answers > len(ways):
        raise UsageError(
            f"at temperature 0 a model gives one and the same answer, so {settings.answers} cannot be drawn; "
            f"expected answers={len(ways)}, or a temperature above 0"
        )
    more = settings.answers - len(ways)
    return ways + [drawing[i % len(drawing)] for i in range(more)]


def answer_group(
    group: Sequence[Prompt], models: Sequence[AnsweringModel], slots: Sequence[AnswerSlot], *, seed: int, distinct: bool
) -> Group:
    """All answers to these prompts."""
    too_long = {i for i, prompt in enumerate(group) if not all(model.fits(prompt) for model in models)}
    found: list[dict[int, Completion]] = [{} for _ in group]
    cut: list[int] = []
    # (prompt in the group, place among its answers) of each answer that is still wanted
    wanted = [(i, k) for i in range(len(group)) if i not in too_long for k in range(len(slots))]
    for attempt in range(ATTEMPTS):
        drawn = _draw(wanted, group, models, slots, seed, attempt)
        again: list[tuple[int, int]] = []
        for i, k in wanted:
            answer = drawn.get((i, k))
            known = {other.text.strip() for other in found[i].values()}
            if answer is None or not usable(answer.text) or (distinct and answer.text.strip() in known):
                again.append((i, k))
                continue
            found[i][k] = Completion(answer.text, models[slots[k].model].name, slots[k].described(), answer.seed)
            if answer.cut_off:
                cut.append(i)
        wanted = again
    return Group(
        [tuple(answers[k] for k in sorted(answers)) for answers in found], too_long, [i for i, _ in wanted], cut
    )


def usable(text: str) -> bool:
    """Whether the text counts as an answer: it is not blank and has no NUL."""
    return bool(text.strip()) and "\0" not in text


def _draw(
    wanted: Sequence[tuple[int, int]],
    group: Sequence[Prompt],
    models: Sequence[AnsweringModel],
    slots: Sequence[AnswerSlot],
    seed: int,
    attempt: int,
) -> Mapping[tuple[int, int], Answer]:
    """One answer for each open place. The samples of one model and setting for a prompt are generated together, so that
    the prompt is encoded once. Greedy decoding is not repeated."""
    asked: dict[tuple[int, Sampling], dict[int, list[int]]] = {}
    for i, k in wanted:
        if attempt and slots[k].sampling.greedy:
            continue
        of_prompt = asked.setdefault((slots[k].model, slots[k].sampling), {})
        of_prompt.setdefault(i, []).append(k)
    drawn: dict[tuple[int, int], Answer] = {}
    for (model, sampling), by_prompt in asked.items():
        # The engine takes one number of samples for all prompts of a call.
        for number in sorted({len(ks) for ks in by_prompt.values()}):
            owed = [(i, ks) for i, ks in by_prompt.items() if len(ks) == number]
            wanted_here = [(i, k) for i, ks in owed for k in ks]
            seeds = [sample_seed(seed, attempt, group[i].id, k) for i, k in wanted_here]
            found = draw(models[model], [group[i] for i, _ in owed], sampling, samples=number, seeds=seeds)
            drawn.update(zip(wanted_here, found.answers, strict=True))
    return drawn
