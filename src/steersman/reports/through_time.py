"""One prompt through the rounds: the answers of each round's policy with their differences, rewards, KL, and labels."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from steersman.evaluate.numerals import numeral
from steersman.pages.parts import Example, Examples, Heading, Mark, Part, Section, Shown, Words
from steersman.pages.word_diff import told_apart, unmarked
from steersman.rounds.plan import labels_file
from steersman.rounds.planned import GraphPlan, StageStanding
from steersman.rounds.tables import labels_of, name_of

NEW, REWARD, KL = "new", "reward", "KL"
LEFT_OUT = ("tokens", "log-probability", "reference log-probability", "entropy", "refused")
LABELS_SHOWN = 12
REPORTED = 4
"""Prompts in a report: those whose reward changed most."""


@dataclass(frozen=True, slots=True)
class RoundAnswer:
    """An answer of a model to the prompt in one round's evaluation."""

    model: str
    text: str
    scores: Mapping[str, float]

    @property
    def numbers(self) -> str:
        first = [name for name in (REWARD, KL) if name in self.scores]
        rest = [n for n in self.scores if n not in (*first, *LEFT_OUT) and "/" not in n]
        return ", ".join(
            f"{name} {numeral(self.scores[name])}{' nats' if name == KL else ''}" for name in (*first, *rest)
        )


@dataclass(frozen=True, slots=True)
class PromptInRound:
    """What happened to a prompt in a round: the answer of the policy before it and the new policy's, those that were
    labelled, and the labels in words."""

    round: int
    before: RoundAnswer | None
    new: RoundAnswer | None
    sampled: tuple[RoundAnswer, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PromptStory:
    """A prompt with all its rounds. `key` is a hash that may stand in an address."""

    key: str
    prompt: str
    rounds: tuple[PromptInRound, ...]

    @property
    def rewards(self) -> list[float]:
        """The rewards of the policies' answers, in order; each by its own round's reward model."""
        return [one.new.scores[REWARD] for one in self.rounds if one.new is not None and REWARD in one.new.scores]

    @property
    def gained(self) -> float:
        """By the last round's reward model: the reward of the new answer less that of the answer before."""
        for one in reversed(self.rounds):
            if one.new is not None and one.before is not None and REWARD in one.new.scores:
                return one.new.scores[REWARD] - one.before.scores.get(REWARD, 0.0)
        return 0.0


@dataclass
class _Gathered:
    prompt: str
    rounds: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])

    def of(self, number: int) -> dict[str, Any]:
        return self.rounds.setdefault(number, {"labels": [], "sampled": []})


def stories_of(plan: GraphPlan, standings: Sequence[StageStanding]) -> dict[str, PromptStory]:
    """All prompts that were evaluated or labelled, by key."""
    found = {one.name: one for one in standings if one.state == "done"}
    gathered: dict[str, _Gathered] = {}
    for number in range(1, plan.planned + 1):
        _evaluated(gathered, number, found.get(name_of("evaluate", number)))
        if plan.rounds is not None:
            for name in labels_of(plan.rounds, number):
                _labelled(gathered, number, found.get(name))
    return {
        key: PromptStory(key, one.prompt, tuple(PromptInRound(n, **_whole(of)) for n, of in sorted(one.rounds.items())))
        for key, one in gathered.items()
    }


def _whole(of: Mapping[str, Any]) -> dict[str, Any]:
    lists = {"sampled": tuple(of["sampled"]), "labels": tuple(of["labels"])}
    return {"before": of.get("before"), "new": of.get("new"), **lists}


def _evaluated(gathered: dict[str, _Gathered], number: int, stage: StageStanding | None) -> None:
    if stage is None:
        return
    baseline = _baseline(stage.output)
    for row in _rows(stage.output / "answers.jsonl"):
        try:
            answers = [_answer(one) for one in row["completions"]]
            of = _gather(gathered, row["prompt"]).of(number)
        except (KeyError, TypeError, AttributeError):
            continue
        of["new"] = next((one for one in answers if one.model == NEW), None)
        of["before"] = next((one for one in answers if one.model == baseline), None)


def _labelled(gathered: dict[str, _Gathered], number: int, stage: StageStanding | None) -> None:
    if stage is None:
        return
    for row in _rows(labels_file(stage.output)):
        try:
            first, second = _answer(row["first"]), _answer(row["second"])
            of = _gather(gathered, row["prompt"]).of(number)
            words = _verdict(row, first, second)
        except (KeyError, TypeError, AttributeError):
            continue
        of["labels"].append(words)
        of["sampled"] += [one for one in (first, second) if one.text not in {other.text for other in of["sampled"]}]


def _verdict(row: Mapping[str, Any], first: RoundAnswer, second: RoundAnswer) -> str:
    preference, who = float(row["preference"]), str(row.get("annotator") or "somebody")
    if preference == 0.5:
        return f"{who}: “{first.text.strip()}” and “{second.text.strip()}” are equal"
    better, worse = (first, second) if preference > 0.5 else (second, first)
    return f"{who}: “{better.text.strip()}” rather than “{worse.text.strip()}”"


def _gather(gathered: dict[str, _Gathered], prompt: Mapping[str, Any]) -> _Gathered:
    said = [str(one["content"]) for one in prompt.get("messages") or ()] or [str(prompt["text"])]
    key = hashlib.sha256(json.dumps([prompt.get("id"), said]).encode()).hexdigest()[:16]
    return gathered.setdefault(key, _Gathered("\n\n".join(said)))


def _answer(completion: Mapping[str, Any]) -> RoundAnswer:
    scores = {str(name): float(value) for name, value in (completion.get("scores") or {}).items()}
    return RoundAnswer(str(completion.get("model") or ""), str(completion["text"]), scores)


def _baseline(evaluation: Path) -> str:
    try:
        return str(json.loads((evaluation / "results.json").read_bytes())["baseline"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _rows(path: Path) -> Sequence[Mapping[str, Any]]:
    try:
        state = path.stat()
    except OSError:
        return ()
    return _parsed(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=32)
def _parsed(path: Path, _changed: int, _size: int) -> tuple[Mapping[str, Any], ...]:
    found: list[Mapping[str, Any]] = []
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, Mapping):
                found.append(row)
    return tuple(found)


def parts_of_story(story: PromptStory, promoted: Mapping[int, bool | None]) -> Iterator[Part]:
    """The rounds of one prompt. `promoted` says what became of each round's policy."""
    for one in story.rounds:
        outcome = {True: "promoted", False: "not promoted", None: ""}[promoted.get(one.round)]
        yield Heading(f"Round {one.round}", "")
        if one.new is not None:
            yield Examples(
                (_compared(story, one, outcome),), 2 if one.before is not None else 1, one.before is not None
            )
        if one.labels:
            more = f" {len(one.labels) - LABELS_SHOWN} more are not shown." if len(one.labels) > LABELS_SHOWN else ""
            yield Words(f"{len(one.labels)} labels about answers that were sampled for this round.{more}")
            shown = [Shown("", unmarked(words), None, "") for words in one.labels[:LABELS_SHOWN]]
            yield Examples((Example(story.prompt, "", tuple(shown)),), 1, False)


def _compared(story: PromptStory, one: PromptInRound, outcome: str) -> Example:
    assert one.new is not None
    mark = Mark("good" if outcome == "promoted" else "", "✓" if outcome == "promoted" else "–", outcome)
    mark_of_new = mark if outcome else None
    if one.before is None:
        shown = (Shown(f"round {one.round}'s policy", unmarked(one.new.text), mark_of_new, one.new.numbers),)
        return Example(story.prompt, "", shown)
    before, new = told_apart(one.before.text, one.new.text)
    name = "the policy before (SFT)" if one.before.model == "sft" else "the policy before"
    shown = (
        Shown(name, before, None, one.before.numbers),
        Shown(f"round {one.round}'s policy", new, mark_of_new, one.new.numbers),
    )
    return Example(story.prompt, "", shown)


def changed_most(stories: Mapping[str, PromptStory], count: int) -> list[PromptStory]:
    """The prompts whose answers' reward changed most."""
    evaluated = [one for one in stories.values() if any(each.new is not None for each in one.rounds)]
    return sorted(evaluated, key=lambda one: -abs(one.gained))[:count]


def through_time(stories: Mapping[str, PromptStory], promoted: Mapping[int, bool | None]) -> Section | None:
    """The section of a report: the prompts that changed most, round by round."""
    parts: list[Part] = []
    for story in changed_most(stories, REPORTED):
        parts += parts_of_story(story, promoted)
    if not parts:
        return None
    note = (
        "Held-out prompts are the same in all rounds. Both answers of a round are scored by that round's reward model."
    )
    return Section("Prompts through time", "Through time", note, tuple(parts))
