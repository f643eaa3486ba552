"""Loggers for the journal's numbers and the run's answers: MLflow and trackio, and a guard that keeps a run going when
its tracker fails. Each library is imported only when it is used."""

import os
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.errors import UsageError
from steersman.printing import tell
from steersman.runs.answer_table import answer_table
from steersman.runs.folder import atomic_write_text
from steersman.runs.journal import Sink
from steersman.runs.sinks import kept_id, missing
from steersman.secrets import conceal

# MLflow's limits: parameters in one request, and characters of a parameter.
_PARAMETERS, _CHARACTERS = 100, 6000


class MlflowSink:
    """An MLflow run in the experiment `MLFLOW_EXPERIMENT_NAME`, or `project`. Its id is kept in the run folder, so that
    a resumed run continues the same MLflow run. `config` has dotted names."""

    def __init__(self, folder: Path, project: str, name: str, config: Mapping[str, Any]) -> None:
        # MLflow's own five retries take minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        try:
            import mlflow  # pyright: ignore[reportMissingImports]
            from mlflow.entities import Metric, Param  # pyright: ignore[reportMissingImports]
            from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise missing("MLflow", "mlflow") from error
        self._metric, self._param, self._refused = Metric, Param, MlflowException
        place = mlflow.get_tracking_uri()
        self._client: Any = mlflow.MlflowClient(place)
        try:
            self._run = self._continued(folder / "mlflow-run.txt") or self._begun(folder, project, name, config)
        except MlflowException as error:
            raise UsageError(
                f"MLflow at {conceal(place)} cannot be used: {_first_line(error)}. Set MLFLOW_TRACKING_URI to "
                "a server or a database that can be reached, or leave mlflow out of run.journal."
            ) from error

    def _continued(self, id_path: Path) -> str | None:
        """The id of the run that this folder began, if this MLflow has it."""
        if not id_path.exists():
            return None
        run = id_path.read_text().strip()
        try:
            if self._client.get_run(run).info.lifecycle_stage != "active":
                return None
        except self._refused as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        self._client.update_run(run, status="RUNNING")
        return run

    def _begun(self, folder: Path, project: str, name: str, config: Mapping[str, Any]) -> str:
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", project)
        found = self._client.get_experiment_by_name(experiment)
        where = self._client.create_experiment(experiment) if found is None else found.experiment_id
        run = self._client.create_run(where, run_name=name).info.run_id
        settings = [self._param(_fit(key), str(value)[:_CHARACTERS]) for key, value in config.items()]
        for start in range(0, len(settings), _PARAMETERS):
            self._client.log_batch(run, params=settings[start : start + _PARAMETERS])
        atomic_write_text(folder / "mlflow-run.txt", run)
        return run

    def write(self, step: int, time: float, numbers: Mapping[str, float]) -> None:
        moment = round(time * 1000)
        metrics = [self._metric(_fit(name), value, moment, step) for name, value in numbers.items()]
        if metrics:
            self._client.log_batch(self._run, metrics=metrics)

    def answers(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table of the run's artifacts, one for each step. A step that a resumed run repeats gives the same answers:
        its table stays."""
        path = f"{name}/step-{step:06d}.json"
        if path not in {one.path for one in self._client.list_artifacts(self._run, name)}:
            columns, cells = answer_table(rows)
            table = {column: [row[at] for row in cells] for at, column in enumerate(columns)}
            self._client.log_table(self._run, table, path)

    def truncate_to(self, step: int) -> None:
        """Nothing: MLflow's history cannot be truncated. Rows repeated after a resume are drawn at the same step."""

    def close(self, *, failed: bool = False) -> None:
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")


class TrackioSink:
    """A trackio run. Trackio finds a run by its name, which is kept in the run folder, so that a resumed run continues
    the same trackio run."""

    def __init__(self, folder: Path, project: str, name: str, config: Mapping[str, Any]) -> None:
        try:
            import trackio  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise missing("trackio", "trackio") from error
        self._table: Any = trackio.Table
        self._run: Any = trackio.init(
            project=project,
            name=kept_id(folder / "trackio-run.txt", f"{name}-{uuid.uuid4().hex[:6]}"),
            config=dict(config),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def write(self, step: int, time: float, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def answers(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        columns, cells = answer_table(rows)
        self._run.log({name: self._table(columns=columns, data=cells)}, step=step)

    def truncate_to(self, step: int) -> None:
        """Nothing: trackio's history cannot be truncated. Rows repeated after a resume are drawn at the same step."""

    def close(self, *, failed: bool = False) -> None:
        self._run.finish()


class GuardedSink:
    """A tracker that may fail while the run goes on: the journal has everything."""

    def __init__(self, title: str, sink: Sink) -> None:
        self._title, self._sink = title, sink
        self._broken = False

    def write(self, step: int, time: float, numbers: Mapping[str, float]) -> None:
        self._tried(f"row of step {step}", lambda: self._sink.write(step, time, numbers))

    def answers(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._tried(f"answers of step {step}", lambda: self._sink.answers(step, name, rows))

    def truncate_to(self, step: int) -> None:
        self._tried(f"resume at step {step}", lambda: self._sink.truncate_to(step))

    def close(self, *, failed: bool = False) -> None:
        self._tried("end of the run", lambda: self._sink.close(failed=failed))

    def _tried(self, what: str, send: Any) -> None:
        if self._broken:
            return
        try:
            send()
        except Exception as error:
            self._broken = True
            tell(
                f"steersman: {self._title} did not take the {what} ({type(error).__name__}: {_first_line(error)}); it "
                "gets nothing more from this run until it is resumed. journal.jsonl has every row."
            )


def _first_line(error: Exception) -> str:
    return conceal((str(error).strip().splitlines() or ["no message"])[0])


def _fit(name: str) -> str:
    """A name of MLflow's characters: letters, digits, and `_ - . / :` and spaces."""
    return re.sub(r"[^\w\-./: ]", "_", name)
