"""A judge as a scorer: it grades answers, or compares each with another answer to the same prompt (direct RLAIF).

Scores lie between -1 and 1. An answer without a verdict has the lowest score, with a note that says why: an answer that
confuses its judge must not gain by it.
"""

from collections.abc import Callable, Sequence

from torch import nn

from steersman.judges.judge import Judge
from steersman.records import Prompt
from steersman.reward.scorer import Item, Score

LOWEST = -1.0
Opponents = Callable[[Sequence[Prompt]], list[str]]
"""The answers that those of a policy are compared with: one to each of the prompts."""


class JudgeScorer:
    """Scores by a judge. `opponents` are needed where it compares; `held` are the models that it has on the device."""

    def __init__(self, judge: Judge, opponents: Opponents | None, held: Callable[[], Sequence[nn.Module]]) -> None:
        self.name = f"judge:{judge.constitution.name}"
        self._judge, self._opponents, self._held = judge, opponents, held

    def models(self) -> Sequence[nn.Module]:
        return self._held()

    def score(self, items: Sequence[Item]) -> list[Score]:
        if not items:
            return []
        return self._graded(items) if self._opponents is None else self._compared(items, self._opponents)

    def _graded(self, items: Sequence[Item]) -> list[Score]:
        found: list[Score] = []
        for grade in self._judge.grade(items):
            if grade.scaled is None:
                found.append(_without_verdict(grade.problem))
            else:
                found.append(Score(grade.scaled, dict(grade.by_principle)))
        return found

    def _compared(self, items: Sequence[Item], opponents: Opponents) -> list[Score]:
        others = opponents([prompt for prompt, _ in items])
        pairs = [(prompt, answer, other) for (prompt, answer), other in zip(items, others, strict=True)]
        found: list[Score] = []
        for verdict in self._judge.compare(pairs):
            if verdict.preference is None:
                found.append(_without_verdict(verdict.problem))
                continue
            parts = {one.principle: one.preference for one in verdict.by_principle if one.preference is not None}
            found.append(Score(2.0 * verdict.preference - 1.0, parts))
        return found


def _without_verdict(problem: str) -> Score:
    return Score(LOWEST, note=f"no verdict of the judge: {problem}")
