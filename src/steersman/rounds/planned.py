"""The plan of a graph as it was last run, `graph.json` beside the outputs: for whoever looks on without the recipe.

How each stage stands is in its record. A recipe that has changed since shows in the plan when it is run again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from steersman.errors import DataError
from steersman.rounds.by_round import RoundRow, rows_of
from steersman.rounds.graph import Graph
from steersman.rounds.progress import StageProgress
from steersman.rounds.records import Records, StageRecord, like
from steersman.runs.folder import atomic_write_text
from steersman.runs.lock import holder_of
from steersman.secrets import concealed
from steersman.settings.base import check
from steersman.settings.rounds import RoundsSettings

FILE = "graph.json"
StageState = Literal["done", "running", "stopped", "refused", "failed", "to run"]
"""`stopped`: it was begun, and goes on when the recipe is run again."""
_STATES: Mapping[str, StageState] = {
    "finished": "done",
    "begun": "running",
    "stopped": "stopped",
    "refused": "refused",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class PlannedStage:
    """A stage of the plan. `output` is the name of its folder or file beside the plan."""

    name: str
    command: str
    needs: tuple[str, ...]
    hash: str
    output: str


@dataclass(frozen=True, slots=True)
class GraphPlan:
    """`rounds` are the settings of `[rounds]`, `planned` the last round with stages, `stopped` why no other follows."""

    name: str
    recipe: str
    stages: tuple[PlannedStage, ...]
    not_needed: Mapping[str, str]
    rounds: RoundsSettings | None
    planned: int
    stopped: str


@dataclass(frozen=True, slots=True)
class StageStanding:
    """How a stage of a plan stands (compare `StageProgress`). `seconds` is what it took, or by earlier times would
    take; `left` is what is left of that, None if it is not known."""

    stage: PlannedStage
    state: StageState
    why: str
    output: Path
    seconds: float | None
    left: float | None

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def standing(self) -> str:
        return self.state


def write_plan(graph: Graph, progress: Sequence[StageProgress]) -> None:
    """Write the plan beside the outputs."""
    rounds = graph.rounds
    stages = [
        PlannedStage(one.name, one.stage.command.command, one.stage.needs, one.identity.hash, one.output.name)
        for one in progress
    ]
    content = {
        "name": graph.name,
        "recipe": Path(graph.recipe).name,
        "stages": [asdict(one) for one in stages],
        "not_needed": {} if rounds is None else dict(rounds.not_needed),
        "rounds": None if rounds is None else rounds.settings.model_dump(mode="json"),
        "planned": 0 if rounds is None else rounds.planned,
        "stopped": "" if rounds is None else rounds.stopped,
    }
    graph.out.mkdir(parents=True, exist_ok=True)
    atomic_write_text(graph.out / FILE, json.dumps(concealed(content), indent=1, ensure_ascii=False) + "\n")


def read_plan(out: Path) -> GraphPlan:
    """The plan in a folder."""
    path = out / FILE
    try:
        found = json.loads(path.read_bytes())
        stages = tuple(PlannedStage(**{**one, "needs": tuple(one["needs"])}) for one in found.pop("stages"))
        rounds = found.pop("rounds")
        settings = None if rounds is None else check(RoundsSettings, rounds)
        return GraphPlan(stages=stages, rounds=settings, **found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} cannot be read as the plan of a graph: {error}. Run the recipe again, and it is written anew"
        ) from error


def standings_of(plan: GraphPlan, out: Path, now: float) -> list[StageStanding]:
    """How the stages of a plan stand. Reads files only."""
    records, running = Records(out), holder_of(out) is not None
    known = records.all()
    return [_standing(stage, out, known, running, now) for stage in plan.stages]


def _standing(
    stage: PlannedStage, out: Path, records: Sequence[StageRecord], running: bool, now: float
) -> StageStanding:
    own = next((one for one in records if (one.stage, one.hash) == (stage.name, stage.hash)), None)
    state: StageState = "to run" if own is None else _STATES[own.state]
    if state == "running" and not running:
        state = "stopped"
    # A stage's name may leave the folder only if somebody altered the plan; its last part never does.
    output = out / Path(stage.output).name
    if own is not None and state == "done":
        return StageStanding(stage, state, "", output, own.seconds, 0.0)
    usual = _usual(stage.name, records)
    spent = 0.0 if own is None else own.seconds + (max(0.0, now - own.began) if state == "running" else 0.0)
    left = None if usual is None else max(0.0, usual - spent)
    return StageStanding(stage, state, "" if own is None else own.why, output, usual, left)


def _usual(name: str, records: Sequence[StageRecord]) -> float | None:
    """What the stage took with other settings, or else the newest of its kind in another round."""
    finished = [one for one in records if one.state == "finished" and like(one.stage) == like(name)]
    newest = sorted(finished, key=lambda one: (one.stage != name, -one.began))
    return newest[0].seconds if newest else None


def round_rows(plan: GraphPlan, standings: Sequence[StageStanding]) -> list[RoundRow]:
    """A row for each round of a plan, as `rounds status` has it."""
    if plan.rounds is None:
        return []
    return rows_of(plan.rounds, plan.planned, {one.name: one for one in standings})


def plan_as_dict(plan: GraphPlan, standings: Sequence[StageStanding]) -> dict[str, Any]:
    """The plan in plain values, for programs."""
    stages = [
        {"name": one.name, "command": one.stage.command, "needs": list(one.stage.needs), "state": one.state}
        | {"seconds": one.seconds, "left": one.left}
        for one in standings
    ]
    return {"name": plan.name, "stages": stages, "stopped": plan.stopped}
