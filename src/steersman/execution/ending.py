"""The end of a run: its result, the saved model, and the result of a run that had finished before."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from steersman.errors import SteersmanError
from steersman.execution.context import Job, RunContext
from steersman.execution.kept import finished
from steersman.execution.same_run import extends, refuse_another_recipe
from steersman.lineage.records import write_model_lineage
from steersman.runs.checkpoints import CheckpointStore, is_disk_full
from steersman.runs.folder import RunFolder, free_bytes, fsync_path
from steersman.runs.journal import read_rows
from steersman.runs.lock import refuse_if_held
from steersman.runs.verified import seal
from steersman.train.checkpoint import weight_tensors
from steersman.train.finite import bad_weights, check_written, refuse
from steersman.train.loop import Ending


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `model` is the folder to use next, `held_out` its last held-out numbers, `measured` others."""

    out: str
    ending: str
    step: int
    best_step: int
    held_out: dict[str, float]
    model: str
    next_command: str
    measured: dict[str, float] = field(default_factory=dict[str, float])

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Finish:
    """How training ended. `best_step` is the step whose weights the model has; `held_out` was measured of those."""

    ending: Ending
    step: int
    best_step: int
    held_out: Mapping[str, float]


SAVED_BESIDE = ("critic", "base")
"""Folders that some methods save beside the model: PPO's critic, and a base with an adapter merged into it."""
Weights = Mapping[str, Tensor]
Save = Callable[[Path, Weights | None], None]
"""Writes the model into a folder. The weights are given where each process has only a part of them."""


def conclude(run: RunContext, finish: Finish, model: nn.Module, save: Save) -> RunResult:
    """Save the model (process 0), mark the run's end, and say how it went. `model` holds the trained weights.

    Weights that are not finite are not saved: NotFinite is raised, and the run has not finished.
    """
    folder = run.folder.folder
    state: Literal["finished", "stopped"] = "stopped" if finish.ending == "stopped" else "finished"
    if state == "finished":
        what = f"the model {folder.model}"
        if run.world.size > 1:
            weights = weight_tensors(model)
            check_written(what, weights, {})
        else:
            weights = None
            refuse(what, "weights", bad_weights(model))
        facts = {"kind": run.job.kind}
        run.world.first_alone(
            "saving the model",
            lambda: replace_folder(
                folder.model, lambda aside: _fill(aside, folder, partial(save, aside, weights), finish.best_step, facts)
            ),
        )
    run.world.first_alone("ending the run", lambda: run.folder.end(state, finish.step, finish.ending))
    return RunResult(
        str(folder.path),
        finish.ending,
        finish.step,
        finish.best_step,
        dict(finish.held_out),
        str(folder.model),
        run.job.next_command,
    )


def _fill(aside: Path, run: RunFolder, save: Callable[[], None], step: int, facts: Mapping[str, Any]) -> None:
    """Save the model into `aside` with its lineage, and seal it and what is saved beside it (a critic, a merged
    base)."""
    save()
    write_model_lineage(run, aside)
    for folder in (aside, *(aside.parent / name for name in SAVED_BESIDE)):
        if folder.is_dir():
            seal(folder, step, facts)


def already_finished(job: Job) -> RunResult | None:
    """The result of a run that finished earlier, if its folder holds it and these are its settings.

    A folder that another process works in is refused here already, before a model is loaded.
    """
    refuse_if_held(Path(job.run.out))
    ending = finished(job.run.out)
    if ending is None:
        return None
    folder = RunFolder(Path(job.run.out))
    refuse_another_recipe(folder, job.settings)
    if extends(folder, job.settings):
        return None
    rows, _ = read_rows(folder.journal_path)
    best = CheckpointStore(folder.checkpoints).best()
    step = int(ending["step"])
    # Numbers of the weights that the model has: the best ones, if those were kept.
    measured = [row for row in rows if any(name.startswith("held-out ") for name in row)]
    of_these = [row for row in measured if best is not None and row["step"] == best.step]
    last = (of_these or measured)[-1:]
    held_out = {
        k.removeprefix("held-out "): float(v)
        for row in measured
        if last and row["step"] == last[0]["step"]
        for k, v in row.items()
        if k.startswith("held-out ") and v is not None
    }
    return RunResult(
        str(folder.path),
        "already finished",
        step,
        step if best is None else best.step,
        held_out,
        str(folder.model),
        job.next_command,
    )


def replace_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a temporary folder and move it into place, so that nobody opens half a model."""
    aside = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        fill(aside)
        for path in [*aside.rglob("*"), aside]:
            fsync_path(path)
    except Exception as error:
        written = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file())
        shutil.rmtree(aside, ignore_errors=True)
        if not is_disk_full(error):
            raise
        raise SteersmanError(
            f"{folder} could not be written ({error}): it needs more than the {written:,} bytes that were written, and "
            f"{free_bytes(folder):,} are free. Free some space (or raise the quota or file size limit), then run the "
            "same command again."
        ) from error
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    fsync_path(folder.parent)
