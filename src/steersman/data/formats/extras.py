"""The field `steersman` in exported rows: what the target format has no fields for, as JSON, so that nothing is lost.

When an exported row is read back, its own fields take precedence, because a person may have edited them.
"""

import json
from collections.abc import Mapping
from typing import Any

from steersman.records import Record, from_dict, to_dict

FIELD = "steersman"


def pack(record: Record, *written: str) -> str:
    """The record as JSON, without the parts that the row has fields for: paths such as "first.text"."""
    whole = to_dict(record)
    for path in written:
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
    """The dictionary that `pack` wrote. Empty if the field was edited or truncated and is not valid."""
    if not isinstance(packed, str):
        return {}
    try:
        value = json.loads(packed)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def whole(extras: Mapping[str, Any], fields: Mapping[str, Any]) -> Record:
    """The record from the row's own `fields` and the unpacked `extras`."""
    if extras.get("kind") != fields["kind"]:
        extras = {}
    merged = _merge(extras, fields)
    preference = extras.get("preference")
    if isinstance(preference, int | float) and _side(preference) == _side(fields.get("preference", -1.0)):
        merged["preference"] = preference  # keep a soft label whose winner was not edited
    ranks, seen = extras.get("ranks"), fields.get("ranks")
    if ranks and seen and _dense(ranks) == _dense(seen):
        merged["ranks"] = ranks  # the ranks 1, 1, 2 and 1, 1, 3 are the same order
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
