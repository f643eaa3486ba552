"""What a foreign row cannot say in its own fields travels beside them as one JSON text, so that an export comes back whole.

On the way back the row's own fields win: they are what a person may have changed.
"""

import json
from collections.abc import Mapping
from typing import Any

from steersman.records import Record, from_dict, to_dict

FIELD = "steersman"


def pack(record: Record, *said: str) -> str:
    """The record without the parts that the row itself says, given as paths: "first.text", "completions.text"."""
    whole = to_dict(record)
    for path in said:
        _remove(whole, path.split("."))
    return json.dumps(whole, ensure_ascii=False, sort_keys=True)


def _remove(value: Any, path: list[str]) -> None:
    if isinstance(value, list):
        for item in value:
            _remove(item, path)
    elif isinstance(value, dict) and path[0] in value:
        if len(path) == 1:
            del value[path[0]]
        else:
            _remove(value[path[0]], path[1:])


def unpack(packed: Any) -> dict[str, Any]:
    """What `pack` wrote; anything else counts as nothing, for the field may have been edited or cut off."""
    if not isinstance(packed, str):
        return {}
    try:
        value = json.loads(packed)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def whole(extras: Mapping[str, Any], said: Mapping[str, Any]) -> Record:
    """The record that the row's own fields and the extras make together."""
    if extras.get("kind") != said["kind"]:
        extras = {}
    merged = _merge(extras, said)
    preference = extras.get("preference")
    if isinstance(preference, int | float) and _side(preference) == _side(said.get("preference", -1.0)):
        merged["preference"] = preference  # a soft label says more than who won
    ranks, seen = extras.get("ranks"), said.get("ranks")
    if ranks and seen and _dense(ranks) == _dense(seen):
        merged["ranks"] = ranks  # 1, 1, 2 and 1, 1, 3 say the same
    return from_dict(merged)


def _dense(ranks: list[int]) -> list[int]:
    order = sorted(set(ranks))
    return [order.index(rank) for rank in ranks]


def _side(preference: float) -> int:
    return (preference > 0.5) - (preference < 0.5)


def _merge(below: Any, above: Any) -> Any:
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **{key: _merge(below.get(key), value) for key, value in above.items()}}
    if isinstance(below, list) and isinstance(above, list) and len(below) == len(above):
        return [_merge(a, b) for a, b in zip(below, above, strict=True)]
    return above
