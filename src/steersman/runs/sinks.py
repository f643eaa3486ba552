"""Loggers for the journal's numbers: TensorBoard and Weights & Biases. Each library is imported only when it is
used."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steersman.errors import MissingLibrary
from steersman.runs.folder import atomic_write_text


class TensorBoardSink:
    """Event files in `folder`, written by TensorBoard's own writer (no torch, no TensorFlow)."""

    def __init__(self, folder: Path, seconds_between_flushes: int = 5) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise MissingLibrary(
                "the settings ask for TensorBoard, which is not installed. "
                "Install it with: pip install 'steersman[tensorboard]'"
            ) from error
        self._events: Any = event_pb2
        self._summaries: Any = summary_pb2
        self._writer = EventFileWriter(str(folder), flush_secs=seconds_between_flushes)

    def write(self, step: int, time: float, numbers: Mapping[str, float]) -> None:
        values = [self._summaries.Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        summary = self._summaries.Summary(value=values)
        self._writer.add_event(self._events.Event(wall_time=time, step=step, summary=summary))

    def truncate_to(self, step: int) -> None:
        """Start a session at the next step: TensorBoard then drops later steps of earlier files."""
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        self._writer.add_event(self._events.Event(step=step + 1, session_log=start))

    def close(self) -> None:
        self._writer.close()


class WandbSink:
    """A Weights & Biases run. Its id is kept in the run folder, so that a resumed run continues the same W&B run."""

    def __init__(self, folder: Path, project: str, name: str, config: Mapping[str, Any]) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingLibrary(
                "the settings ask for Weights & Biases, which is not installed. "
                "Install it with: pip install 'steersman[wandb]'"
            ) from error
        id_path = folder / "wandb-id.txt"
        if not id_path.exists():
            atomic_write_text(id_path, uuid.uuid4().hex[:16])
        self._run: Any = wandb.init(
            project=project,
            name=name,
            config=dict(config),
            dir=str(folder),
            id=id_path.read_text().strip(),
            resume="allow",
        )
        # W&B's own step only grows; our step goes back when a run resumes from an earlier checkpoint.
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, time: float, numbers: Mapping[str, float]) -> None:
        self._run.log({**numbers, "step": step, "time": time})

    def truncate_to(self, step: int) -> None:
        """Nothing: W&B's history cannot be truncated. Rows repeated after a resume are drawn at the same step."""

    def close(self) -> None:
        self._run.finish()
