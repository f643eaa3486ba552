"""OpenAI's human feedback: summarize-from-feedback (Stiennon et al. 2020) and lm-human-preferences (Ziegler et al.
2019)."""

from typing import Any

from steersman.data.formats.fields import chosen_keys, has, listed, mapping, need, number, text, text_or
from steersman.data.formats.format import Format, Outcome, Row
from steersman.errors import DataError
from steersman.records import Comparison, Completion, Label, Prompt, Ranking


def _post(info: Row) -> Prompt:
    """The prompt of the published models: a Reddit post or a news article, then 'TL;DR:'."""
    title = text_or(info, "title")
    if info.get("post") is not None:
        parts = [f"SUBREDDIT: r/{info['subreddit']}"] if info.get("subreddit") else []
        parts += [f"TITLE: {title}"] if title else []
        parts += [f"POST: {text(info, 'post')}"]
    else:
        parts = [f"TITLE: {title}"] if title else []
        parts += [f"ARTICLE: {text(info, 'article')}"]
    words, site = "\n\n".join([*parts, "TL;DR:"]), chosen_keys(info, "site")
    return Prompt(text=words, id=text_or(info, "id"), metadata=site, continued=True)


def _summary(value: Any) -> Completion:
    if not isinstance(value, dict):
        raise DataError("a summary should be an object with 'text'")
    return Completion(text(value, "text"), model=text_or(value, "policy"))


def _notes(row: Row) -> dict[str, Any]:
    return {**chosen_keys(row, "batch", "split"), **chosen_keys(row.get("extra") or {}, "confidence")}


def _read_comparison(row: Row) -> list[Outcome]:
    summaries = listed(row, "summaries")
    if len(summaries) != 2:
        raise DataError(f"'summaries' should hold two: seen {len(summaries)}")
    choice = need(row, "choice")
    if choice not in (0, 1):
        raise DataError(f"'choice' should be 0 or 1: seen {choice!r}")
    notes = [s["note"] for s in summaries if isinstance(s, dict) and s.get("note")]
    first, second = map(_summary, summaries)
    return [
        Comparison(
            _post(mapping(row, "info")),
            first,
            second,
            1.0 - float(choice),
            annotator=text_or(row, "worker"),
            rationale="\n".join(notes),
            metadata=_notes(row),
        )
    ]


def _read_axis(row: Row) -> list[Outcome]:
    summary = mapping(row, "summary")
    axes = {key: float(value) for key, value in mapping(summary, "axes").items() if isinstance(value, int | float)}
    note = {"note": summary["note"]} if summary.get("note") else {}
    return [
        Label(
            _post(mapping(row, "info")),
            _summary(dict(summary)),
            ratings=axes,
            annotator=text_or(row, "worker"),
            metadata={**_notes(row), **note},
        )
    ]


def _text(row: Row, key: str) -> str:
    """A text field. The published label files have GPT-2 token ids instead, which are an error."""
    value = need(row, key)
    if isinstance(value, list):
        raise DataError(f"{key!r} holds token ids: decode them with the GPT-2 tokeniser first")
    return text(row, key)


def _read_best_of(row: Row) -> list[Outcome]:
    samples = [_text(row, f"sample{i}") for i in range(sum(1 for key in row if key.startswith("sample")))]
    best = int(number(row, "best"))
    if not 0 <= best < len(samples):
        raise DataError(f"'best' should be between 0 and {len(samples) - 1}: seen {best}")
    ranks = tuple(1 if i == best else 2 for i in range(len(samples)))
    return [Ranking(Prompt(text=_text(row, "query"), continued=True), tuple(map(Completion, samples)), ranks)]


def _read_scalar_rating(row: Row) -> list[Outcome]:
    prompt = Prompt(text=_text(row, "query"), continued=True)
    return [Label(prompt, Completion(_text(row, "sample")), ratings={"score": number(row, "score")})]


def _read_scalar_comparison(row: Row) -> list[Outcome]:
    """A comparison. `difference` is how much better sample1 is than sample0."""
    difference = number(row, "difference")
    preference = 0.5 if difference == 0 else float(difference < 0)
    prompt = Prompt(text=_text(row, "query"), continued=True)
    first, second = Completion(_text(row, "sample0")), Completion(_text(row, "sample1"))
    return [Comparison(prompt, first, second, preference, margin=abs(difference))]


FORMATS = (
    Format(
        "summarize-comparisons",
        "OpenAI summarize-from-feedback, comparisons",
        ("info", "summaries", "choice", "worker"),
        lambda row: has(row, "info", "summaries", "choice"),
        _read_comparison,
    ),
    Format(
        "summarize-axis",
        "OpenAI summarize-from-feedback, axis ratings",
        ("info", "summary", "worker"),
        lambda row: has(row, "info", "summary"),
        _read_axis,
    ),
    Format(
        "lm-human-preferences-best-of",
        "OpenAI lm-human-preferences, best of N",
        ("query", "sample0", "sample1", "best"),
        lambda row: has(row, "query", "sample0", "best"),
        _read_best_of,
    ),
    Format(
        "lm-human-preferences-rating",
        "OpenAI lm-human-preferences, scalar rating",
        ("query", "sample", "score"),
        lambda row: has(row, "query", "sample", "score"),
        _read_scalar_rating,
    ),
    Format(
        "lm-human-preferences-comparison",
        "OpenAI lm-human-preferences, scalar comparison",
        ("query", "sample0", "sample1", "difference"),
        lambda row: has(row, "query", "sample0", "sample1", "difference"),
        _read_scalar_comparison,
    ),
)
