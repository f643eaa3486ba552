"""Import of records and of full-fidelity rows into a project, in batches that are saved one by one.

Each label has a key that follows from its content (or stands in its row), so an import that was killed is repeated, and
what is there already is not added again.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import func, select, update

from steersman.data.columns import Columns
from steersman.data.formats.studio import from_columns, is_studio_row, nested_value
from steersman.data.load import ReadReport, load_records
from steersman.data.sources import open_rows
from steersman.dataclass_rows import build
from steersman.errors import DataError, UsageError
from steersman.records import Answers, Completion, Malformed, Prompt, Record, to_dict
from steersman.store.checks import REPEATED
from steersman.store.claims import finish_claim
from steersman.store.content import BESIDE, Content, GivenVerdict, key_of, parts_of, text_of
from steersman.store.events import NewEvent, append, known_keys
from steersman.store.gold import give_answers
from steersman.store.items import FOR_EVERYBODY, NewItem, batches, item_key, put_items
from steersman.store.projects import Project, annotators_named, lock_project
from steersman.store.schema import annotator, item
from steersman.store.standing import place_labels, verdicts_of

_ROLES = ("reviewer", "admin", "viewer")
_EXPECTED = ("preference", "both_bad", "ranks", "ratings", "desirable", "rationale")
"""What of a judgement makes a known answer."""


@dataclass(frozen=True, slots=True)
class Arriving:
    """One record on its way into the store: its item, and its label, if it has one."""

    item: NewItem
    judged: GivenVerdict | None = None
    key: str = ""
    name: str = ""
    kind: str = "label"
    role: str = ""


@dataclass
class ImportReport:
    """Counts of an import. `repeated` labels were there already. `known_answers` are items that were there, and became
    gold or practice; `refused` ones cannot be practice, because people have judged them."""

    read: ReadReport = field(default_factory=ReadReport)
    items: int = 0
    labels: int = 0
    repeated: int = 0
    tasks: int = 0
    known_answers: int = 0
    refused: int = 0

    def as_dict(self) -> dict[str, Any]:
        counts = ("items", "labels", "repeated", "tasks", "known_answers", "refused")
        rest = {name: getattr(self, name) for name in counts}
        return {**rest, "read": self.read.as_dict()}


@dataclass(frozen=True, slots=True)
class Wishes:
    """How records become items: their round, the annotator of labels that name none, and which kind of task each
    record of answers becomes (`task`), for so many people (`overlap`). With a `purpose` (gold, practice) judgements
    become tasks with a known answer, and no labels."""

    round: str = ""
    annotator: str = ""
    task: str = ""
    overlap: int = 1
    purpose: str = ""


def import_source(found: Project, source: str, wishes: Wishes, *, format: str | Columns | None = None) -> ImportReport:
    """Import a source of any format, or any table by its columns."""
    report = ImportReport()
    import_arriving(found, arriving_of(source, wishes, report.read, format=format), report)
    return report


def arriving_of(
    source: str, wishes: Wishes, report: ReadReport, *, format: str | Columns | None = None
) -> Iterator[Arriving]:
    """What a source would bring into a project; rows are counted as they are read."""
    first = next((row for _, row in open_rows(source) if not isinstance(row, Malformed)), None)
    if format in (None, "studio") and first is not None and is_studio_row(first):
        report.source = source
        return _from_rows(source, report)
    return from_records(load_records(source, format=format, report=report), wishes)


def import_arriving(found: Project, arriving: Iterable[Arriving], report: ImportReport) -> None:
    for batch in batches(arriving):
        _import_batch(found, batch, report)


def from_records(records: Iterable[Record], wishes: Wishes) -> Iterator[Arriving]:
    """Records as they arrive, with a key that is the same at every import of the same source."""
    seen: Counter[str] = Counter()
    for record in records:
        content, judged = parts_of(record)
        if judged is None:
            yield Arriving(NewItem(content, wishes.round))
            if wishes.task:
                yield from (Arriving(task) for task in tasks_of(content, wishes))
            continue
        if wishes.purpose:
            yield Arriving(_known_answer(content, judged, wishes))
            continue
        if not judged.annotator and wishes.annotator:
            judged = replace(judged, annotator=wishes.annotator)
        new = NewItem(content, wishes.round)
        said = [item_key(new), judged.annotator, str(judged.verdict.get("id", ""))]
        said += [] if judged.annotator and said[2] else [dict(judged.verdict)]
        seen[key_of(*said)] += 1
        times = seen[key_of(*said)]
        key = "import-" + key_of(*said, dict(judged.verdict), times)
        # Labels without a name of their own are told apart: nobody knows whether one person gave them.
        name = str(judged.verdict.get("id", ""))[:180] or ("" if judged.annotator else key)
        yield Arriving(new, judged, key, name if times == 1 else f"{name}#{times}")


def _known_answer(content: Content, judged: GivenVerdict, wishes: Wishes) -> NewItem:
    """A judgement as a task whose answer is known."""
    if content.kind not in REPEATED:
        raise UsageError(f"a {content.kind} has no one right answer; gold and practice are {', '.join(REPEATED)}")
    overlap = FOR_EVERYBODY if wishes.purpose == "gold" else 0
    expected = {name: one for name, one in judged.verdict.items() if name in _EXPECTED}
    return NewItem(content, wishes.round, overlap, gold=expected, purpose=wishes.purpose)


def tasks_of(content: Content, wishes: Wishes) -> list[NewItem]:
    """The tasks of a kind that a prompt or its answers give. Answers with the same text are one."""
    by_text: dict[str, Completion] = {}
    for one in content.completions:
        by_text.setdefault(one.text, one)
    answers, make = tuple(by_text.values()), _task_maker(content, wishes)
    if content.prompt is None:
        return []
    match wishes.task:
        case "pair":
            return [make(pair) for pair in itertools.combinations(answers, 2)]
        case "ranking":
            return [make(answers)] if len(answers) > 1 else []
        case "rating" | "thumb":
            return [make((one,)) for one in answers]
        case "red_team":
            return [make(())]
        case _:
            return [make(answers)]


def _task_maker(content: Content, wishes: Wishes) -> Callable[[tuple[Completion, ...]], NewItem]:
    def make(answers: tuple[Completion, ...]) -> NewItem:
        return NewItem(Content(wishes.task, content.prompt, answers), wishes.round, wishes.overlap)

    return make


def _from_rows(source: str, report: ReadReport) -> Iterator[Arriving]:
    for line, row in open_rows(source):
        report.rows += 1
        try:
            if isinstance(row, Malformed):
                raise DataError(row.reason)
            arriving = from_row(row)
        except DataError as error:
            report.add_malformed(Malformed(source, line, str(error)))
            continue
        report.records += 1
        yield arriving


def from_row(row: Mapping[str, Any]) -> Arriving:
    """A full-fidelity row as it arrives."""
    record = from_columns(row)
    shown, judged = parts_of(record)
    content = replace(shown, kind=row.get("item") or shown.kind)
    asked = nested_value(row, "asked")
    if asked is not None:
        asking = None if "prompt" not in asked else build(Prompt, asked["prompt"], "asked.prompt")
        answers = tuple(build(Completion, one, "asked.completions") for one in asked.get("completions", []))
        content = Content(content.kind, asking, answers, asked.get("body", {}))
    new = NewItem(
        content,
        row.get("round") or "",
        row.get("overlap") or 0,
        row.get("turn") or 0.0,
        row.get("reason") or "",
        nested_value(row, "gold"),
        row.get("purpose") or "",
        row.get("choice") or "",
    )
    if judged is None or isinstance(record, Answers | Prompt):
        return Arriving(new)
    if content.kind == "red_team":
        judged = GivenVerdict({"record": _without_annotator(record)}, judged.annotator)
    if content.kind == "demonstration":
        beside = {name: row[name] for name in BESIDE if row.get(name) is not None}
        judged = replace(judged, verdict={**judged.verdict, **beside})
    key = row.get("key") or "import-" + key_of(item_key(new), judged.annotator, dict(judged.verdict))
    name = row.get("name") or str(judged.verdict.get("id", ""))
    kind = "adjudication" if row.get("adjudication") else "label"
    return Arriving(new, judged, key, name, kind, row.get("role") or "")


def _without_annotator(record: Any) -> dict[str, Any]:
    return {name: value for name, value in to_dict(record).items() if name != "annotator"}


def _import_batch(found: Project, batch: Iterable[Arriving], report: ImportReport) -> None:
    arrivals = list(batch)
    with found.database.write() as connection:
        locked = lock_project(connection, found)
        first_new = _last_item(connection, found)
        ids = put_items(connection, found, [one.item for one in arrivals])
        labelled = [(one, number) for one, number in zip(arrivals, ids, strict=True) if one.judged is not None]
        known = known_keys(connection, found.id, [one.key for one, _ in labelled])
        people = annotators_named(connection, found.id, {one.judged.annotator for one, _ in labelled if one.judged})
        _keep_roles(connection, people, arrivals)
        said = verdicts_of(connection, found.id, sorted({number for _, number in labelled}))
        events: dict[str, NewEvent] = {}
        for one, number in labelled:
            assert one.judged is not None
            who = people[one.judged.annotator]
            if one.key not in known and said.get((number, who, one.name)) != text_of(dict(one.judged.verdict)):
                events.setdefault(one.key, NewEvent(one.kind, one.key, number, who, one.name, body=one.judged.verdict))
        numbers = append(connection, locked, list(events.values()))
        places = [
            ((new.item_id or 0, new.annotator_id or 0, new.name), number)
            for new, number in zip(events.values(), numbers, strict=True)
        ]
        place_labels(connection, found.id, places)
        handed_out = {number for one, number in labelled if one.item.overlap and one.kind == "label"}
        for item_id, who, _ in (thread for thread, _ in places):
            if item_id in handed_out:
                finish_claim(connection, found.id, item_id, who)
        fresh = {number for number in ids if number > first_new}
        answered = {
            number: one.item
            for one, number in zip(arrivals, ids, strict=True)
            if one.item.purpose and number not in fresh
        }
        known_answers, refused = give_answers(connection, found, answered)
    report.items += len(fresh)
    report.known_answers += known_answers
    report.refused += refused
    report.labels += len(numbers)
    report.repeated += len(labelled) - len(numbers)
    report.tasks += sum(one.item.overlap > 0 for one, number in zip(arrivals, ids, strict=True) if number in fresh)


def _last_item(connection: Any, found: Project) -> int:
    return connection.execute(select(func.max(item.c.id)).where(item.c.project_id == found.id)).scalar_one() or 0


def _keep_roles(connection: Any, people: Mapping[str, int], arrivals: Iterable[Arriving]) -> None:
    """Give the annotators of a full-fidelity export the roles that they had."""
    roles = {people[one.judged.annotator]: one.role for one in arrivals if one.judged and one.role in _ROLES}
    for number, role in roles.items():
        connection.execute(update(annotator).where(annotator.c.id == number).values(role=role))
