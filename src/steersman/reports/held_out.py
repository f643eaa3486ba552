"""The frozen and the updated model by the answers that a run in the loop gave to held-out prompts: no model is needed.

The first evaluation comes before the first update, so its answers are the initial (frozen) model's; the last one's are
the policy's as it is now. Prompts and seeds are the same in both.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.evaluate.answers import Answer
from steersman.harbour.taste import features
from steersman.pages.parts import Part, Section, Words
from steersman.records import Message, Prompt
from steersman.reports.before_after import FROZEN, UPDATED, BeforeAfter, ModelSide, compared, most_changed, table_of
from steersman.reports.reading import ReadRun
from steersman.runs.folder import RunFolder


@dataclass(frozen=True, slots=True)
class HeldOutAnswer:
    """An answer to a held-out prompt. `key` tells prompts apart."""

    key: str
    prompt: str
    answer: Answer
    score: float
    kl: float


def evaluations_in(folder: Path) -> dict[int, Path]:
    """The files of answers to held-out prompts, by step."""
    found = RunFolder(folder).samples.glob("held-out-*.jsonl")
    steps = {path.stem.removeprefix("held-out-"): path for path in found}
    return {int(step): path for step, path in sorted(steps.items()) if step.isdigit()}


def read_answers(path: Path) -> list[HeldOutAnswer]:
    """The answers of one evaluation; rows that are none are left out."""
    found: list[HeldOutAnswer] = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(_answer(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def _answer(row: Mapping[str, Any]) -> HeldOutAnswer:
    score, kl = float(row["score"]), float(row["kl"])
    if not math.isfinite(score) or not math.isfinite(kl):
        raise ValueError("a number that is not finite")
    answer = Answer(str(row["answer"]), int(row["tokens"]), str(row["finish"]), int(row["seed"]))
    return HeldOutAnswer(f"{row['prompt_id']} {row['prompt']}", str(row["prompt"]), answer, score, kl)


def frozen_and_updated(run: ReadRun) -> tuple[BeforeAfter, int] | None:
    """The comparison, and the step of the updated model; None without two evaluations of the same prompts."""
    files = evaluations_in(run.folder)
    if len(files) < 2 or min(files) > 0:
        return None
    first, last = (read_answers(files[step]) for step in (min(files), max(files)))
    later = {one.key: one for one in last}
    pairs = [(one, later[one.key]) for one in first if one.key in later]
    if len(pairs) < 2:
        return None
    taste = str(run.recipe.get("prompts", {}).get("source", "")).startswith("harbour:")
    sides = [_side(name, [pair[i] for pair in pairs], taste) for i, name in enumerate((FROZEN, UPDATED))]
    return compared(sides[0], sides[1]), max(files)


def _side(name: str, answers: Sequence[HeldOutAnswer], taste: bool) -> ModelSide:
    return ModelSide(
        name,
        [Prompt((Message("user", one.prompt),)) for one in answers],
        [one.answer for one in answers],
        [one.score for one in answers],
        [features(one.prompt, one.answer.text).taste for one in answers] if taste else None,
        [one.kl for one in answers],
    )


def side_by_side(run: ReadRun) -> Section | None:
    """The section; None for a run that keeps no such answers, or has too few."""
    found = frozen_and_updated(run)
    if found is None:
        return None
    comparison, step = found
    parts: list[Part] = [table_of(comparison)]
    changed = most_changed(comparison)
    parts.append(Words("No answer has changed yet.") if changed is None else changed)
    note = (
        f"The initial model, and the policy after iteration {step}: their answers to the same held-out prompts, with "
        "the same seeds. Ranges are 95 % intervals over prompts, and changes are paired."
    )
    return Section("Frozen and updated, side by side", "Frozen and updated", note, tuple(parts))
