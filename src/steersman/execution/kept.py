"""The folder of a run while it is open: lock, recipe, stamp, journal, checkpoints, signals, progress.

Process 0 does all the writing. The same command opens a run again: it continues from its last good checkpoint, or
reports that it has finished. When it continues, settings of where and how it runs may change, settings of what it
learns may not.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from steersman.errors import CheckpointError
from steersman.execution.same_run import continue_or_begin
from steersman.lineage.records import write_run_lineage
from steersman.parallel.world import World
from steersman.printing import tell
from steersman.runs.callbacks import Callbacks
from steersman.runs.checkpoints import Checkpoint, CheckpointStore
from steersman.runs.folder import RunFolder, atomic_write_text
from steersman.runs.journal import Journal, Sink, damaged_path, old_names_in, read_rows, truncate_lines
from steersman.runs.kinds import step_name
from steersman.runs.lock import lock_run
from steersman.runs.progress import Progress
from steersman.runs.save_clock import SaveClock
from steersman.runs.signals import StopRequest
from steersman.runs.sinks import TensorBoardSink, WandbSink
from steersman.runs.stamp import MachineFacts, RunIdentity, make_stamp
from steersman.runs.trackers import GuardedSink, MlflowSink, TrackioSink
from steersman.secrets import conceal, concealed
from steersman.settings.base import Settings
from steersman.settings.nested import flat
from steersman.settings.parts import RunSettings
from steersman.train.checkpoint import Snapshot
from steersman.train.profiling import Profile


class OpenRunFolder:
    """A run's folder while it is open: what the loops write to (see `train.loop.Keeper`)."""

    def __init__(
        self,
        folder: RunFolder,
        settings: RunSettings,
        store: CheckpointStore,
        journal: Journal | None,
        stop: StopRequest,
    ) -> None:
        self.folder = folder
        self._settings = settings
        self._store = store
        self._journal = journal
        self._stop = stop
        self.resumes_by = ""
        """What a step of the run is called, if the run was begun earlier."""
        self._save_clock = SaveClock(None if (minutes := settings.checkpoint_minutes) is None else 60 * minutes)
        self._progress: Progress | None = None
        self._profile: Profile | None = None
        self._believed: int | None = None
        self._step = 0
        self._callbacks = Callbacks()
        # Notices before the resume point is known: written at once, they would be deleted with the rows after it.
        self._waiting: list[str] | None = []

    def journal(self, row: Mapping[str, Any]) -> None:
        self._step = int(row["step"])
        if self._journal is not None:
            self._journal.write(row)
            self._callbacks.row_written(row)

    def save(self, step: int, snapshot: Snapshot) -> None:
        if self._journal is None or self._store.holds(step):
            return
        began = time.monotonic()
        self._journal.sync()
        self._store.write(step, snapshot.write, {"step": step}, expected_bytes=snapshot.bytes)
        self._save_clock.saved(time.monotonic() - began)
        self._store.retain(self._settings.keep_last, self._settings.keep_every, self._believed)
        self._callbacks.checkpoint_written(step, self._store.path_of(step))

    def save_believed(self, step: int, snapshot: Snapshot) -> None:
        """Save these weights and keep them until others are better."""
        self.believe_in(step)
        self.save(step, snapshot)

    def believe_in(self, step: int) -> None:
        """Keep this checkpoint, however old it becomes."""
        self._believed = step

    def save_best(self, step: int, snapshot: Snapshot, measure: str, value: float) -> None:
        self.save(step, snapshot)
        if self._journal is not None:
            self._store.mark_best(step, measure, value)
            self._store.retain(self._settings.keep_last, self._settings.keep_every)

    def mark_best_again(self, step: int, measure: str, value: float) -> None:
        """Set the best mark that a resumed checkpoint remembers: a kill may have come before the mark was written."""
        best = self._store.best()
        if self._journal is not None and (best is None or best.step != step) and self._store.holds(step):
            self._store.mark_best(step, measure, value)

    def best_weights(self, step: int) -> Mapping[str, Tensor] | None:
        path = self._store.path_of(step)
        problems = self._store.verify(path) if path.is_dir() else ["it is gone"]
        if problems:
            self.notice(
                f"the best checkpoint (step {step}) cannot be used: {'; '.join(problems)}. The last weights are kept "
                "instead."
            )
            return None
        return load_file(path / "weights.safetensors")

    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write some of the step's answers, with everything known of them. The file is written whole or not at all."""
        if self._journal is not None and rows:
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            atomic_write_text(self.folder.samples_path(step), lines)
            self._journal.answers(step, "answers", rows)

    def held_out_answers(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the answers of one evaluation on held-out prompts."""
        if self._journal is not None and rows:
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            atomic_write_text(self.folder.held_out_path(step), lines)
            self._journal.answers(step, "held-out answers", rows)

    def findings(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append the watch's findings, one a line. They are on disk before the run continues."""
        if self._journal is not None and rows:
            with self.folder.watch_path.open("a") as file:
                file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
                file.flush()
                os.fsync(file.fileno())

    def stop_requested(self) -> bool:
        return bool(self._stop.requested)

    def save_due(self) -> bool:
        return self._journal is not None and self._save_clock.due()

    def show(self, step: int, numbers: Mapping[str, float]) -> None:
        if self._progress is not None:
            self._progress.update(step, numbers)
        if self._profile is not None:
            self._profile.step_ended()

    @contextmanager
    def progress(self, label: str, total: int, *, done: int, silent: bool) -> Iterator[None]:
        self._stop.begin()
        self._save_clock.begin()
        if self._journal is not None:
            atomic_write_text(self.folder.planned_path, json.dumps({"steps": total}) + "\n")
        looks = self._settings.profile if self._journal is not None else None
        self._profile = None if looks is None else Profile(self.folder.path / "profile", looks, left=total - done)
        try:
            with Progress(label, total, done=done, silent=silent or self._journal is None) as self._progress:
                yield
        finally:
            if self._profile is not None:
                self._profile.end()
            self._progress = self._profile = None

    def notice(self, words: str) -> None:
        """Tell the user something that is no error: printed, and kept in the journal."""
        if self._journal is None:
            return
        tell(f"steersman: {words}")
        if self._waiting is None:
            self._journal.write({"step": self._step, "notice": words})
        else:
            self._waiting.append(words)

    def resume_point(self, world: World) -> Checkpoint | None:
        """The last good checkpoint, the same for all processes. Journal rows and checkpoints after it are deleted."""
        found = world.first_before_others("reading the last checkpoint", self._store.latest)
        steps = world.exchange(-1 if found is None else found.step)
        self._continue_after(steps[0])
        if len({*steps}) > 1:
            raise CheckpointError(
                f"the processes see different last checkpoints in {self.folder.checkpoints} (steps {steps}); all "
                "processes need one file system"
            )
        return found

    def _continue_after(self, step: int) -> None:
        if self._journal is None:
            return
        self._store.discard_after(step)
        reached = max((row["step"] for row in read_rows(self.folder.journal_path)[0]), default=0) if step < 0 else step
        damaged = self._journal.truncate_to(step) + truncate_lines(self.folder.watch_path, step)
        for line in damaged:
            self.notice(f"{line}: {line.row!r}; moved to {damaged_path(Path(line.source)).name}")
        for old, new in old_names_in(self.folder.journal_path).items():
            self.notice(
                f"the journal's {old!r} is now called {new!r}; rows under the old name are still read in this release"
            )
        if self.resumes_by:
            lost = f", and {self.resumes_by} {reached} had been reached" if reached else ""
            self.notice(f"resumed at {self.resumes_by} {step}" if step >= 0 else f"starting over: no checkpoint{lost}")
        self._step = max(step, 0)
        waiting, self._waiting = self._waiting or [], None
        for words in waiting:
            self._journal.write({"step": self._step, "notice": words})

    def end(self, state: str, step: int, why: str) -> None:
        if self._journal is not None:
            self._journal.sync()
            self.folder.mark_ended(state, step, conceal(why))


@contextmanager
def keep_run(
    settings: Settings, run: RunSettings, identity: RunIdentity, machine: MachineFacts, world: World
) -> Iterator[OpenRunFolder]:
    """The run's folder, open and locked for this process (or for process 0, if there are several).

    `identity` and `machine` go into its stamp.
    """
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        opening = partial(_open, stack, settings, run, stop)
        yield world.first_before_others(
            "opening the run's folder", lambda: opening(identity, machine) if world.first else _beside(run, stop)
        )


def _beside(run: RunSettings, stop: StopRequest) -> OpenRunFolder:
    """The folder for a process that does not write."""
    folder = RunFolder(Path(run.out))
    return OpenRunFolder(folder, run, CheckpointStore(folder.checkpoints), None, stop)


def _open(
    stack: ExitStack,
    settings: Settings,
    run: RunSettings,
    stop: StopRequest,
    identity: RunIdentity,
    machine: MachineFacts,
) -> OpenRunFolder:
    """The folder for the process that writes; `stack` closes and unlocks it."""
    folder = RunFolder.create_or_open(Path(run.out))
    stack.enter_context(lock_run(folder.path))
    RunFolder.create_or_open(folder.path)  # again: a run that was refused may have removed it until the lock was had
    continues, notes = continue_or_begin(folder, settings, make_stamp(identity, machine))
    write_run_lineage(folder, identity.kind, settings, identity.parents)
    journal = stack.enter_context(Journal(folder.journal_path, open_sinks(run.journal, folder, settings)))
    store = CheckpointStore(folder.checkpoints, on_damage=lambda words: kept.notice(words))
    kept = OpenRunFolder(folder, run, store, journal, stop)
    if continues:
        kept.resumes_by = step_name(identity.kind)
    store.clean()
    folder.mark_started()
    stop.before_leaving = lambda signal: kept.end("stopped", max(store.steps(), default=0), signal)
    for note in notes:
        kept.notice(note)
    return kept


def open_sinks(names: Sequence[str], folder: RunFolder, settings: Settings) -> list[Sink]:
    config = concealed(settings.model_dump(mode="json"))
    facts = (folder.path, "steersman", folder.path.name)
    makers: dict[str, Callable[[], Sink]] = {
        "tensorboard": lambda: TensorBoardSink(folder.path / "tensorboard"),
        "wandb": lambda: GuardedSink("Weights & Biases", WandbSink(*facts, config)),
        "mlflow": lambda: GuardedSink("MLflow", MlflowSink(*facts, flat(config))),
        "trackio": lambda: GuardedSink("trackio", TrackioSink(*facts, flat(config))),
    }
    return [makers[name]() for name in names]


def finished(out: str) -> Mapping[str, Any] | None:
    """The run's ending.json, if the run finished; else None."""
    try:
        ending = json.loads(RunFolder(Path(out)).ending_path.read_text())
    except (OSError, ValueError):
        return None
    whole = isinstance(ending, dict) and type(ending.get("step")) is int
    return ending if whole and ending.get("state") == "finished" else None
