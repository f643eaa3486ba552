"""The native format: a record's fields and its `kind`. It is lossless in both directions."""

from steersman.data.formats.format import Format, Outcome, Row
from steersman.records import KINDS, from_dict, to_dict


def _read(row: Row) -> list[Outcome]:
    return [from_dict(row)]


NATIVE = Format(
    name="native",
    title="Steersman's own",
    fields=("kind",),
    recognises=lambda row: isinstance(row.get("kind"), str) and row["kind"] in KINDS,
    read=_read,
    write=to_dict,
    writes=tuple(KINDS.values()),
)

FORMATS = (NATIVE,)
