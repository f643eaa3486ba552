"""How fast a project goes: labels of people by day, and when it is done if it goes on like that."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import case, func, select

from steersman.store.progress import project_progress
from steersman.store.projects import Project
from steersman.store.schema import annotator, event, item

WINDOW = 7
"""Days that the forecast looks back."""
SHOWN = 14
LEAST_LABELS = 5
"""Fewer labels than these allow no forecast."""
_LEAST_HOURS = 1.0
_LONGEST = timedelta(days=3650)


def project_pace(
    found: Project, moment: datetime | None = None, *, progress: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Labels by day and by annotator, the pace of the last days, and when all labels are given at this pace. Imported
    labels are not counted: they say nothing of how fast people are. `progress` is the project's, if it is known."""
    moment = moment or datetime.now(UTC)
    progress = progress or project_progress(found)
    days = [(moment - timedelta(days=ago)).date().isoformat() for ago in reversed(range(SHOWN))]
    by_day, recent, first = dict.fromkeys(days, 0), dict[str, int](), ""
    start = (moment - timedelta(days=WINDOW)).isoformat(timespec="milliseconds")
    with found.database.read() as connection:
        for row in connection.execute(_labels(found.id, days[0], start)):
            by_day[row.day] = by_day.get(row.day, 0) + row.labels
            if row.recent:
                recent[row.pseudonym] = recent.get(row.pseudonym, 0) + row.labels
                first = min(first or row.first, row.first)
    labels = sum(recent.values())
    since = datetime.fromisoformat(first) if first else moment
    hours = max((moment - since).total_seconds() / 3600, _LEAST_HOURS)
    left = max(0, progress["wanted"] - progress["given"])
    return {
        "days": [{"day": day, "labels": by_day[day]} for day in days],
        "recent": labels,
        "since": first or None,
        "by_annotator": recent,
        "per_day": round(24 * labels / hours, 1),
        "left": left,
        "done_at": _done_at(moment, left, labels, hours),
    }


def _done_at(moment: datetime, left: int, labels: int, hours: float) -> str | None:
    """When the last label is given, if people go on as in the hours of this window; None where nobody can say."""
    if not left or labels < LEAST_LABELS:
        return None
    needed = timedelta(hours=min(left * hours / labels, _LONGEST.total_seconds() / 3600))
    return None if needed >= _LONGEST else (moment + needed).isoformat(timespec="minutes")


def _labels(project_id: int, since: str, start: str) -> Any:
    """Labels by annotator and day, those from `start` on apart: all from one pass over the events."""
    day, recent = func.substr(event.c.recorded, 1, 10), case((event.c.recorded >= start, 1), else_=0)
    counted = (
        select(
            event.c.annotator_id,
            day.label("day"),
            recent.label("recent"),
            func.count().label("labels"),
            func.min(event.c.recorded).label("first"),
        )
        .join(item, item.c.id == event.c.item_id)
        .where(event.c.project_id == project_id, event.c.kind == "label", event.c.recorded >= since)
        .where(item.c.overlap > 0, event.c.key.not_like("import-%"))
        .group_by(event.c.annotator_id, "day", "recent")
        .subquery()
    )
    return select(counted, annotator.c.pseudonym).join(annotator, annotator.c.id == counted.c.annotator_id)
