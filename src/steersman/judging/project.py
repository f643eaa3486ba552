"""A sitting in the terminal whose judgements go into a project: `steersman label --out studio:PROJECT`."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from steersman.errors import ServiceError
from steersman.judging.history import SaveError
from steersman.judging.ledger import KIND_FOR
from steersman.judging.verdicts import Judgement, item_of
from steersman.store.annotators import ActRow, acts_of
from steersman.store.content import parts_of
from steersman.store.drafts import draft_of, save_draft
from steersman.store.items import NewItem, add_items, item_with_key
from steersman.store.labelling import Submission, note_session, revisit_skipped, skip_unknown, submit_label, undo_last
from steersman.store.place import default_path
from steersman.store.projects import Project
from steersman.store.sources import StudioSource


@dataclass(frozen=True, slots=True)
class StoredAct:
    """An action in effect, with the number of its event."""

    item: str
    record: Judgement | None
    number: int


class ProjectLedger:
    """One annotator's judgements of one kind in a project (a `LabelKeeper`)."""

    def __init__(self, project: Project, source: StudioSource, *, mode: str, annotator: str) -> None:
        self.mode, self.annotator = mode, annotator
        self.notices: list[str] = []
        self._project, self._source = project, source
        rows = acts_of(project, annotator)
        self.acts = [act for row in rows if (act := self._act(row)) is not None]
        if late := sum(row.late for row in rows):
            self.notices = [
                f"{late} of your judgements do not count: others had judged these items before; all are kept"
            ]

    def _act(self, row: ActRow) -> StoredAct | None:
        if row.record is None:
            return StoredAct(row.skipped, None, row.number) if row.skipped else None
        if not isinstance(row.record, KIND_FOR[self.mode]) or not row.record.id:  # type: ignore[union-attr]
            return None
        return StoredAct(item_of(row.record), row.record, row.number)  # type: ignore[arg-type]

    @property
    def place(self) -> str:
        return str(self._source)

    @property
    def judged(self) -> set[str]:
        return {act.item for act in self.acts if act.record is not None}

    @property
    def skipped(self) -> set[str]:
        return {act.item for act in self.acts if act.record is None}

    @property
    def records(self) -> list[Judgement]:
        return [act.record for act in self.acts if act.record is not None]

    def open_sitting(self, **facts: object) -> None:
        note_session(self._project, self.annotator, _key(), facts)

    def judge(self, item: str, record: Judgement, **facts: object) -> None:
        """Save a judgement; it is on disk when this returns. If that fails, SaveError says why."""
        content, judged = parts_of(record)
        assert judged is not None
        new = NewItem(content, self._source.round)
        with _not_saved():
            add_items(self._project, [new])
            said = Submission(
                self.annotator, item_with_key(self._project, new), _key(), judged.verdict, record.id[:180]
            )
            number = submit_label(self._project, said).number
        self.acts.append(StoredAct(item, record, number))

    def skip(self, item: str, reason: str, **facts: object) -> None:
        with _not_saved():
            number = skip_unknown(self._project, self.annotator, _key(), {"item": item, "reason": reason, **facts})
        self.acts.append(StoredAct(item, None, number))

    def undo(self) -> StoredAct | None:
        """Undo the last action that is in effect, of this sitting or an earlier one."""
        if not self.acts:
            return None
        with _not_saved():
            undo_last(self._project, self.annotator, _key(), number=self.acts[-1].number)
        return self.acts.pop()

    def revisit(self) -> int:
        skipped = self.skipped
        if skipped:
            with _not_saved():
                revisit_skipped(self._project, self.annotator, _key())
            self.acts = [act for act in self.acts if act.record is not None]
        return len(skipped)

    def save_draft(self, item: str, text: str) -> None:
        if self.draft(item) != text:
            with _not_saved():
                save_draft(self._project, self.annotator, item, text)

    def draft(self, item: str) -> str:
        return draft_of(self._project, self.annotator, item)

    def scratch(self, item: str) -> Path:
        folder = default_path().parent / "drafts"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self._project.name}.{item}.md"


def _key() -> str:
    return uuid.uuid4().hex


@contextmanager
def _not_saved() -> Iterator[None]:
    try:
        yield
    except ServiceError as refused:
        raise SaveError(f"NOT SAVED: {refused}. Then press the key again") from refused
