"""One labelling session: it reads keys from a terminal and carries out what `session` decides for each key.

A judgement is on disk before the next item is drawn. Keys typed before an item was drawn are discarded.
"""

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from steersman.errors import Preempted
from steersman.inert import as_typed
from steersman.judging.editor import Buffer
from steersman.judging.history import SaveError
from steersman.judging.keeper import LabelKeeper
from steersman.judging.layout import FANCY, PLAIN, painted
from steersman.judging.queue import Item, pending
from steersman.judging.screen import ProgressLine, draw
from steersman.judging.session import (
    Draft,
    Effect,
    OpenEditor,
    Quit,
    Revisit,
    Save,
    Skip,
    State,
    Undo,
    press,
    show,
)
from steersman.judging.verdicts import record_of, words_of
from steersman.records import Comparison, Demonstration, Ranking

SETTLE_SECONDS = 0.15  # nobody reads a page faster; earlier keys were meant for the previous page
IDLE_SECONDS = 300.0  # a longer pause is a break and does not count for the displayed pace
SCISSORS = "# ------------------------ >8 ------------------------"


@runtime_checkable
class Page(Protocol):
    """The interface of a terminal; `Terminal` implements it."""

    def size(self) -> tuple[int, int]: ...
    def write(self, text: str) -> bool: ...
    def key(self) -> str: ...
    def settle(self, seconds: float) -> None: ...
    def lent(self) -> AbstractContextManager[None]: ...


@dataclass(frozen=True, slots=True)
class SittingResult:
    """The result of a session: the number of items judged in it, left in the queue, and skipped."""

    judged: int
    left: int
    skipped: int


class Sitting:
    """A labelling session. `run` returns when the person quits."""

    def __init__(
        self,
        items: Sequence[Item],
        ledger: LabelKeeper,
        page: Page,
        *,
        ask_strength: bool = False,
        clock: Callable[[], float],
        fancy: bool = True,
    ) -> None:
        self.items = {item.id: item for item in items}
        self.ledger, self.page, self.clock = ledger, page, clock
        self.strokes = FANCY if fancy else PLAIN
        self.state = State(ledger.mode, ask_strength=ask_strength)
        self.judged_now = 0
        self.busy = 0.0
        self.began = clock()
        self.left: list[Item] = []

    def run(self) -> SittingResult:
        self._next()
        self._draw()
        while True:
            key = self.page.key()
            if key == "terminate":
                self._perform(Draft(self.state.buffer.text)) if self.state.phase == "write" else None
                raise Preempted(
                    f"stopped by a signal; all {len(self.ledger.judged)} judgements are in {self.ledger.place}, and "
                    "the same command continues from here"
                )
            before = self.state.item
            self.state, effects = press(self.state, key)
            for effect in effects:
                if isinstance(effect, Quit):
                    return SittingResult(self.judged_now, len(self.left), len(self.ledger.skipped & self.items.keys()))
                try:
                    self._perform(effect)
                except (SaveError, OSError) as refused:
                    self.state = replace(self.state, message=str(refused), trouble=True)
            self._draw()
            if self.state.item is not before:
                self.page.settle(SETTLE_SECONDS)

    def _perform(self, effect: Effect) -> None:
        item = self.state.item
        match effect:
            case Save(verdict):
                assert item is not None
                now = datetime.now().astimezone().isoformat(timespec="milliseconds")
                seconds = self._seconds()
                record = record_of(item, verdict, self.ledger.annotator, now, seconds)
                self.ledger.judge(item.id, record, seconds=round(seconds, 2), source=verdict.source)
                self.judged_now += 1
                self.busy += min(seconds, IDLE_SECONDS)
                self.ledger.save_draft(item.id, "")
                self._next(f"✓ saved: {verdict.words}")
            case Skip(reason):
                assert item is not None
                self.ledger.skip(item.id, reason, seconds=round(self._seconds(), 2))
                self._next("skipped" + (f": {reason}" if reason else ""))
            case Undo():
                self._undo()
            case Revisit():
                count = self.ledger.revisit()
                self._next(
                    f"{count} skipped {'item is' if count == 1 else 'items are'} shown again"
                    if count
                    else "nothing was skipped"
                )
            case Draft(text):
                assert item is not None
                self.ledger.save_draft(item.id, text)
            case OpenEditor(text):
                self._edit_outside(text)
            case Quit():
                pass

    def _next(self, message: str = "") -> None:
        self.left = pending(list(self.items.values()), self.ledger.judged, self.ledger.skipped)
        item = self.left[0] if self.left else None
        draft = self._draft_of(item)
        self.state = show(self.state, item, draft=draft, message=message or ("your draft is here: w" if draft else ""))
        self.began = self.clock()

    def _undo(self) -> None:
        act = self.ledger.undo()
        if act is None:
            self.state = replace(self.state, message="there is nothing to undo")
            return
        self.judged_now -= act.record is not None and self.judged_now > 0
        if isinstance(act.record, Demonstration):
            self.ledger.save_draft(act.item, act.record.completion.text)
        self._next()
        item = self.items.get(act.item)
        what = f"it was: {words_of(act.record)}" if act.record is not None else "it had been skipped"
        if item is None:
            self.state = replace(self.state, message=f"undone; that item is no longer in this queue ({what})")
            return
        note = ""
        if isinstance(act.record, Comparison):
            note = act.record.rationale
        elif isinstance(act.record, Ranking):
            note = str(act.record.metadata.get("rationale", ""))
        self.state = show(self.state, item, draft=self._draft_of(item), note=note, message=f"undone; {what}")

    def _draft_of(self, item: Item | None) -> str:
        """The unfinished answer to this item. A file that an editor left behind in a crash is read first."""
        if item is None or self.ledger.mode != "demonstrate":
            return ""
        left_behind = self._editing(item)
        if left_behind.exists():
            self._take_back(item, left_behind)
        return self.ledger.draft(item.id)

    def _editing(self, item: Item) -> Path:
        return self.ledger.scratch(item.id)

    def _take_back(self, item: Item, path: Path) -> str:
        written = as_typed(path.read_bytes().decode("utf-8", "replace")).split(SCISSORS)[0].strip("\n").rstrip()
        self.ledger.save_draft(item.id, written)
        path.unlink()
        return written

    def _edit_outside(self, text: str) -> None:
        """Open the draft in the user's editor, with the prompt below a separator line."""
        item = self.state.item
        assert item is not None
        command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
        path = self._editing(item)
        prompt = item.prompt.text or "\n\n".join(f"{m.role}: {m.content}" for m in item.prompt.messages)
        below = f"{SCISSORS}\n# Your answer goes above this line; the text below it is ignored.\n\n{prompt}\n"
        path.write_text(f"{text}\n\n{below}", encoding="utf-8", errors="replace")
        try:
            with self.page.lent():
                code = subprocess.run([*command, str(path)], check=False).returncode
        except FileNotFoundError:
            path.unlink()
            raise OSError(f"there is no editor {command[0]!r}; set EDITOR, or press w to write here") from None
        if code:
            path.unlink()
            self.state = replace(
                self.state, message=f"the editor exited with code {code}; its text is discarded", trouble=True
            )
            return
        written = self._take_back(item, path)
        self.state = replace(
            self.state, phase="write", buffer=Buffer.of(written), message="read from the editor; Ctrl-S submits it"
        )

    def _seconds(self) -> float:
        return max(0.0, self.clock() - self.began)

    def _draw(self) -> None:
        pace = self.judged_now / self.busy * 3600 if self.judged_now >= 3 and self.busy > 1 else None
        width, height = self.page.size()
        known = self.items.keys()
        progress = ProgressLine(
            annotator=self.ledger.annotator,
            done=len(self.ledger.judged & known),
            left=len(self.left),
            skipped=len(self.ledger.skipped & known),
            pace=pace,
        )
        frame = draw(self.state, progress, width, height, self.strokes)
        if self.state.scroll > frame.limit:
            self.state = replace(self.state, scroll=frame.limit)
        self.state = replace(self.state, limit=frame.limit, page=frame.page)
        self.page.write(painted(frame, width, height))
