"""Running a graph: each stage that is not done, in order. Killed anywhere, the same call goes on."""

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from steersman.errors import Preempted, SteersmanError, UsageError
from steersman.rounds.graph import Graph
from steersman.rounds.launch import HERE, Launcher
from steersman.rounds.progress import StageProgress, progress_of
from steersman.rounds.records import Records, StageRecord
from steersman.runs.lock import lock_run

Report = Callable[[str, StageProgress], None]
"""Called with "done" (before), "starts" and "finished"."""


@dataclass(frozen=True, slots=True)
class GraphResult:
    """The outputs of all stages by name, and the names of those that ran now."""

    outputs: Mapping[str, str]
    ran: tuple[str, ...]


def run_graph(graph: Graph, *, jobs: int = 1, quiet: bool = False, report: Report = lambda _, __: None) -> GraphResult:
    """Run what is not done. With several jobs, stages that do not need one another run at once, each in a process."""
    if jobs > 1 and (here := [stage.name for stage in graph.stages if stage.launch == HERE]):
        raise UsageError(
            f"--jobs {jobs} runs stages in processes of their own, and {here[0]!r} is launched here; set "
            "launch=subprocess, for the recipe or for the stage"
        )
    with lock_run(graph.out):
        return _Going(graph, Launcher(graph, quiet=quiet), report).run(jobs)


class _Going:
    def __init__(self, graph: Graph, launcher: Launcher, report: Report) -> None:
        self.graph, self.launcher, self.report = graph, launcher, report
        self.records = Records(graph.out)
        self.progress = {one.name: one for one in progress_of(graph)}
        self.outputs = {name: str(one.output) for name, one in self.progress.items()}

    def run(self, jobs: int) -> GraphResult:
        done = [name for name, one in self.progress.items() if one.standing == "done"]
        for name in done:
            self.report("done", self.progress[name])
        left = [stage.name for stage in self.graph.stages if stage.name not in done]
        ran = tuple(left)
        if jobs == 1:
            for name in left:
                self._run(name)
        else:
            self._at_once(left, set(done), jobs)
        return GraphResult(self.outputs, ran)

    def _at_once(self, left: list[str], done: set[str], jobs: int) -> None:
        running: dict[Future[None], str] = {}
        with ThreadPoolExecutor(jobs) as pool:
            try:
                while left or running:
                    ready = [name for name in left if set(self.graph[name].needs) <= done]
                    for name in ready[: jobs - len(running)]:
                        left.remove(name)
                        running[pool.submit(self._run, name)] = name
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        name = running.pop(future)
                        future.result()
                        done.add(name)
            except BaseException:
                self.launcher.stop()
                raise

    def _run(self, name: str) -> None:
        one = self.progress[name]
        before = one.record
        record = StageRecord.begin(name, one.identity, one.output) if before is None else before.begun_again()
        self.records.write(record)
        self.report("starts", one)
        try:
            settings = one.stage.settings(self.outputs, str(one.output))
            self.launcher.run(one.stage, settings, self.log_of(one))
        except (Preempted, KeyboardInterrupt):
            self.records.write(record.now("stopped"))
            raise
        except Exception as error:
            self.records.write(record.now("failed", str(error) or type(error).__name__))
            raise
        if not one.output.exists():
            self.records.write(record.now("failed", "it wrote nothing"))
            raise SteersmanError(f"the stage {name!r} ended without writing {one.output}; run it again")
        self.records.write(record.now("finished"))
        self.report("finished", one)

    def log_of(self, one: StageProgress) -> Path:
        return self.records.folder / f"{one.name}-{one.identity.hash}.log"
