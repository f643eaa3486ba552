"""NVIDIA's HelpSteer2 (ratings, their disagreements, and preferences; Wang et al. 2024) and HelpSteer3 (2025)."""

import re

from steersman.data.formats.fields import asked, chosen_keys, has, listed, messages_of, need, number, text, text_or
from steersman.data.formats.format import Format, Outcome, Row
from steersman.errors import DataError
from steersman.records import Comparison, Completion, Label, Message, Prompt

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def _prompt(row: Row) -> Prompt:
    """The prompt. HelpSteer2 puts earlier turns into it, each after a marker."""
    if not isinstance(row.get("prompt"), str):
        return Prompt(messages_of(need(row, "prompt"), "prompt")[0])
    first, *rest = _TURN.split(text(row, "prompt"))
    turns = [
        Message("user" if role == "User" else "assistant", content)
        for role, content in zip(rest[::2], rest[1::2], strict=True)
    ]
    return Prompt((Message("user", first), *turns)) if turns else asked(first)


def _read_ratings(row: Row) -> list[Outcome]:
    """Labels with ratings. A rating is one number, or (in `disagreements`) one per annotator; then each gets a
    label."""
    prompt, completion = _prompt(row), Completion(text(row, "response"))
    ratings = {name: row[name] for name in ATTRIBUTES if row.get(name) is not None}
    several = {len(value) for value in ratings.values() if isinstance(value, list)}
    if not several:
        return [Label(prompt, completion, ratings={name: number(ratings, name) for name in ratings})]
    if len(several) > 1 or not all(isinstance(value, list) for value in ratings.values()):
        raise DataError("the attributes have different numbers of annotators")
    return [
        Label(prompt, completion, ratings={n: number({n: v[i]}, n) for n, v in ratings.items()}, annotator=str(i + 1))
        for i in range(several.pop())
    ]


def _strength(row: Row, key: str) -> tuple[float, float]:
    """P(first is better) and the margin, from a strength of −3 … 3 that is negative if the first is better."""
    strength = number(row, key)
    if not -3 <= strength <= 3:
        raise DataError(f"{key!r} should be between -3 and 3: seen {strength:g}")
    return (0.5 if strength == 0 else float(strength < 0)), abs(strength)


def _read_preference(row: Row) -> list[Outcome]:
    preference, margin = _strength(row, "preference_strength")
    rationale = "\n\n".join(
        text_or(row, key) for key in ("preference_statement", "preference_elaboration") if row.get(key)
    )
    metadata = chosen_keys(row, "split", "three_most_similar_preferences", "all_preferences_unprocessed")
    first, second = Completion(text(row, "response_1")), Completion(text(row, "response_2"))
    return [Comparison(_prompt(row), first, second, preference, margin=margin, rationale=rationale, metadata=metadata)]


def _read_helpsteer3(row: Row) -> list[Outcome]:
    preference, margin = _strength(row, "overall_preference")
    individual = listed(row, "individual_preference") if row.get("individual_preference") else []
    rationale = "\n\n".join(one["reasoning"] for one in individual if isinstance(one, dict) and one.get("reasoning"))
    metadata = chosen_keys(row, "domain", "language", "individual_preference")
    prompt = Prompt(messages_of(need(row, "context"), "context")[0])
    first, second = Completion(text(row, "response1")), Completion(text(row, "response2"))
    return [Comparison(prompt, first, second, preference, margin=margin, rationale=rationale, metadata=metadata)]


FORMATS = (
    Format(
        "helpsteer3",
        "HelpSteer3",
        ("domain", "language", "context", "response1", "response2", "overall_preference"),
        lambda row: has(row, "context", "response1", "response2", "overall_preference"),
        _read_helpsteer3,
    ),
    Format(
        "helpsteer2-preference",
        "HelpSteer2 preferences",
        ("prompt", "response_1", "response_2", "preference_strength"),
        lambda row: has(row, "prompt", "response_1", "response_2", "preference_strength"),
        _read_preference,
    ),
    Format(
        "helpsteer2",
        "HelpSteer2 ratings",
        ("prompt", "response", *ATTRIBUTES),
        lambda row: has(row, "prompt", "response", "helpfulness"),
        _read_ratings,
    ),
)
