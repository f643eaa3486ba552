"""Reading a recipe of stages.

name = "constitution-harbour"
out = "runs/constitution"         # the folder of all outputs
seed = 0                          # of each stage that names no seed of its own

[stages.sft]
command = "sft"
recipe = "sft-harbour"            # settings to begin with: a file, or the name of a shipped recipe
data.source = "stage:revise"      # the output of another stage; the others are settings of the command

[stages.ppo]
command = "ppo"
launch = "torchrun:2"             # here (in this process), subprocess, torchrun:N or slurm
after = ["evaluate"]              # wait for stages whose output it does not read

[rounds]                          # stands for the stages of several rounds (settings.rounds, rounds.tables)
policy = "stage:sft"
prompts.source = "prompts.jsonl"
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from steersman.errors import UsageError
from steersman.rounds.graph import (
    FindCommand,
    Graph,
    Rounds,
    StageNode,
    get_at,
    ordered,
    references,
    replace_references,
    resolved,
    unknown,
)
from steersman.rounds.launch import check_launch
from steersman.rounds.plan import Stages, plan_rounds
from steersman.rounds.tables import PROMOTED, Tables, merged, policy_after
from steersman.settings.base import check, put, read_recipe
from steersman.settings.nested import put_at
from steersman.settings.rounds import RoundsSettings

KEYS = ("name", "out", "seed", "launch", "rounds", "stages")
OF_A_STAGE = ("command", "recipe", "launch", "after")
ROUNDS = "rounds"


def is_of_stages(values: Mapping[str, Any]) -> bool:
    """Whether a recipe is one of stages, rather than one command's settings."""
    return isinstance(values.get("stages"), Mapping) or isinstance(values.get(ROUNDS), Mapping)


def read_graph(recipe: str | Path, overrides: Sequence[str], find: FindCommand) -> Graph:
    """The graph of a recipe: a file, or the name of a shipped one. Overrides are STAGE.SETTING=VALUE, out=… or seed=….

    All settings are checked now, so that a mistake in the last stage does not show after hours. The stages of rounds
    follow from what has been done, too.
    """
    values = read_recipe(recipe)
    if not is_of_stages(values):
        raise UsageError(f'{recipe} has no stages; expected tables such as [stages.sft] with command = "sft"')
    values.setdefault("stages", {})
    of_rounds = [one for one in overrides if _put(values, one)]
    for key in values:
        if key not in KEYS:
            raise UsageError(unknown(key, [*KEYS, *values["stages"]], f"{recipe}: unknown key"))
    name = str(values.get("name") or Path(recipe).stem)
    out = Path(str(values.get("out") or Path("runs") / name)).expanduser()
    stages = Stages(
        out,
        lambda key, given: _stage(key, given, values, find, f"{recipe}: stage {key!r}"),
        values["stages"],
        str(recipe),
    )
    rounds = None if ROUNDS not in values else _with_rounds(values, stages, name, of_rounds, str(recipe))
    nodes = [stages.node(key) for key in values["stages"]]
    graph = Graph(name, out, ordered(nodes), str(recipe), tuple(overrides), rounds)
    _check_settings(graph)
    return graph


def _with_rounds(values: dict[str, Any], stages: Stages, name: str, overrides: Sequence[str], recipe: str) -> Rounds:
    """Put the stages of the rounds beside the recipe's own; `stage:promoted` is what the last round leads to."""
    given = {str(key).replace("-", "_"): value for key, value in values[ROUNDS].items()}
    try:
        settings = check(RoundsSettings, given)
    except UsageError as error:
        raise UsageError(f"{recipe}: [rounds]: {error}") from error
    used: set[str] = set()

    def adjust(tables: Tables) -> Tables:
        tables = deepcopy(tables)  # rounds share the tables that the recipe has for all of them
        for override in overrides:
            first = override.partition("=")[0].strip().split(".")[0]
            if first in tables:
                put(tables, override)
                used.add(override)
        return tables

    seed = values.get("seed")
    rounds = plan_rounds(settings, stages, name=name, seed=seed if isinstance(seed, int) else 0, adjust=adjust)
    for override in overrides:
        if override not in used:
            first = override.partition("=")[0].strip().split(".")[0]
            known = [*stages.tables, *KEYS[:-2]]
            raise UsageError(unknown(first, known, f"{override!r}: expected STAGE.SETTING=VALUE; no stage"))
    last = policy_after(settings, rounds.planned)
    for key, table in stages.tables.items():
        if PROMOTED in references(table):
            stages.put({key: replace_references(table, lambda one, rest: _promoted(one, rest, last))})
    return rounds


def _promoted(name: str, rest: str, last: str) -> str:
    return f"{last}{rest}" if name == PROMOTED else f"stage:{name}{rest}"


def _put(values: dict[str, Any], override: str) -> bool:
    """Put an override where it belongs. Returns whether it is of a stage that only the rounds may have."""
    first = override.partition("=")[0].strip().split(".")[0]
    if first in values["stages"]:
        put(values["stages"], override)
    elif first in KEYS and first != "stages":
        put(values, override)
    elif ROUNDS in values:
        return True
    else:
        raise UsageError(
            unknown(first, [*values["stages"], *KEYS[:-2]], f"{override!r}: expected STAGE.SETTING=VALUE; no stage")
        )
    return False


def _stage(name: str, given: Any, recipe: Mapping[str, Any], find: FindCommand, where: str) -> StageNode:
    if not isinstance(given, Mapping) or not isinstance(given.get("command"), str):
        raise UsageError(f'{where} has no command; expected a table with command = "sft", or another command')
    if not name.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"{where}: a stage's name becomes a file name; expected only letters, digits, _ and -")
    command = find(given["command"])
    values = merged(read_recipe(given["recipe"]) if "recipe" in given else {}, _own(given))
    names = list(recipe["stages"])
    after = given.get("after", [])
    after = [after] if isinstance(after, str) else list(after)
    needs = list(dict.fromkeys([*references(values), *after]))
    for need in needs:
        if need not in names:
            raise UsageError(unknown(need, [each for each in names if each != name], f"{where} refers to no stage"))
    if name in needs:
        raise UsageError(f"{where} refers to its own output; expected another stage's name after stage:")
    launch = str(given.get("launch") or recipe.get("launch") or "here")
    check_launch(launch, where)
    stage = StageNode(name, command, values, tuple(needs), launch)
    if get_at(values, stage.out_setting) is not None:
        del_at(values, stage.out_setting)
    seed = recipe.get("seed")
    if seed is not None and stage.seed_setting is not None and get_at(_own(given), stage.seed_setting) is None:
        put_at(values, stage.seed_setting, seed)
    return stage


def _own(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key not in OF_A_STAGE}


def del_at(values: dict[str, Any], key: str) -> None:
    """Leave out the value with this dotted name: a stage's output has its place from its identity."""
    *groups, last = key.split(".")
    for group in groups:
        values[group] = dict(values[group])
        values = values[group]
    values.pop(last, None)


def _check_settings(graph: Graph) -> None:
    for stage in graph.stages:
        try:
            resolved(stage, lambda name, rest: f"stage:{name}{rest}")
        except UsageError as error:
            raise UsageError(f"{graph.recipe}: stage {stage.name!r}: {error}") from error
