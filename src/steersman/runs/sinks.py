"""Loggers for the journal's numbers and the run's answers: TensorBoard and Weights & Biases (MLflow and trackio are in
`trackers`). Each library is imported only when it is used."""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.errors import MissingLibrary
from steersman.runs.answer_table import answer_table
from steersman.runs.folder import atomic_write_text


def missing(title: str, extra: str) -> MissingLibrary:
    return MissingLibrary(
        f"the settings ask for {title}, which is not installed. Install it with: pip install 'steersman[{extra}]'"
    )


def kept_id(path: Path, new: str) -> str:
    """The id that this file of the run's folder holds; `new` if there is no such file yet."""
    if not path.exists():
        atomic_write_text(path, new)
    return path.read_text().strip()


class TensorBoardSink:
    """Event files in `folder`, written by TensorBoard's own writer (no torch, no TensorFlow)."""

    def __init__(self, folder: Path, seconds_between_flushes: int = 5) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise missing("TensorBoard", "tensorboard") from error
        self._events: Any = event_pb2
        self._summaries: Any = summary_pb2
        self._writer = EventFileWriter(str(folder), flush_secs=seconds_between_flushes)

    def write(self, step: int, time: float, numbers: Mapping[str, float]) -> None:
        values = [self._summaries.Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        summary = self._summaries.Summary(value=values)
        self._writer.add_event(self._events.Event(wall_time=time, step=step, summary=summary))

    def answers(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table of TensorBoard's text page."""
        from tensorboard.plugins.text.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        columns, cells = answer_table(rows)
        table = [columns, *([str(cell) for cell in row] for row in cells)]
        value = self._summaries.Summary.Value(
            tag=name, metadata=create_summary_metadata(name, ""), tensor=make_tensor_proto(table)
        )
        self._writer.add_event(self._events.Event(step=step, summary=self._summaries.Summary(value=[value])))

    def truncate_to(self, step: int) -> None:
        """Start a session at the next step: TensorBoard then drops later steps of earlier files."""
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        self._writer.add_event(self._events.Event(step=step + 1, session_log=start))

    def close(self, *, failed: bool = False) -> None:
        self._writer.close()


class WandbSink:
    """A Weights & Biases run. Its id is kept in the run folder, so that a resumed run continues the same W&B run."""

    def __init__(self, folder: Path, project: str, name: str, config: Mapping[str, Any]) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise missing("Weights & Biases", "wandb") from error
        self._table: Any = wandb.Table
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", project),
            name=name,
            config=dict(config),
            dir=str(folder),
            id=kept_id(folder / "wandb-id.txt", uuid.uuid4().hex[:16]),
            resume="allow",
        )
        # W&B's own step only grows; our step goes back when a run resumes from an earlier checkpoint.
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, time: float, numbers: Mapping[str, float]) -> None:
        self._run.log({**numbers, "step": step, "time": time})

    def answers(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        columns, cells = answer_table(rows)
        self._run.log({name: self._table(columns=columns, data=cells), "step": step})

    def truncate_to(self, step: int) -> None:
        """Nothing: W&B's history cannot be truncated. Rows repeated after a resume are drawn at the same step."""

    def close(self, *, failed: bool = False) -> None:
        self._run.finish(exit_code=int(failed))
