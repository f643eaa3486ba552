"""UltraFeedback (Cui et al. 2023): several answers with ratings by aspect; and the binarized version for Zephyr."""

from statistics import fmean
from typing import Any

from steersman.data.formats.fields import (
    asked,
    chosen_keys,
    has,
    is_messages,
    listed,
    number,
    text,
    text_or,
    write_messages,
)
from steersman.data.formats.format import Format, Outcome, Row
from steersman.data.formats.trl import read_preference
from steersman.errors import DataError
from steersman.records import Comparison, Completion, Message, Prompt, Ranking


def _ratings(completion: Row) -> dict[str, float]:
    """The ratings by aspect. Aspects with "N/A" are left out."""
    ratings: dict[str, float] = {}
    for aspect, judged in (completion.get("annotations") or {}).items():
        rating = judged.get("Rating") if isinstance(judged, dict) else None
        try:
            ratings[aspect.replace("-", "_")] = float(rating)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
    return ratings


def _completion(value: Any) -> Completion:
    if not isinstance(value, dict):
        raise DataError("a completion should be an object with 'response'")
    scores = _ratings(value)
    for field, name in (("overall_score", "overall"), ("fine-grained_score", "fine_grained")):
        if value.get(field) is not None:
            scores[name] = number(value, field)
    sampling = chosen_keys(value, "principle", "custom_system_prompt")
    return Completion(text(value, "response"), model=text_or(value, "model"), sampling=sampling, scores=scores)


def _score(completion: Completion) -> float:
    """The overall score, or the mean rating if there is none."""
    if "overall" in completion.scores:
        return completion.scores["overall"]
    if not completion.scores:
        raise DataError("a completion has neither an overall score nor ratings")
    return fmean(completion.scores.values())


def _read_ranking(row: Row) -> list[Outcome]:
    completions = [_completion(value) for value in listed(row, "completions")]
    empty = [c.model or f"number {i + 1}" for i, c in enumerate(completions) if not c.text.strip()]
    completions = [c for c in completions if c.text.strip()]
    if len(completions) < 2:
        raise DataError(f"fewer than two answers: seen {len(completions)} (and {len(empty)} empty)")
    scores = [_score(completion) for completion in completions]
    ranks = tuple(1 + sum(other > score for other in scores) for score in scores)
    metadata = {**chosen_keys(row, "source"), **({"empty_answers": empty} if empty else {})}
    return [Ranking(asked(text(row, "instruction")), tuple(completions), ranks, metadata=metadata)]


def _read_binarized(row: Row) -> list[Outcome]:
    found = read_preference({key: row[key] for key in ("prompt", "chosen", "rejected") if key in row})[0]
    assert isinstance(found, Comparison)
    scores = [number(row, "score_chosen"), number(row, "score_rejected")]
    if not found.prompt.messages:
        raise DataError("'chosen' should be messages: seen a text")
    prompt = Prompt(found.prompt.messages, id=text_or(row, "prompt_id"))
    first = Completion(found.first.text, scores={"score": scores[0]})
    second = Completion(found.second.text, scores={"score": scores[1]})
    preference = 0.5 if scores[0] == scores[1] else float(scores[0] > scores[1])
    return [Comparison(prompt, first, second, preference, margin=abs(scores[0] - scores[1]))]


def _write_binarized(record: Comparison) -> dict[str, Any]:
    if not record.prompt.messages:
        raise DataError("the binarized format needs a conversation: this prompt is a plain text")
    before = write_messages(record.prompt.messages)
    chosen = [*before, *write_messages([Message("assistant", record.chosen.text)])]
    rejected = [*before, *write_messages([Message("assistant", record.rejected.text)])]
    good, bad = _written_scores(record)
    return {
        "prompt": record.prompt.shown,
        "prompt_id": record.prompt.id,
        "chosen": chosen,
        "rejected": rejected,
        "messages": chosen,
        "score_chosen": good,
        "score_rejected": bad,
    }


def _written_scores(record: Comparison) -> tuple[float, float]:
    """The answers' own scores if they agree with the preference; else the margin (or 1) and 0, for a tie 0 and 0."""
    good, bad = record.chosen.scores.get("score"), record.rejected.scores.get("score")
    if good is not None and bad is not None and (good > bad or (record.tied and good == bad)):
        return good, bad
    if record.tied:
        return 0.0, 0.0
    return (1.0 if record.margin is None or record.margin == 0 else record.margin), 0.0


FORMATS = (
    Format(
        "ultrafeedback",
        "UltraFeedback",
        ("instruction", "models", "completions"),
        lambda row: has(row, "instruction", "completions") and isinstance(row["completions"], list),
        _read_ranking,
    ),
    Format(
        "ultrafeedback-binarized",
        "UltraFeedback binarized",
        ("prompt", "prompt_id", "chosen", "rejected", "messages", "score_chosen", "score_rejected"),
        lambda row: has(row, "score_chosen", "score_rejected") and is_messages(row.get("chosen")),
        _read_binarized,
        _write_binarized,
        (Comparison,),
    ),
)
