"""One saved sample of a PPO run, validated for the token microscope: text and numbers per token.

The numbers are those of the sample file, and one is computed here: Q of a token, its reward plus gamma times the next
value (0 after the last token). Q - V is the one-step temporal difference (TD error).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("values", "returns", "advantages", "rewards", "kl", "log_probs", "reference_log_probs", "entropies")
NEEDED = ("log_probs", "reference_log_probs", "kl", "entropies", "rewards", "advantages", "returns")
END = "∎"
"""Shown for a token without text, such as EOS."""


def entry_of(row: Mapping[str, Any], *, label: str, gamma: float, note: str) -> dict[str, Any]:
    """The sample in the page's format. Raises ValueError, with the reason, if a row is not a complete sample."""
    ids = row.get("ids")
    offsets = row.get("offsets")
    if not isinstance(ids, Sequence) or not ids or not isinstance(offsets, Sequence) or len(offsets) != len(ids):
        raise ValueError("no ids with an offset each")
    columns: dict[str, list[float]] = {}
    for name in COLUMNS:
        if name not in row:
            if name in NEEDED:
                raise ValueError(f"no {name}")
            continue
        columns[name] = _numbers(name, row[name], len(ids))
    if "values" in columns:
        following = [*columns["values"][1:], 0.0]
        columns["q"] = [
            round(reward + gamma * value, 6) for reward, value in zip(columns["rewards"], following, strict=True)
        ]
    prompt, answer, score = row.get("prompt"), row.get("answer"), row.get("score")
    if not isinstance(prompt, str) or not isinstance(answer, str) or not _finite(score):
        raise ValueError("no prompt, answer and score")
    return {
        "label": label,
        "note": note,
        "prompt": prompt,
        "answer": answer,
        "score": score,
        "finish": str(row.get("finish", "")),
        "tokens": texts_of(answer, offsets),
        "columns": columns,
        "alternatives": {},
    }


def texts_of(answer: str, offsets: Sequence[Any]) -> list[str]:
    """The text of each token. A character that spans several tokens belongs to the last of them."""
    try:
        texts = [answer[int(start) : int(end)] for start, end in offsets]
    except (TypeError, ValueError) as error:
        raise ValueError("the offsets are not pairs of positions") from error
    return [text or END for text in texts]


def _numbers(name: str, values: Any, length: int) -> list[float]:
    if not isinstance(values, Sequence) or len(values) != length:
        raise ValueError(f"{name} is not {length} numbers, one for each token")
    if not all(_finite(value) for value in values):
        raise ValueError(f"{name} has a value that is not a finite number")
    return [float(value) for value in values]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
