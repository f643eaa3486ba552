"""A run while it is open: its processes, machine and folder. One function opens it for every method."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import torch

from steersman.execution.kept import OpenRunFolder, keep_run
from steersman.execution.machine import TOKEN_BUDGET, Machine, on_threads, resolve_device, resolve_machine
from steersman.parallel.world import World, join
from steersman.runs.stamp import MachineFacts, RunIdentity
from steersman.settings.base import Settings
from steersman.settings.parts import ComputeSettings, RunSettings


@runtime_checkable
class HasWidth(Protocol):
    """A loaded model. Its width decides the kernels and the micro-batch size."""

    @property
    def hidden_size(self) -> int: ...


@runtime_checkable
class HasNotes(Protocol):
    """A loaded model with sentences for the user about how it was loaded."""

    @property
    def notes(self) -> tuple[str, ...]: ...


ModelT = TypeVar("ModelT", bound=HasWidth)


@dataclass(frozen=True)
class Job:
    """What a command is asked to do: the kind of run, and the settings that its folder keeps as the recipe."""

    kind: str
    settings: Settings
    run: RunSettings
    compute: ComputeSettings
    next_command: str
    """What to call when the run has finished; shown with its result."""
    quiet: bool
    """No progress and no report, as for --json; notices still go to stderr. Inside `printing.silenced` nothing is
    printed at all."""


@dataclass(frozen=True)
class RunContext:
    """An open run: the job, its processes, the machine that it computes on, and the folder that it holds."""

    job: Job
    world: World
    machine: Machine
    folder: OpenRunFolder

    @property
    def device(self) -> torch.device:
        return self.world.device

    @property
    def path(self) -> Path:
        return self.folder.folder.path

    @property
    def seed(self) -> int:
        return self.job.run.seed

    @property
    def token_budget(self) -> int:
        return self.machine.token_budget

    @property
    def quarantine(self) -> Path | None:
        """The file for bad rows; None on every process but the first."""
        return self.folder.folder.quarantine_path if self.world.first else None

    def notice(self, text: str) -> None:
        self.folder.notice(text)

    def pad_multiple(self, context: int | None) -> int:
        """Rows are padded to a multiple of this. `context` is how many tokens the model can read."""
        return self.machine.pad_multiple_within(context)


@contextmanager
def open_run(
    job: Job,
    load: Callable[[torch.device], ModelT],
    *,
    data: Mapping[str, str],
    parents: Mapping[str, str],
    seed: int | None = None,
) -> Iterator[tuple[RunContext, ModelT]]:
    """An open run and its model: processes joined, torch seeded, model loaded, machine resolved, folder locked.

    `load` makes the model on a device. `data` and `parents` map names to hashes for the stamp; a run does not continue
    with other ones. `seed` replaces the run's own seed while the model is made.
    """
    with join(resolve_device(job.run.device)) as world:
        # For new heads and adapters, which are initialised at random.
        torch.manual_seed(job.run.seed if seed is None else seed)
        model = world.everywhere("loading the model", lambda: load(world.device))
        machine = resolve_machine(job.run, job.compute, width=model.hidden_size, kept=Path(job.run.out), world=world)
        identity = RunIdentity(job.kind, {"run": job.run.seed}, data, parents)
        facts = MachineFacts(machine.threads, world.device.type, world.size, machine.facts)
        with machine.working(), keep_run(job.settings, job.run, identity, facts, world) as folder:
            for note in model.notes if isinstance(model, HasNotes) else ():
                folder.notice(note)
            yield RunContext(job, world, machine, folder), model


@contextmanager
def open_unloaded(job: Job, *, data: Mapping[str, str], parents: Mapping[str, str]) -> Iterator[RunContext]:
    """An open run that trains no model: its folder, and a machine with torch's own kernels."""
    threads = job.run.threads or torch.get_num_threads()
    with join(resolve_device(job.run.device)) as world:
        identity = RunIdentity(job.kind, {"run": job.run.seed}, data, parents)
        facts = MachineFacts(threads, world.device.type, world.size, {})
        with on_threads(threads), keep_run(job.settings, job.run, identity, facts, world) as folder:
            budget = job.compute.tokens_per_micro_batch or TOKEN_BUDGET.get(world.device.type, 8192)
            yield RunContext(job, world, Machine(world.device, threads, "fp32", "default", budget, 1), folder)
