"""Who gives each of a prompt's answers, and drawing them: again where one is empty, or equal to another and that is not wanted.

Several models and temperatures share a prompt's answers in turn. An answer is a function of the seed, its prompt, its place
among the prompt's answers, and how often it was drawn before.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from steersman.errors import UsageError
from steersman.records import Completion, Prompt
from steersman.rollout.engine import Engine, Rollout, Sampling, sample_seed
from steersman.rollout.stops import answer_text
from steersman.settings.sample import SampleSettings
from steersman.text.template import encode_prompt

ATTEMPTS = 4
"""How often an answer is drawn before it is given up as empty, or as equal to another under `distinct`."""


@dataclass(frozen=True)
class Speaker:
    """A model that answers: its name, its engine, and how words become its tokens."""

    name: str
    engine: Engine
    tokeniser: Any
    context: int | None

    def fits(self, prompt: Prompt) -> bool:
        return self.context is None or len(encode_prompt(self.tokeniser, prompt)) < self.context


@dataclass(frozen=True)
class Place:
    """One of a prompt's answers before it is there: which model gives it, and how it is drawn."""

    model: int
    sampling: Sampling

    def described(self) -> dict[str, Any]:
        """What is kept beside the answer: what was set, without what is off."""
        usual = Sampling(self.sampling.max_new_tokens, self.sampling.temperature)
        chosen = {key: value for key, value in asdict(self.sampling).items() if value != getattr(usual, key)}
        found = {"temperature": self.sampling.temperature, "max_new_tokens": self.sampling.max_new_tokens, **chosen}
        return json.loads(json.dumps(found))


@dataclass(frozen=True)
class Group:
    """The answers to some prompts, and what went missing; each by its place in the group."""

    answers: list[tuple[Completion, ...]]
    too_long: set[int]
    """Prompts longer than a model's context."""
    given_up: list[int]
    """The prompt of each answer that stayed empty, or equal to another."""
    cut: list[int]
    """The prompt of each answer that ended for want of room."""


def plan(settings: SampleSettings, models: int) -> list[Place]:
    """Who gives each of a prompt's answers: models and temperatures in turn. What takes the likeliest token has one answer."""
    temperatures = settings.temperature if isinstance(settings.temperature, list) else [settings.temperature]
    ways = [
        Place(
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
            f"{settings.answers} answers to a prompt cannot come from {models} models at {len(temperatures)} temperatures; "
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
    group: Sequence[Prompt], speakers: Sequence[Speaker], places: Sequence[Place], *, seed: int, distinct: bool
) -> Group:
    """All answers to these prompts."""
    too_long = {i for i, prompt in enumerate(group) if not all(speaker.fits(prompt) for speaker in speakers)}
    found: list[dict[int, Completion]] = [{} for _ in group]
    cut: list[int] = []
    # (prompt in the group, place among its answers) of each answer that is still wanted
    wanted = [(i, k) for i in range(len(group)) if i not in too_long for k in range(len(places))]
    for attempt in range(ATTEMPTS):
        drawn = _draw(wanted, group, speakers, places, seed, attempt)
        again: list[tuple[int, int]] = []
        for i, k in wanted:
            rollout = drawn.get((i, k))
            speaker, place = speakers[places[k].model], places[k]
            text = "" if rollout is None else answer_text(speaker.tokeniser, rollout, place.sampling.stop)
            known = {other.text.strip() for other in found[i].values()}
            if rollout is None or not usable(text) or (distinct and text.strip() in known):
                again.append((i, k))
                continue
            found[i][k] = Completion(text, speaker.name, place.described(), rollout.seed)
            if rollout.finish_reason == "length":
                cut.append(i)
        wanted = again
    return Group(
        [tuple(answers[k] for k in sorted(answers)) for answers in found], too_long, [i for i, _ in wanted], cut
    )


def usable(text: str) -> bool:
    """Whether a reader of the file would take this for an answer: some words, and no NUL among them."""
    return bool(text.strip()) and "\0" not in text


def _draw(
    wanted: Sequence[tuple[int, int]],
    group: Sequence[Prompt],
    speakers: Sequence[Speaker],
    places: Sequence[Place],
    seed: int,
    attempt: int,
) -> Mapping[tuple[int, int], Rollout]:
    """A sample for each wanted answer. The samples that a model owes a prompt at one setting are
    asked for together, so that the prompt is read once. What takes the likeliest token is not asked twice."""
    asked: dict[tuple[int, Sampling], dict[int, list[int]]] = {}
    for i, k in wanted:
        if attempt and places[k].sampling.greedy:
            continue
        of_prompt = asked.setdefault((places[k].model, places[k].sampling), {})
        of_prompt.setdefault(i, []).append(k)
    drawn: dict[tuple[int, int], Rollout] = {}
    for (model, sampling), by_prompt in asked.items():
        # The engine takes one number of samples for all prompts of a call.
        for number in sorted({len(ks) for ks in by_prompt.values()}):
            owed = [(i, ks) for i, ks in by_prompt.items() if len(ks) == number]
            rollouts = speakers[model].engine.generate(
                [encode_prompt(speakers[model].tokeniser, group[i]) for i, _ in owed],
                sampling,
                samples=number,
                seeds=[sample_seed(seed, attempt, group[i].id, k) for i, ks in owed for k in ks],
            )
            slots = [(i, k) for i, ks in owed for k in ks]
            drawn.update(zip(slots, rollouts, strict=True))
    return drawn
