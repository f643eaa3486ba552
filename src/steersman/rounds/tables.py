"""The stages of one round, as a recipe would write them: what `[rounds]` stands for. Pure.

What each stage reads of the others is set here. The recipe's table of a kind of stage (`[rounds.ppo]`) wins over it,
and both win over a recipe that the table begins with.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steersman.errors import UsageError
from steersman.rounds.decisions import RoundDecision
from steersman.settings.rounds import RoundsSettings

HELD_OUT, LEARNED, REFERENCE = "held-out", "prompts", "reference"
PROMOTED = "promoted"
"""`stage:promoted` is the policy that the last round has led to."""
Tables = dict[str, dict[str, Any]]


def name_of(kind: str, number: int, apart: str = "") -> str:
    """A stage's name: sample-1, or labels-1-judge where several give labels."""
    return f"{kind}-{number}-{apart}" if apart else f"{kind}-{number}"


def label_kinds(rounds: RoundsSettings, number: int) -> dict[str, str]:
    """What sets a kind of labels apart in the names of a round's stages, by kind; nothing where there is one."""
    kinds = rounds.of(number).labels.by
    return {kind: kind if len(kinds) > 1 else "" for kind in kinds}


def gates_of(rounds: RoundsSettings, number: int) -> list[str]:
    return [name_of("gate", number, apart) for apart in label_kinds(rounds, number).values()]


def labels_of(rounds: RoundsSettings, number: int) -> list[str]:
    return [name_of("labels", number, apart) for apart in label_kinds(rounds, number).values()]


def policy_after(rounds: RoundsSettings, number: int) -> str:
    """The policy that is promoted after a round; after round 0 the one that the rounds begin with."""
    return f"stage:{name_of('promote', number)}" if number > 0 else rounds.policy


def refuse_unlinkable(rounds: RoundsSettings) -> None:
    if ":" not in rounds.policy and not Path(rounds.policy).expanduser().exists():
        raise UsageError(
            f"rounds.policy is {rounds.policy!r}, which is no folder; expected stage:NAME, such as a stage that "
            "fine-tunes it, a run, a model's folder, or harbour:base"
        )


def common_tables(rounds: RoundsSettings) -> Tables:
    """Stages that all rounds share: the prompts that are held out, those that are learned from, and the answers of the
    fine-tuned model that define the scale of all rounds' rewards."""
    prompts = {"command": "prompts", **_prompts(rounds)}
    reference = {
        "command": "sample",
        "model": rounds.policy,
        "prompts": {"source": f"stage:{HELD_OUT}"},
        "answers": 1,
    }
    kept = {key: value for key, value in rounds.sample.items() if key not in ("answers", "temperature", "model")}
    return {
        HELD_OUT: {**prompts, "part": "held out", "count": rounds.prompts.held_out_count},
        LEARNED: {**prompts, "part": "learned"},
        REFERENCE: merged(reference, kept),
    }


def round_tables(
    rounds: RoundsSettings,
    number: int,
    *,
    label: str,
    asked: int = 0,
    decision: RoundDecision | None = None,
    seed: int = 0,
) -> Tables:
    """The stages of a round for which more labels have been asked so many times. `label` is the round's name in a
    project."""
    all_rounds, rounds = rounds, rounds.of(number)
    method, policy = rounds.method, name_of(rounds.method, number)
    tables: Tables = {
        name_of("prompts", number): _of_round(rounds, number),
        name_of("sample", number): _wired(rounds, "sample", _sample(rounds, number, seed)),
    }
    for kind, apart in label_kinds(all_rounds, number).items():
        labels, read = name_of("labels", number, apart), "/labels.jsonl" if kind == "judge" else ""
        tables[labels] = _wired(rounds, kind, _labels(rounds, kind, number, asked, seed) | _round_name(kind, label))
        least = (rounds.labels.wanted(asked) + 1) // 2
        gate = {"data": {"source": f"stage:{labels}{read}"}, "least_judgements": least}
        tables[name_of("gate", number, apart)] = _wired(rounds, "gate", gate)
    tables[name_of("reward", number)] = _wired(rounds, "reward", _reward(all_rounds, number))
    tables[policy] = _wired(rounds, method, _policy(all_rounds, number))
    tables[name_of("evaluate", number)] = _wired(rounds, "evaluate", _evaluate(rounds, number, policy))
    promote = {
        "candidate": f"stage:{policy}",
        "last": policy_after(rounds, number - 1),
        "evaluation": f"stage:{name_of('evaluate', number)}",
    }
    table = _wired(rounds, "promote", promote)
    tables[name_of("promote", number)] = table if decision is None else table | _decided(rounds, decision)
    return tables


def _decided(rounds: RoundsSettings, decision: RoundDecision) -> dict[str, Any]:
    found: dict[str, Any] = {
        "decision": "promote" if decision.action == "promote" else "keep",
        "reason": decision.reason,
    }
    return found if decision.to is None else found | {"last": policy_after(rounds, decision.to)}


def _prompts(rounds: RoundsSettings) -> dict[str, Any]:
    given = rounds.prompts
    columns = None if given.columns is None else given.columns.mapping()
    data = {"source": given.source, "format": given.format, "columns": columns, "split": given.split}
    return {"data": {k: v for k, v in data.items() if v is not None}, "held_out": given.held_out}


def _of_round(rounds: RoundsSettings, number: int) -> dict[str, Any]:
    return {
        "command": "prompts",
        **_prompts(rounds),
        "part": "round",
        "round": number,
        "count": rounds.prompts.count,
    }


def _sample(rounds: RoundsSettings, number: int, seed: int) -> dict[str, Any]:
    mix = rounds.mix
    models = [policy_after(rounds, number - 1)] * mix.current
    models += [policy_after(rounds, number - 2)] * mix.previous
    models += [rounds.policy] * mix.sft
    return {
        "model": models,
        "prompts": {"source": f"stage:{name_of('prompts', number)}"},
        "answers": mix.answers,
        "temperature": list(mix.temperatures),
        "seed": seed + number,
    }


def _labels(rounds: RoundsSettings, kind: str, number: int, asked: int, seed: int) -> dict[str, Any]:
    answers, labels = rounds.mix.answers, rounds.labels
    most = answers * (answers - 1) // 2
    data: dict[str, Any] = {"source": f"stage:{name_of('sample', number)}"}
    if kind == "judge":
        each = answers - 1 if rounds.judge.get("pairs") == "tournament" else most
        return {"data": data | {"limit": math.ceil(labels.wanted(asked) / each)}}
    # pairs for all labels that may be asked for, so that asking for more adds to those that are there
    pairs = min(most, math.ceil(labels.wanted(labels.asks) / rounds.prompts.count))
    wanted = "judgements" if kind == "simulate" else "count"
    return {"data": data, wanted: labels.wanted(asked), "per_prompt": pairs, "seed": seed + number}


def _round_name(kind: str, label: str) -> dict[str, Any]:
    return {"round": label} if kind == "label" else {}


def _reward(rounds: RoundsSettings, number: int) -> dict[str, Any]:
    """The reward model learns from the labels of all rounds so far, the newest first."""
    of = [(gate, number - one) for one in range(number, 0, -1) for gate in gates_of(rounds, one)]
    data: dict[str, Any] = {"source": f"stage:{of[0][0]}", "held_out": 0.1}
    if len(of) > 1:
        data["more"] = [f"stage:{gate}" for gate, _ in of[1:]]
    age_weight = rounds.of(number).age_weight
    if age_weight != 1.0 and number > 1:
        data["source_weights"] = [age_weight**age for _, age in of]
    return {"model": {"path": rounds.policy}, "data": data, "reference": f"stage:{REFERENCE}"}


def _policy(all_rounds: RoundsSettings, number: int) -> dict[str, Any]:
    rounds = all_rounds.of(number)
    start = policy_after(rounds, number - 1) if rounds.start == "promoted" else rounds.policy
    apart = {"reference": rounds.policy} if rounds.kl == "sft" and start != rounds.policy else {}
    found: dict[str, Any] = {"model": {"path": start}, **apart}
    if rounds.method == "dpo":
        gates = gates_of(all_rounds, number)
        return found | {"data": {"source": f"stage:{gates[0]}"}}
    prompts = {"source": f"stage:{LEARNED}", "held_out": f"stage:{HELD_OUT}"}
    return found | {"prompts": prompts, "scorer": {"path": f"stage:{name_of('reward', number)}"}}


def _evaluate(rounds: RoundsSettings, number: int, policy: str) -> dict[str, Any]:
    """The new policy, the last promoted one and the frozen one on the held-out prompts."""
    first = number == 1
    models = {} if first else {PROMOTED: policy_after(rounds, number - 1)}
    return {
        "models": {**models, "sft": rounds.policy, "new": f"stage:{policy}"},
        "baseline": "sft" if first else PROMOTED,
        "reference": "sft",
        "prompts": {"source": f"stage:{HELD_OUT}"},
        "scorers": {"reward": {"path": f"stage:{name_of('reward', number)}"}},
    }


def _wired(rounds: RoundsSettings, command: str, wiring: Mapping[str, Any]) -> dict[str, Any]:
    return {"command": command, **merged(wiring, rounds.table(command))}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The values of both, by group; where both have one, that of `above`."""
    found = dict(below)
    for key, value in above.items():
        inner = found.get(key)
        found[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return found
