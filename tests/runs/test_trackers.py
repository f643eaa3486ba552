"""MLflow, trackio and Weights & Biases for real, each with a store in a folder of this test; no network."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from steersman.errors import MissingLibrary, UsageError
from steersman.runs.answer_table import answer_table
from steersman.runs.journal import Journal
from steersman.runs.sinks import TensorBoardSink
from steersman.runs.trackers import GuardedSink, MlflowSink, TrackioSink

# MLflow's store uses what SQLAlchemy calls deprecated
OWN_WARNINGS = pytest.mark.filterwarnings("ignore")
ANSWERS = [
    {"prompt": "How?", "answer": "Kindly | so\n", "score": 1.5, "parts": {"model": 2.0, "length": -0.5}, "ids": [1, 2]},
    {"prompt": "Why?", "answer": "No.", "score": -1.0, "parts": {"model": -1.0}, "ids": [3]},
]
CONFIG = {
    "run.seed": 1,
    "scorer.path": "harbour:taste",
    **{f"s{i}": i for i in range(150)},
    "long": "x" * 7000,
}


def test_the_table_of_answers_has_plain_values_only():
    columns, cells = answer_table(ANSWERS)
    assert columns == ["prompt", "answer", "score", "parts: model", "parts: length"]
    assert cells == [["How?", "Kindly | so\n", 1.5, 2.0, -0.5], ["Why?", "No.", -1.0, -1.0, None]]


def test_tensorboard_shows_the_answers_as_a_table(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    with Journal(tmp_path / "journal.jsonl", [TensorBoardSink(tmp_path / "events")]) as journal:
        journal.answers(4, "answers", ANSWERS)
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert events.PluginTagToContent("text").keys() == {"answers"}
    (event,) = events.Tensors("answers")
    assert event.step == 4
    table = make_ndarray(event.tensor_proto).tolist()
    assert table[0] == [b"prompt", b"answer", b"score", b"parts: model", b"parts: length"]
    assert table[2] == [b"Why?", b"No.", b"-1.0", b"-1.0", b"None"]


@pytest.fixture(scope="module")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables take it ten seconds to make."""
    return tmp_path_factory.mktemp("mlflow") / "mlflow.db"


@pytest.fixture
def mlflow_place(mlflow_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    place = f"sqlite:///{mlflow_store}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    return place


def mlflow_history(client: Any, run: str, name: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in client.get_metric_history(run, name)]


@pytest.mark.slow
@OWN_WARNINGS
def test_mlflow_has_numbers_settings_and_answers_and_a_resumed_run_continues_there(mlflow_place: str, tmp_path: Path):
    import mlflow

    folder = tmp_path / "ppo"
    folder.mkdir()
    with Journal(
        folder / "journal.jsonl", [MlflowSink(folder, "harbour", "ppo", CONFIG)], clock=lambda: 5.0
    ) as journal:
        journal.write({"step": 1, "loss": 0.5, "ratio from 1, first minibatch": 0.25, "note": "text", "kl": math.nan})
        journal.answers(1, "answers", ANSWERS)
        journal.write({"step": 1, "notice": "a row without numbers"})
    resumed = MlflowSink(folder, "harbour", "ppo", {**CONFIG, "s1": "changed since"})
    journal = Journal(folder / "journal.jsonl", [resumed], clock=lambda: 6.0)
    journal.truncate_to(0)
    journal.write({"step": 1, "loss": 0.5})
    journal.answers(1, "answers", ANSWERS)
    journal.write({"step": 2, "loss": 0.25})
    journal.__exit__(RuntimeError, RuntimeError("the machine"), None)
    client = mlflow.MlflowClient(mlflow_place)
    experiment = client.get_experiment_by_name("harbour")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (folder / "mlflow-run.txt").read_text() == run.info.run_id
    assert (run.info.run_name, run.info.status) == ("ppo", "FAILED")
    assert {*mlflow_history(client, run.info.run_id, "loss")} == {(1, 0.5), (2, 0.25)}
    assert mlflow_history(client, run.info.run_id, "ratio from 1_ first minibatch") == [(1, 0.25)]
    assert math.isnan(mlflow_history(client, run.info.run_id, "kl")[0][1])
    assert client.get_metric_history(run.info.run_id, "loss")[0].timestamp == 5000
    assert run.data.params["run.seed"] == "1"
    assert run.data.params["s1"] == "1"
    assert len(run.data.params["long"]) == 6000
    assert len(run.data.params) == 153
    (table,) = client.list_artifacts(run.info.run_id, "answers")
    kept = json.loads(Path(client.download_artifacts(run.info.run_id, table.path)).read_text())
    assert table.path == "answers/step-000001.json"
    assert kept["columns"] == ["prompt", "answer", "score", "parts: model", "parts: length"]
    assert [row[1] for row in kept["data"]] == ["Kindly | so\n", "No."]


@pytest.mark.slow
@OWN_WARNINGS
def test_a_run_that_this_mlflow_does_not_have_begins_anew(mlflow_place: str, tmp_path: Path):
    import mlflow

    (tmp_path / "mlflow-run.txt").write_text("0" * 32)
    sink = MlflowSink(tmp_path, "another", "one", {})
    sink.close()
    new = (tmp_path / "mlflow-run.txt").read_text()
    assert new != "0" * 32
    mlflow.MlflowClient(mlflow_place).delete_run(new)
    MlflowSink(tmp_path, "another", "one", {}).close()
    assert (tmp_path / "mlflow-run.txt").read_text() != new


@pytest.mark.slow
@OWN_WARNINGS
def test_an_mlflow_server_that_is_not_there_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UsageError, match=r"MLflow at http://127\.0\.0\.1:9 cannot be used.*MLFLOW_TRACKING_URI"):
        MlflowSink(tmp_path, "harbour", "one", {})
    assert list(tmp_path.iterdir()) == []


TRACKIO = """
import sys
from pathlib import Path
from steersman.runs.journal import Journal
from steersman.runs.trackers import TrackioSink
folder, first = Path(sys.argv[1]), int(sys.argv[2])
answers = [{"prompt": "How?", "answer": "So.", "score": 1.5, "ids": [1]}]
with Journal(folder / "journal.jsonl", [TrackioSink(folder, "harbour", "ppo", {"run.seed": 1})]) as journal:
    journal.write({"step": first, "loss": 1 / first, "note": "text"})
    journal.answers(first, "answers", answers)
"""


@pytest.mark.slow
def test_trackio_has_numbers_and_answers_and_a_resumed_run_continues_there(tmp_path: Path):
    hub = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    environment = {**os.environ, **hub, "TRACKIO_DIR": str(tmp_path / "trackio")}
    for first in (1, 2):
        done = subprocess.run(
            [sys.executable, "-c", TRACKIO, str(tmp_path), str(first)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    read = (
        "import json\nfrom trackio import Api\n"
        "(run,) = Api().runs('harbour')\n"
        "from trackio.sqlite_storage import SQLiteStorage as store\n"
        "print(json.dumps([run.name, store.get_logs('harbour', run.name)]))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", read], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    name, rows = json.loads(shown.stdout.splitlines()[-1])
    assert name == (tmp_path / "trackio-run.txt").read_text()
    assert name.startswith("ppo-")
    assert [(row["step"], row["loss"]) for row in rows if "loss" in row] == [(1, 1.0), (2, 0.5)]
    tables = [(row["step"], row["answers"]["_value"]) for row in rows if "answers" in row]
    assert tables == [(step, [{"prompt": "How?", "answer": "So.", "score": 1.5}]) for step in (1, 2)]


@pytest.mark.parametrize(("library", "sink"), [("mlflow", MlflowSink), ("trackio", TrackioSink)])
def test_without_the_library_the_message_says_what_to_install(
    library: str, sink: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingLibrary, match=rf"pip install 'steersman\[{library}\]'"):
        sink(tmp_path, "harbour", "one", {})
    assert list(tmp_path.iterdir()) == []


class FailsFromStep:
    """A tracker that takes rows until a step."""

    def __init__(self, last: int) -> None:
        self.last, self.taken, self.ended = last, [], False

    def write(self, step: int, time: float, numbers: Mapping[str, float]) -> None:
        if step > self.last:
            raise ConnectionError("the server is gone\nand more")
        self.taken.append(step)

    def answers(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self.taken.append(step)

    def truncate_to(self, step: int) -> None:
        pass

    def close(self, *, failed: bool = False) -> None:
        self.ended = True


def test_a_tracker_that_fails_is_said_once_and_the_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tracker = FailsFromStep(1)
    with Journal(tmp_path / "journal.jsonl", [GuardedSink("MLflow", tracker)]) as journal:
        for step in (1, 2, 3):
            journal.write({"step": step, "loss": 0.5})
            journal.answers(step, "answers", ANSWERS)
    assert tracker.taken == [1, 1]
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 3
    said = capsys.readouterr()
    told = said.out + said.err
    assert told.count("MLflow did not take") == 1
    assert "row of step 2 (ConnectionError: the server is gone)" in told


@pytest.mark.slow
def test_weights_and_biases_writes_offline(tmp_path: Path):
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from steersman.runs.journal import Journal\nfrom steersman.runs.sinks import WandbSink\n"
        "folder = Path(sys.argv[1])\n"
        "with Journal(folder / 'journal.jsonl', [WandbSink(folder, 'harbour', 'ppo', {'seed': 1})]) as journal:\n"
        "    journal.write({'step': 1, 'loss': 0.5})\n"
        "    journal.answers(1, 'answers', [{'prompt': 'How?', 'answer': 'Kindly so.', 'score': 1.5}])\n"
    )
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    identity = (tmp_path / "wandb-id.txt").read_text()
    (kept,) = (tmp_path / "wandb").glob(f"offline-run-*-{identity}")
    (log,) = kept.glob("*.wandb")
    assert b"loss" in log.read_bytes()
    (table,) = kept.glob("files/media/table/answers_*.table.json")
    assert json.loads(table.read_text())["data"] == [["How?", "Kindly so.", 1.5]]
