"""A judge: an engine that applies the principles of a constitution to pairs of answers, or to single answers.

Which principles judge a pair is drawn by weight from those for its kind of prompt, as a function of seed and prompt.
Every pair is read in both orders. What cannot be read is an abstention of that principle; a pair without any verdict is
an abstention of the judge.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from steersman.constitution.document import Constitution, hash_of
from steersman.constitution.drawing import draw_principles, prompt_kind
from steersman.constitution.render import ModelRequest, comparison_request, rating_request, verdict_request
from steersman.errors import DataError, UsageError
from steersman.inert import inert
from steersman.judges.reading import ChoiceReading, JudgeEngine
from steersman.maths.judgement import (
    better_grade,
    clamped,
    ensemble,
    expected_grade,
    normalised,
    over_both_orders,
    scaled_grade,
)
from steersman.records import Message, Principle, Prompt, digest_of
from steersman.settings.judge import JudgeSettings

Pair = tuple[Prompt, str, str]
"""A prompt and the texts of two answers to it."""


@dataclass(frozen=True, slots=True)
class PrincipleVerdict:
    """One principle's verdict on a pair. `preference` None is an abstention, and `problem` says why.

    `first_place` are the probabilities, in both orders, that the answer shown first is the better; `grades` are the
    expected grades of the two answers, where they were graded one by one.
    """

    principle: str
    hash: str
    preference: float | None
    first_place: tuple[float, float] | None = None
    grades: tuple[float, float] | None = None
    problem: str = ""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JudgeVerdict:
    """The judge's verdict on a pair, from its principles' verdicts. `preference` None is an abstention."""

    preference: float | None
    by_principle: tuple[PrincipleVerdict, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Grade:
    """A grade of one answer, from 1 to `highest` as an expected value, higher is better; None is an abstention."""

    value: float | None
    highest: int
    by_principle: Mapping[str, float] = field(default_factory=dict[str, float])
    problem: str = ""

    @property
    def scaled(self) -> float | None:
        """From -1 to 1."""
        return None if self.value is None else scaled_grade(self.value, self.highest)


@dataclass(frozen=True)
class _Graded:
    """The distribution over the grades of one answer by one principle, the best grade last."""

    probabilities: tuple[float, ...] | None
    problem: str = ""


class Judge:
    """Judges by a constitution. `name` stands in the records: the mode and the engine's name."""

    def __init__(self, engine: JudgeEngine, constitution: Constitution, settings: JudgeSettings) -> None:
        self.engine, self.constitution, self.settings = engine, constitution, settings
        self.name = f"judge:{engine.name}"
        self._chosen = _chosen(constitution, settings)

    def principles_for(self, prompt: Prompt) -> tuple[Principle, ...]:
        """The principles that judge answers to this prompt, in the order of the draw."""
        fitting = self._chosen.principles_for(prompt_kind(prompt))
        if not fitting:
            raise DataError(
                f"no principle is for the prompt {prompt.shown[:60]!r} of the kind {prompt_kind(prompt)!r}; the chosen "
                f"ones are {', '.join(one.name for one in self._chosen.principles)}. Give the constitution a principle "
                "for all kinds"
            )
        if self.settings.principles == "all" or self.settings.principles >= len(fitting):
            return fitting
        return draw_principles(self._chosen, prompt, seed=self.settings.seed, count=self.settings.principles)

    def compare(self, pairs: Sequence[Pair]) -> list[JudgeVerdict]:
        """A verdict on each pair."""
        # Several people may have judged one pair: it is judged once.
        first_place: dict[tuple[str, ...], int] = {}
        places = [first_place.setdefault((_name(p), one, other), i) for i, (p, one, other) in enumerate(pairs)]
        if len(first_place) < len(pairs):
            found = dict(zip(first_place.values(), self.compare([pairs[i] for i in first_place.values()]), strict=True))
            return [found[place] for place in places]
        wanted = [(i, principle) for i, (prompt, _, _) in enumerate(pairs) for principle in self.principles_for(prompt)]
        judged = self._compared(pairs, wanted) if self.settings.mode == "compare" else self._by_grades(pairs, wanted)
        by_pair: list[list[tuple[Principle, PrincipleVerdict]]] = [[] for _ in pairs]
        for (i, principle), verdict in zip(wanted, judged, strict=True):
            by_pair[i].append((principle, verdict))
        return [self._joined(found) for found in by_pair]

    def grade(self, items: Sequence[tuple[Prompt, str]]) -> list[Grade]:
        """A grade of each answer; for mode=rate and ask."""
        wanted = [(i, principle) for i, (prompt, _) in enumerate(items) for principle in self.principles_for(prompt)]
        graded = self._graded([(*items[i], principle) for i, principle in wanted])
        by_item: list[list[tuple[Principle, _Graded]]] = [[] for _ in items]
        for (i, principle), one in zip(wanted, graded, strict=True):
            by_item[i].append((principle, one))
        found: list[Grade] = []
        for mine in by_item:
            good = [(p, expected_grade(g.probabilities)) for p, g in mine if g.probabilities is not None]
            problem = next((g.problem for _, g in mine if g.problem), "")
            if not good:
                found.append(Grade(None, self.highest, problem=problem))
                continue
            # The mean of grades over principles; `ensemble` is for preferences.
            weights = [1.0 if self.settings.principles != "all" else p.weight for p, _ in good]
            mean = math.fsum(w * value for w, (_, value) in zip(weights, good, strict=True)) / math.fsum(weights)
            found.append(Grade(mean, self.highest, {p.name: value for p, value in good}, problem))
        return found

    def requests_for(self, pairs: Sequence[Pair]) -> list[ModelRequest]:
        """All requests that `compare` would make of these pairs, for an estimate. Reasons are not written yet."""
        found: list[ModelRequest] = []
        for prompt, first, second in pairs:
            for principle in self.principles_for(prompt):
                if self.settings.mode == "compare":
                    found += self._both_orders(principle, prompt, first, second)
                else:
                    found += [self._grading(principle, prompt, text) for text in dict.fromkeys((first, second))]
        return found

    def smallest_requests(self, prompt: Prompt, first: str, second: str) -> list[ModelRequest]:
        """One request by each principle that may be drawn, for a check of what fits; its choices are in it."""
        found: list[ModelRequest] = []
        for principle in self._chosen.principles:
            if self.settings.mode == "compare":
                one = self._both_orders(principle, prompt, first, second)[0]
                found.append(one if one.choices else verdict_request(self.constitution, one, ""))
            else:
                found.append(self._grading(principle, prompt, first))
        return found

    @property
    def highest(self) -> int:
        """The best grade; the lowest is 1."""
        return self.constitution.judge.highest if self.settings.mode == "rate" else 2

    def _both_orders(self, principle: Principle, prompt: Prompt, first: str, second: str) -> list[ModelRequest]:
        return [
            comparison_request(
                self.constitution,
                principle,
                prompt,
                answers,
                seed=self.settings.seed,
                reasoning=self.settings.reasoning,
            )
            for answers in ((first, second), (second, first))
        ]

    def _compared(self, pairs: Sequence[Pair], wanted: Sequence[tuple[int, Principle]]) -> list[PrincipleVerdict]:
        requests = [one for i, principle in wanted for one in self._both_orders(principle, *pairs[i])]
        reasons = [""] * len(requests)
        if self.settings.reasoning:
            reasons = self.engine.write(requests, self.settings.reasoning_tokens)
            requests = [
                verdict_request(self.constitution, request, said)
                for request, said in zip(requests, reasons, strict=True)
            ]
        readings = self.engine.read(requests)
        found: list[PrincipleVerdict] = []
        for n, (_, principle) in enumerate(wanted):
            said = tuple(text for text in reasons[2 * n : 2 * n + 2] if text)
            found.append(self._from_orders(principle, readings[2 * n], readings[2 * n + 1], said))
        return found

    def _from_orders(
        self, principle: Principle, forward: ChoiceReading, backward: ChoiceReading, reasons: tuple[str, ...]
    ) -> PrincipleVerdict:
        places = [self._probabilities(reading) for reading in (forward, backward)]
        problem = next((problem for _, problem in places if problem), "")
        known = [shares for shares, _ in places if shares is not None]
        if len(known) < 2:
            return PrincipleVerdict(principle.name, hash_of(principle), None, problem=problem, reasons=reasons)
        first_place = known[0][0], known[1][0]
        preference = over_both_orders(*first_place)
        if self.settings.reasoning:
            preference = clamped(preference, *self.settings.clamp)
        return PrincipleVerdict(principle.name, hash_of(principle), preference, first_place, reasons=reasons)

    def _by_grades(self, pairs: Sequence[Pair], wanted: Sequence[tuple[int, Principle]]) -> list[PrincipleVerdict]:
        """Verdicts from a grade of each answer by itself; an answer in several pairs is graded once."""
        items = {
            (_name(pairs[i][0]), text, principle.name): (pairs[i][0], text, principle)
            for i, principle in wanted
            for text in pairs[i][1:]
        }
        graded = dict(zip(items, self._graded(list(items.values())), strict=True))
        found: list[PrincipleVerdict] = []
        for i, principle in wanted:
            prompt, first, second = pairs[i]
            both = [graded[_name(prompt), text, principle.name] for text in (first, second)]
            known = [one.probabilities for one in both if one.probabilities is not None]
            if len(known) < 2:
                problem = next((one.problem for one in both if one.problem), "")
                found.append(PrincipleVerdict(principle.name, hash_of(principle), None, problem=problem))
                continue
            grades = expected_grade(known[0]), expected_grade(known[1])
            preference = better_grade(*known)
            found.append(PrincipleVerdict(principle.name, hash_of(principle), preference, grades=grades))
        return found

    def _graded(self, items: Sequence[tuple[Prompt, str, Principle]]) -> list[_Graded]:
        readings = self.engine.read([self._grading(principle, prompt, text) for prompt, text, principle in items])
        found: list[_Graded] = []
        for (_, _, principle), reading in zip(items, readings, strict=True):
            shares, problem = self._probabilities(reading)
            if shares is None:
                found.append(_Graded(None, problem))
                continue
            # with mode=ask the choices are yes and no, and yes is the better grade
            ascending = shares if self.settings.mode == "rate" else shares[::-1]
            of_a_fault = principle.rating_best == "low" or principle.name in self.settings.lower_is_better
            found.append(_Graded(ascending[::-1] if of_a_fault else ascending))
        return found

    def _grading(self, principle: Principle, prompt: Prompt, answer: str) -> ModelRequest:
        """The question about one answer, which is asked for a grade, or for yes or no as the user's next turn."""
        asked = replace(principle, rating_question=self._question(principle))
        if self.settings.mode == "rate":
            return rating_request(self.constitution, asked, prompt, answer, seed=self.settings.seed)
        turns = (Message("user", prompt.text),) if prompt.text is not None else prompt.messages
        messages = (*turns, Message("assistant", answer), Message("user", asked.rating_question))
        safe = tuple(Message(message.role, inert(message.content)) for message in messages)
        return ModelRequest(safe, "", self.settings.replies)

    def _question(self, principle: Principle) -> str:
        return self.settings.questions.get(principle.name) or principle.rating_question

    def _probabilities(self, reading: ChoiceReading) -> tuple[tuple[float, ...] | None, str]:
        """The choices' probabilities given that one is made; or why there are none."""
        if reading.log_probs is None or not any(math.isfinite(value) for value in reading.log_probs):
            return None, reading.problem or "no choice has any probability"
        mass = math.fsum(math.exp(value) for value in reading.log_probs)
        if mass < self.settings.least_mass:
            return None, f"the choices have less than {self.settings.least_mass:g} of the probability"
        return tuple(normalised(reading.log_probs)), ""

    def _joined(self, found: Sequence[tuple[Principle, PrincipleVerdict]]) -> JudgeVerdict:
        verdicts = tuple(verdict for _, verdict in found)
        known = [(one, verdict.preference) for one, verdict in found if verdict.preference is not None]
        if not known:
            return JudgeVerdict(None, verdicts, next((v.problem for v in verdicts if v.problem), "no verdict"))
        # Drawn principles were drawn by their weights already.
        weights = [one.weight if self.settings.principles == "all" else 1.0 for one, _ in known]
        preference = ensemble([value for _, value in known], weights, pool=self.settings.pool)
        if abs(2 * preference - 1) < self.settings.abstain_below:
            return JudgeVerdict(None, verdicts, "below the margin (abstain_below)")
        return JudgeVerdict(preference, verdicts)


def _name(prompt: Prompt) -> str:
    """A key of a prompt. Ids come from files, where two prompts may share one."""
    return digest_of([prompt.id, prompt.text, [[one.role, one.content] for one in prompt.messages]])


def _chosen(constitution: Constitution, settings: JudgeSettings) -> Constitution:
    """The constitution with the principles that judge only."""
    for group in ("only", "lower_is_better", "questions"):
        for name in getattr(settings, group):
            constitution.principle(name)  # an unknown name is an error that lists the known ones
    found = [one for one in constitution.principles if not settings.only or one.name in settings.only]
    if settings.mode == "compare":
        silent = [one.name for one in found if not one.comparison_question.strip()]
        if silent:
            raise UsageError(
                f"the constitution {constitution.name} has no comparison question for {', '.join(silent)}; add "
                "comparison_question, or choose other principles with judge.only"
            )
    elif settings.mode == "ask":
        known = [one for one in found if one.name in settings.questions]
        if not known:
            raise UsageError(
                "mode=ask asks about each answer what is answered with yes or no; give the questions, such as "
                f'judge.questions.{found[0].name}="Was that kind?", and in judge.lower_is_better those that ask for a '
                "fault"
            )
        found = known
    return replace(constitution, principles=tuple(found))
