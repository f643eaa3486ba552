"""All data formats, and detection of the format of given rows."""

import difflib
from collections.abc import Sequence

from steersman.data.formats import (
    anthropic,
    arena,
    argilla,
    classified,
    helpsteer,
    instructions,
    label_studio,
    llamafactory,
    native,
    oasst,
    openai,
    studio,
    trl,
    ultrafeedback,
)
from steersman.data.formats.format import Format, Row
from steersman.errors import DataError, UsageError
from steersman.extensions import extension_names, load_extension, unfit

# From specific to general: the first format that recognises at least half of the sample wins.
_FAMILIES = (
    studio,
    native,
    argilla,
    label_studio,
    oasst,
    openai,
    ultrafeedback,
    helpsteer,
    arena,
    instructions,
    llamafactory,
    anthropic,
    classified,
    trl,
)
FORMATS: dict[str, Format] = {found.name: found for family in _FAMILIES for found in family.FORMATS}


_GROUP = "steersman.data_formats"


def format_named(name: str) -> Format:
    """The format of this name: ours, or one that another package brings."""
    if name not in FORMATS and name in extension_names(_GROUP):
        return _of_extension(name)
    if name not in FORMATS:
        known = [*FORMATS, *extension_names(_GROUP)]
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(known)}"
        raise UsageError(f"there is no format {name!r}; {hint}")
    return FORMATS[name]


def _of_extension(name: str) -> Format:
    brought = load_extension(name, _GROUP)
    if not isinstance(brought, Format):
        raise unfit(name, brought, "a steersman.data.formats.format.Format", _GROUP)
    return brought


def detect(sample: Sequence[Row]) -> Format:
    """The most specific format that recognises at least half of a sample, or else the one that recognises most rows.

    Choosing the one that recognises most rows would be wrong: one pair without "rejected" would turn a file of pairs
    into a file of prompts. Formats of other packages are tried where none of ours recognises half: to install a
    package changes nothing about files that are read already.
    """
    counts: dict[str, int] = {}
    for known in (FORMATS, {name: None for name in extension_names(_GROUP) if name not in FORMATS}):
        counts |= {name: sum(format_named(name).recognises(row) for row in sample) for name in known}
        best = next((name for name in counts if counts[name] and 2 * counts[name] >= len(sample)), "")
        if best:
            return format_named(best)
    best = max(counts, key=lambda name: counts[name])
    if not counts[best]:
        raise DataError(_unrecognised(sample))
    return format_named(best)


def _unrecognised(sample: Sequence[Row]) -> str:
    seen = list(dict.fromkeys(key for row in sample for key in row))
    if not seen:
        return (
            "no rows with fields to detect a format from; expected JSON objects, one per line, or a table with a header"
        )

    def likeness(found: Format) -> tuple[float, int]:
        matched = [field for field in found.fields if difflib.get_close_matches(field, seen, n=1, cutoff=0.75)]
        return len(matched) / len(found.fields), len(matched)

    close = sorted((found for found in FORMATS.values() if likeness(found)[1]), key=likeness, reverse=True)[:3]
    nearest = "; ".join(f"{found.name} ({', '.join(found.fields)})" for found in close)
    hint = f"did you mean {nearest}?" if close else f"known formats: {', '.join(FORMATS)}."
    return (
        f"the fields {', '.join(seen[:20])} match no known format; {hint} Give the format, or say which column holds "
        "what, such as columns.prompt=question"
    )
