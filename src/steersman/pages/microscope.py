"""One kept sample of a PPO run, checked and made ready for the token microscope: a text and numbers for each token.

The numbers are those of the sample file. One is made here: Q of a token, what it was paid plus what the critic expects after it
(gamma times the value of the next state, nothing after the last): the one-step estimate whose surplus over the value is the
temporal difference.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("values", "returns", "advantages", "rewards", "kl", "log_probs", "reference_log_probs", "entropies")
NEEDED = ("log_probs", "reference_log_probs", "kl", "entropies", "rewards", "advantages", "returns")
END = "∎"
"""Stands for a token without text: the one that ends the answer."""


def entry_of(row: Mapping[str, Any], *, label: str, gamma: float, note: str) -> dict[str, Any]:
    """A sample as the page reads it; a ValueError that says what is wrong with a row that is none."""
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
        after = [*columns["values"][1:], 0.0]
        columns["q"] = [round(paid + gamma * then, 6) for paid, then in zip(columns["rewards"], after, strict=True)]
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
    """The text of each token; the letters of one that two tokens share stand with the second."""
    try:
        texts = [answer[int(start) : int(end)] for start, end in offsets]
    except (TypeError, ValueError) as error:
        raise ValueError("offsets that are no pairs of places") from error
    return [text or END for text in texts]


def _numbers(name: str, values: Any, length: int) -> list[float]:
    if not isinstance(values, Sequence) or len(values) != length:
        raise ValueError(f"{name} is not {length} numbers, one for each token")
    if not all(_finite(value) for value in values):
        raise ValueError(f"{name} holds what is no finite number")
    return [float(value) for value in values]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
