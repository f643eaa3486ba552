"""A judge's verdicts in the form of people's labels."""

from dataclasses import replace
from typing import Any

from steersman.judges.judge import Judge, JudgeVerdict
from steersman.judges.pairing import ChosenPair
from steersman.records import Comparison, Completion


def label_of(one: ChosenPair, verdict: JudgeVerdict, judge: Judge) -> Comparison:
    """A verdict as a comparison, in the form of people's labels; who judged by what is in its metadata."""
    assert verdict.preference is not None
    named = [part for part in verdict.by_principle if part.preference is not None]
    grades = [part.grades for part in named if part.grades is not None]

    def graded(completion: Completion, place: int) -> Completion:
        if not grades:
            return completion
        mean = sum(grade[place] for grade in grades) / len(grades)
        return replace(completion, scores={**completion.scores, judge.name: mean})

    metadata: dict[str, Any] = {
        "principles": [part.principle for part in named],
        "principle_hashes": [part.hash for part in named],
        "constitution": judge.constitution.name,
        "constitution_hash": judge.constitution.hash,
        "judge": judge.engine.name,
        "mode": judge.settings.mode,
    }
    if one.answers > 2:
        metadata |= {"ranking": one.record, "answers": one.answers}
    reasons = next((part.reasons for part in named if part.reasons), ())
    return Comparison(
        one.prompt,
        graded(one.first, 0),
        graded(one.second, 1),
        verdict.preference,
        annotator=judge.name,
        rationale="\n\n".join(reasons),
        id=one.id,
        metadata=metadata,
    )
