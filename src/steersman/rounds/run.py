"""Running a graph: each stage that is not done, in order. Killed anywhere, the same call goes on.

The stages of rounds follow from what has been done. So the graph is read again after a stage that may change it: a
promotion, and a gate that refused its labels.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from steersman.errors import GateRefused, Preempted, SteersmanError, UsageError
from steersman.rounds.graph import Graph
from steersman.rounds.launch import HERE, Launcher, StageFailed
from steersman.rounds.planned import write_plan
from steersman.rounds.progress import StageProgress, progress_of
from steersman.rounds.records import Records, StageRecord
from steersman.runs.lock import lock_run

Report = Callable[[str, StageProgress], None]
"""Called with "done" (before), "starts", "refused" (more labels are asked for) and "finished"."""


@dataclass(frozen=True, slots=True)
class GraphResult:
    """The outputs of all stages by name, and the names of those that ran now. `graph` is the graph as it ended."""

    outputs: Mapping[str, str]
    ran: tuple[str, ...]
    graph: Graph


@dataclass(frozen=True, slots=True)
class Manner:
    """How a graph is run. With several jobs, stages that do not need one another run at once, each in a process.

    `once`: a stage that would wait for people stops the run instead. `report` is told of each stage.
    """

    jobs: int = 1
    quiet: bool = False
    once: bool = False
    report: Report = lambda _, __: None


def run_graph(graph: Graph, manner: Manner = Manner(), *, again: Callable[[], Graph] | None = None) -> GraphResult:
    """Run what is not done. `again` reads the graph anew; a graph without rounds does not change."""
    if manner.jobs > 1 and (here := [stage.name for stage in graph.stages if stage.launch == HERE]):
        raise UsageError(
            f"--jobs {manner.jobs} runs stages in processes of their own, and {here[0]!r} is launched here; set "
            "launch=subprocess, for the recipe or for the stage"
        )
    ran: dict[str, None] = {}
    told: set[str] = set()
    with lock_run(graph.out):
        while True:
            going = _Going(graph, manner)
            write_plan(graph, list(going.progress.values()))
            going.tell_done(told)
            turned = going.run()
            ran |= dict.fromkeys(going.ran)
            if not turned or again is None:
                return GraphResult(going.outputs, tuple(ran), graph)
            graph = again()


class _Going:
    def __init__(self, graph: Graph, manner: Manner) -> None:
        self.graph, self.manner = graph, manner
        self.launcher = Launcher(graph, quiet=manner.quiet, once=manner.once)
        self.records = Records(graph.out)
        self.progress = {one.name: one for one in progress_of(graph)}
        self.outputs = {name: str(one.output) for name, one in self.progress.items()}
        self.ran: list[str] = []

    def tell_done(self, told: set[str]) -> None:
        for name, one in self.progress.items():
            if one.standing == "done" and name not in told:
                self.manner.report("done", one)
        told |= {*self.progress}

    def run(self) -> bool:
        """Run stages in order. Returns whether the graph has to be read again, because of what one has led to."""
        done = {name for name, one in self.progress.items() if one.standing == "done"}
        left = [stage.name for stage in self.graph.stages if stage.name not in done]
        if self.manner.jobs == 1:
            return any(self._run(name) for name in left)
        return self._at_once(left, done)

    def _at_once(self, left: list[str], done: set[str]) -> bool:
        running: dict[Future[bool], str] = {}
        turned = False
        with ThreadPoolExecutor(self.manner.jobs) as pool:
            try:
                while (left and not turned) or running:
                    ready = [] if turned else [name for name in left if set(self.graph[name].needs) <= done]
                    for name in ready[: self.manner.jobs - len(running)]:
                        left.remove(name)
                        running[pool.submit(self._run, name)] = name
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        name = running.pop(future)
                        turned = future.result() or turned
                        done.add(name)
            except BaseException:
                self.launcher.stop()
                raise
        return turned

    def _run(self, name: str) -> bool:
        one = self.progress[name]
        before = one.record
        record = StageRecord.begin(name, one.identity, one.output) if before is None else before.begun_again()
        self.records.write(record)
        self.manner.report("starts", one)
        self.ran.append(name)
        try:
            settings = one.stage.settings(self.outputs, str(one.output), once=self.manner.once)
            self.launcher.run(one.stage, settings, self.log_of(one))
        except (Preempted, KeyboardInterrupt) as stopped:
            self.records.write(record.now("stopped", str(stopped)))
            raise
        except Exception as error:
            if self._refused(error):
                refused = record.now("refused", str(error))
                self.records.write(refused)
                if self._may_ask(name):
                    self.manner.report("refused", replace(one, record=refused))
                    return True
                raise GateRefused(f"{name}: {error}") from error
            self.records.write(record.now("failed", str(error) or type(error).__name__))
            raise
        if not one.output.exists():
            self.records.write(record.now("failed", "it wrote nothing"))
            raise SteersmanError(f"the stage {name!r} ended without writing {one.output}; run it again")
        self.records.write(record.now("finished"))
        self.manner.report("finished", one)
        return self.graph.rounds is not None and name in self.graph.rounds.turns

    def _refused(self, error: Exception) -> bool:
        """Whether a gate said no, here or in a process of its own."""
        code = error.exit_code if isinstance(error, StageFailed) else None
        return isinstance(error, GateRefused) or code == GateRefused.exit_code

    def _may_ask(self, name: str) -> bool:
        return self.graph.rounds is not None and name in self.graph.rounds.may_ask

    def log_of(self, one: StageProgress) -> Path:
        return self.records.folder / f"{one.name}-{one.identity.hash}.log"
