"""Which stages the rounds of a recipe have, as things stand: a function of the recipe and of what has been done.

A round is planned when those before it are. Where a gate refused its labels, the round has more of them; where a person
decided about its policy, that is in its `promote`; where the rounds stop, later ones have no stages. So a run that was
killed, or is only looked at, comes to the same stages.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steersman.errors import DataError, UsageError
from steersman.rounds.decisions import RoundDecision, decision_for, decisions_in
from steersman.rounds.graph import Rounds, StageNode
from steersman.rounds.identity import Identity, identity_of_stage, output_of
from steersman.rounds.records import Records
from steersman.rounds.tables import (
    PROMOTED,
    Tables,
    common_tables,
    gates_of,
    labels_of,
    name_of,
    refuse_unlinkable,
    round_tables,
)
from steersman.runs.model_folder import PROMOTION
from steersman.settings.rounds import RoundsSettings

MakeStage = Callable[[str, Mapping[str, Any]], StageNode]


@dataclass
class Stages:
    """The stages that are known so far; each is made and identified when it is asked for."""

    out: Path
    make: MakeStage
    tables: Tables
    recipe: str
    _nodes: dict[str, StageNode] = field(default_factory=dict[str, StageNode])
    _identities: dict[str, Identity] = field(default_factory=dict[str, Identity])

    def put(self, tables: Tables) -> None:
        """Take these stages in, in place of earlier ones of their names, which none of the others stands on yet."""
        self.tables |= tables
        for name in tables:
            self._nodes.pop(name, None)
            self._identities.pop(name, None)

    def node(self, name: str) -> StageNode:
        if name not in self._nodes:
            self._nodes[name] = self.make(name, self.tables[name])
        return self._nodes[name]

    def identity(self, name: str, before: Sequence[str] = ()) -> Identity:
        if name in before:
            raise UsageError(f"stages wait for one another in a circle: {' needs '.join([*before, name])}")
        if name not in self._identities:
            needs = self.node(name).needs
            hashes = {need: self.identity(need, (*before, name)).hash for need in needs}
            try:
                self._identities[name] = identity_of_stage(self.node(name), hashes)
            except UsageError as error:
                raise UsageError(f"{self.recipe}: stage {name!r}: {error}") from error
        return self._identities[name]

    def output(self, name: str) -> Path:
        return output_of(self.out, self.node(name), self.identity(name))


@dataclass
class _Planning:
    rounds: RoundsSettings
    stages: Stages
    label: str
    seed: int
    adjust: Callable[[Tables], Tables]
    own: frozenset[str]
    superseded: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    may_ask: set[str] = field(default_factory=set[str])
    labels_used: int = 0
    without_gain: int = 0

    def __post_init__(self) -> None:
        self.records = Records(self.stages.out)
        self.decisions = decisions_in(self.stages.out)

    def tables(self, number: int, *, asked: int = 0, decision: RoundDecision | None = None) -> Tables:
        label = f"{self.label}-{number}"
        made = round_tables(self.rounds, number, label=label, asked=asked, decision=decision, seed=self.seed)
        return self.adjust(self.beside_own(made))

    def beside_own(self, tables: Tables) -> Tables:
        taken = next((name for name in (*tables, PROMOTED) if name in self.own), None)
        if taken is not None:
            raise UsageError(f"the stage {taken!r} has the name of a stage of [rounds]; give it another name")
        return tables

    def round(self, number: int) -> str:
        """Plan a round. Returns why the rounds stop after it; empty if they go on, or if it is not done."""
        asked = self._asked(number)
        evaluation = self.stages.identity(name_of("evaluate", number)).hash
        decision = decision_for(self.decisions, number, evaluation)
        if decision is not None:
            promote = name_of("promote", number)
            table = self.tables(number, asked=asked, decision=decision)[promote]
            self.superseded.add((promote, self.stages.identity(promote).hash))
            self.stages.put({promote: table})
        return self._stop(number)

    def _asked(self, number: int) -> int:
        """How often more labels have been asked for in this round."""
        asked, most = 0, self.rounds.of(number).labels.asks
        while True:
            self.stages.put(self.tables(number, asked=asked))
            if asked == most or not any(self._refused(gate) for gate in gates_of(self.rounds, number)):
                break
            names = [*labels_of(self.rounds, number), *gates_of(self.rounds, number)]
            self.superseded |= {(name, self.stages.identity(name).hash) for name in names}
            asked += 1
        if asked < most:
            self.may_ask |= {*gates_of(self.rounds, number)}
        return asked

    def _refused(self, gate: str) -> bool:
        record = self.records.find(gate, self.stages.identity(gate).hash)
        return record is not None and record.state == "refused"

    def _stop(self, number: int) -> str:
        promote = name_of("promote", number)
        record = self.records.find(promote, self.stages.identity(promote).hash)
        found = read_promotion(self.stages.output(promote))
        if record is None or record.state != "finished" or found is None:
            return ""
        if found["promoted"]:
            self.without_gain = 0
        elif not found["by_a_person"]:
            self.without_gain += 1
        self.labels_used += sum(rows_in(labels_file(self.stages.output(n))) for n in labels_of(self.rounds, number))
        if self.without_gain >= self.rounds.patience:
            return f"{self.without_gain} rounds in a row brought no gain (rounds.patience)"
        if self.rounds.budget is not None and self.labels_used >= self.rounds.budget:
            return f"{self.labels_used:,} labels have been used, of {self.rounds.budget:,} (rounds.budget)"
        return ""


def plan_rounds(
    rounds: RoundsSettings, stages: Stages, *, name: str, seed: int, adjust: Callable[[Tables], Tables]
) -> Rounds:
    """Put the stages of all rounds that are needed into `stages`. `adjust` applies the settings of the command line."""
    refuse_unlinkable(rounds)
    planning = _Planning(rounds, stages, name, seed, adjust, frozenset(stages.tables))
    stages.put(adjust(planning.beside_own(common_tables(rounds))))
    stopped, planned, not_needed = "", 0, dict[str, str]()
    for number in range(1, rounds.count + 1):
        if stopped:
            not_needed |= dict.fromkeys(planning.tables(number), stopped)
            continue
        stopped, planned = planning.round(number), number
    turns = frozenset(name_of("promote", number) for number in range(1, planned + 1))
    may_ask, superseded = frozenset(planning.may_ask), frozenset(planning.superseded)
    return Rounds(rounds, planned, stopped, not_needed, turns, may_ask, superseded)


def read_promotion(output: Path) -> dict[str, Any] | None:
    """What a promoted policy's folder says of the decision; None if it is not there."""
    try:
        return json.loads((output / PROMOTION).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{output / PROMOTION} cannot be read: {error}. Delete {output}, and it is made again"
        ) from error


def labels_file(output: Path) -> Path:
    """The file of labels that a stage left: its output, or a file in it."""
    return output / "labels.jsonl" if output.is_dir() else output


def rows_in(path: Path) -> int:
    """Lines of a file; 0 if it is not there."""
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(1 for _ in file)
