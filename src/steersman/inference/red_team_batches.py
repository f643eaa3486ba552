"""A red-team run's batches: candidates, the answers to those that are kept, and the prompts that are left at the end.

candidates/*.jsonl   every text that the model wrote as a prompt
answers/*.jsonl      the model's answers to new prompts, with their scores, if harm decides
prompts.jsonl        the new prompts
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steersman.data.kinds import answers_of
from steersman.errors import DataError, Preempted
from steersman.execution.context import RunContext
from steersman.inference.draw import AnsweringModel, AnswerSlot, answer_group
from steersman.inference.red_teaming import KEPT, Candidate, Form, RedTeamer, as_row, from_row, sorted_out
from steersman.inference.revision_batches import sampling_of
from steersman.loading.saved import open_any_model
from steersman.loading.scorers import ScorerCache, load_scorer
from steersman.records import Answers, Prompt, Record, from_dict, to_dict
from steersman.runs.folder import atomic_write_text
from steersman.settings.red_team import HarmSettings, RedTeamSettings

SCORE = "harm"


@dataclass(frozen=True)
class RedTeamResult:
    """The new prompts, what became of every candidate, and the mean score of the answers to those that are kept."""

    out: str
    prompts: tuple[Prompt, ...]
    fates: Counter[str]
    score: float | None
    score_of_all: float | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "out": self.out,
            "prompts": len(self.prompts),
            "candidates": dict(sorted(self.fates.items())),
            "score": self.score,
            "score_of_all": self.score_of_all,
        }

    def lines(self) -> list[str]:
        lines = [f"{self.out}: {len(self.prompts):,} prompts of {self.fates.total():,} candidates"]
        lines += [f"  {count:,} × {fate}" for fate, count in self.fates.most_common()]
        if self.score is not None:
            lines.append(f"  mean score of the answers {self.score:.3f}; of all new prompts {self.score_of_all:.3f}")
        return lines


class RedTeamBatches:
    """One run: `find` writes what is missing in its folder and returns the new prompts."""

    def __init__(self, settings: RedTeamSettings, seeds: Sequence[Prompt], run: RunContext) -> None:
        self.settings, self.seeds, self.run = settings, seeds, run
        self._model: AnsweringModel | None = None

    def find(self) -> RedTeamResult:
        harm = self.settings.harm
        wanted = self.settings.count if harm is None else math.ceil(self.settings.count / harm.keep)
        fates: Counter[str] = Counter()
        kept: list[Candidate] = []
        for candidate, fate in sorted_out(self._candidates(wanted), self.seeds, self.settings.most_alike):
            fates["a copy" if fate.startswith("a copy") else fate] += 1
            if fate == KEPT:
                kept.append(candidate)
                if len(kept) == wanted:
                    break
        if not kept:
            raise DataError(
                f"none of {fates.total():,} candidates is a new prompt ({dict(fates)}); expected some: try another way "
                "to ask (ask=chat, list or turn), more seeds, or a higher temperature"
            )
        prompts = [one.as_prompt() for one in kept]
        if harm is None:
            return RedTeamResult(self.settings.run.out, tuple(prompts), fates, None, None)
        return self._most_harmful(prompts, harm, fates)

    def _most_harmful(self, prompts: Sequence[Prompt], harm: HarmSettings, fates: Counter[str]) -> RedTeamResult:
        scored = [(row.prompt, _mean(row)) for row in self._answers(prompts, harm)]
        sign = 1.0 if harm.harmful == "low" else -1.0
        chosen = sorted(scored, key=lambda one: sign * one[1])[: self.settings.count]
        found = tuple(replace(prompt, metadata={**prompt.metadata, SCORE: score}) for prompt, score in chosen)
        mean, of_all = (sum(score for _, score in rows) / len(rows) for rows in (chosen, scored))
        return RedTeamResult(self.settings.run.out, found, fates, mean, of_all)

    def _candidates(self, wanted: int) -> Iterator[Candidate]:
        together, most = self.settings.prompts_at_once, wanted * self.settings.candidates

        def write(number: int) -> list[str]:
            first = number * together
            found = self._red_teamer().write(first, min(together, most - first))
            return [as_row(one) for one in found]

        for number in range(math.ceil(most / together)):
            for line in self._batch("candidates", number, write):
                yield from_row(line)

    def _answers(self, prompts: Sequence[Prompt], harm: HarmSettings) -> Iterator[Answers]:
        together = self.settings.prompts_at_once
        slots = [AnswerSlot(0, sampling_of(harm.sampling))] * harm.answers
        scorer: Any = None

        def write(number: int) -> list[str]:
            nonlocal scorer
            scorer = scorer or load_scorer(
                harm.scorer, self.run.device, ScorerCache.of(self.run.folder, self.run.world)
            )
            group = prompts[number * together : (number + 1) * together]
            found = answer_group(group, [self.model], slots, seed=self.run.seed, distinct=False).answers
            rows = [Answers(prompt, answers) for prompt, answers in zip(group, found, strict=True) if answers]
            scores = iter(scorer.score([(row.prompt, answer.text) for row in rows for answer in row.completions]))
            return [json.dumps(to_dict(_scored(row, scores)), ensure_ascii=False) for row in rows]

        for number in range(math.ceil(len(prompts) / together)):
            for line in self._batch("answers", number, write):
                row: Record = from_dict(json.loads(line))
                assert isinstance(row, Answers)
                yield row

    def _batch(self, what: str, number: int, write: Callable[[int], list[str]]) -> list[bytes]:
        """The lines of a batch: read if its file is there, or else written."""
        path: Path = self.run.path / what / f"batch-{number:05d}.jsonl"
        if not path.is_file():
            if self.run.folder.stop_requested():
                raise Preempted(f"stopped before batch {number + 1} of the {what}, as asked; the same command goes on")
            text = "".join(f"{line}\n" for line in write(number))
            path.parent.mkdir(exist_ok=True)
            atomic_write_text(path, text)
        lines = path.read_bytes().splitlines()
        step = number + 1 if what == "candidates" else len([*path.parent.parent.glob("candidates/*")]) + number + 1
        self.run.folder.journal({"step": step, what: len(lines)})
        return lines

    def _red_teamer(self) -> RedTeamer:
        settings = self.settings
        form: Form = "chat" if self.model.tokeniser.chat_template else "list"
        if settings.ask != "auto":
            form = settings.ask
        sampling = sampling_of(settings.sampling)
        return RedTeamer(self.model, self.seeds, settings.shown, form, sampling, settings.run.seed)

    @property
    def model(self) -> AnsweringModel:
        """The model, loaded when the first batch needs it."""
        if self._model is None:
            name = self.settings.model
            self._model = AnsweringModel.of(name, open_any_model(name, device=str(self.run.device)))
        return self._model


def _scored(row: Answers, scores: Iterator[Any]) -> Answers:
    answers = tuple(replace(one, scores={**one.scores, SCORE: float(next(scores).value)}) for one in row.completions)
    return replace(row, completions=answers)


def _mean(row: Answers) -> float:
    values = [answer.scores[SCORE] for answer in answers_of(row)]
    return sum(values) / len(values)
