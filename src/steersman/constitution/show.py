"""Constitutions as lines for a terminal, and as plain values for --json."""

from collections.abc import Sequence
from typing import Any

from steersman.constitution.check import Flaw
from steersman.constitution.document import Constitution, hash_of
from steersman.constitution.render import (
    ModelRequest,
    comparison_request,
    critique_request,
    rating_request,
    revision_request,
    verdict_request,
)
from steersman.inert import inert
from steersman.records import Message, Principle, Prompt

CRITIQUE = "(the critique stands here)"
REASONS = "(the reasons stand here)"


def requests_for(
    constitution: Constitution, principle: Principle, prompt: Prompt, answers: tuple[str, str], *, seed: int
) -> dict[str, ModelRequest]:
    """Everything that a critic, a reviser and a judge are sent for one principle, with these two answers.

    The critic and the reviser see the second, the judge both.
    """
    first, second = answers
    reasoned = comparison_request(constitution, principle, prompt, answers, seed=seed, reasoning=True)
    return {
        "the critic": critique_request(constitution, principle, prompt, second, seed=seed),
        "the reviser": revision_request(constitution, principle, prompt, second, CRITIQUE, seed=seed),
        "the judge of two answers": comparison_request(constitution, principle, prompt, answers, seed=seed),
        "the judge, the other order": comparison_request(constitution, principle, prompt, (second, first), seed=seed),
        "the judge that gives reasons": reasoned,
        "that judge, asked for its choice": verdict_request(constitution, reasoned, REASONS),
        "the judge of one answer": rating_request(constitution, principle, prompt, first, seed=seed),
    }


def summary_lines(constitution: Constitution) -> list[str]:
    """A constitution's name and hash, and a line for each principle."""
    total = sum(one.weight for one in constitution.principles)
    lines = [f"{constitution.name}: {len(constitution.principles)} principles, hash {constitution.hash}"]
    if constitution.description:
        lines.append(f"  {constitution.description}")
    for one in constitution.principles:
        kinds = f", for {', '.join(one.kinds)}" if one.kinds else ""
        lines.append(f"  {one.name:<20} {one.weight / total:>4.0%}{kinds}  {one.text or one.comparison_question}")
    return [inert(line) for line in lines]


def principle_lines(principle: Principle) -> list[str]:
    """One principle with all that it asks, and its examples."""
    lines = [f"{principle.name}, hash {hash_of(principle)}, weight {principle.weight:g}", f"  {principle.text}"]
    for key in ("critique_request", "revision_request", "comparison_question", "rating_question"):
        lines.append(f"  {key}: {getattr(principle, key) or '(none)'}")
    if principle.kinds:
        lines.append(f"  kinds: {', '.join(principle.kinds)}")
    for example in principle.examples:
        lines += [
            "  example",
            f"    prompt: {example.prompt}",
            f"    answer: {example.answer}",
            f"    critique: {example.critique}",
            f"    revision: {example.revision}",
        ]
    return [inert(line) for line in lines]


def example_of(principle: Principle) -> tuple[Prompt, tuple[str, str]]:
    """A prompt and two answers to show a principle with: its first example's, or one that always serves."""
    if principle.examples:
        one = principle.examples[0]
        return Prompt((Message("user", one.prompt),)), (one.revision, one.answer)
    return Prompt((Message("user", "I like cricket."),)), ("So do I! Do you play yourself?", "Nobody cares.")


def check_lines(
    constitution: Constitution, flaws: Sequence[Flaw], principle: Principle, requests: dict[str, ModelRequest]
) -> list[str]:
    """The summary, what was found, and what is sent."""
    real = [flaw for flaw in flaws if not flaw.note]
    notes = [flaw for flaw in flaws if flaw.note]
    lines = [*summary_lines(constitution), "", f"{_count(len(real), 'flaw')}, {_count(len(notes), 'note')}"]
    lines += [inert(f"  {flaw.shown(constitution.path)}") for flaw in (*real, *notes)]
    lines += ["", f"What is sent for the principle {principle.name!r}:"]
    for who, request in requests.items():
        compared = f" (compared: {', '.join(map(repr, request.choices))})" if request.choices else ""
        lines += ["", f"──── {who}{compared}", *inert(request.text).split("\n")]
    return lines


def as_dict(constitution: Constitution) -> dict[str, Any]:
    """A constitution for --json: name, hash, and its principles with their hashes."""
    return {
        "name": constitution.name,
        "hash": constitution.hash,
        "description": constitution.description,
        "kinds": list(constitution.kinds),
        "principles": [
            {
                "name": one.name,
                "hash": hash_of(one),
                "text": one.text,
                "weight": one.weight,
                "kinds": list(one.kinds),
                "critique_request": one.critique_request,
                "revision_request": one.revision_request,
                "comparison_question": one.comparison_question,
                "rating_question": one.rating_question,
                "examples": len(one.examples),
            }
            for one in constitution.principles
        ],
    }


def request_as_dict(request: ModelRequest) -> dict[str, Any]:
    """What is sent, for --json."""
    return {
        "messages": [{"role": one.role, "content": one.content} for one in request.messages],
        "opening": request.opening,
        "choices": list(request.choices),
        "control": list(request.control),
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
