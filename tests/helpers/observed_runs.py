"""Folders of runs as they lie on disk, without models: a PPO run, a fine-tuning run, and rounds. All texts of people
and models may be chosen, so that hostile ones can be."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from steersman.assemble.round_stages import find_stage
from steersman.rounds.graph import Graph, Rounds, StageNode, ordered
from steersman.rounds.identity import identities, output_of
from steersman.rounds.plan import Stages
from steersman.rounds.planned import write_plan
from steersman.rounds.progress import progress_of
from steersman.rounds.recipe import _stage  # pyright: ignore[reportPrivateUsage]
from steersman.rounds.records import Records, StageRecord
from steersman.rounds.tables import common_tables, round_tables
from steersman.runs.folder import RunFolder
from steersman.runs.stamp import MachineFacts, RunIdentity, make_stamp, write_stamp
from steersman.settings.base import check
from steersman.settings.rounds import RoundsSettings

PLAIN = ("Why is the sea salt?", "Rivers carry salt into it.", "It just is, and that is a good thing!")
RECIPE = """\
iterations = 40
[model]
path = "runs/sft"
[scorer]
path = "runs/reward"
[prompts]
source = "prompts.jsonl"
[kl]
coefficient = {coefficient}
[watch.limits]
length = 2.0
"""


def ppo_run(
    path: Path, *, steps: int = 40, texts: Sequence[str] = PLAIN, state: str = "finished", coefficient: float = 0.1
) -> Path:
    """A run of PPO with samples, held-out answers, sentences and a finding."""
    folder = _begun(path, "ppo", RECIPE.format(coefficient=coefficient))
    folder.planned_path.write_text('{"steps": 40}')
    rows = [{"step": 0, "time": 1000.0, "notice": f"prompts are messages: {texts[0]}"}]
    rng = random.Random(0)
    for step in range(1, steps + 1):
        if step == 1 or step % 10 == 0:
            rows.append(_held_out_row(step if step > 1 else 0))
        rows.append(ppo_row(step, rng))
    rows.append({"step": steps, "time": 1000.0 + 10 * steps, "notice": f"iteration {steps}: {texts[2]}"})
    _write_rows(folder.journal_path, rows)
    for step in (1, steps // 2, steps):
        answers = [_sample(texts[i % 2], texts[1 + i % 2], step / 40 + i / 10) for i in range(4)]
        _write_rows(folder.samples_path(step), answers)
    for step, first in ((0, 1), (steps, 2)):
        found = [_held_out(f"{i} {texts[0]}", texts[first], i + first, step) for i in range(4)]
        _write_rows(folder.held_out_path(step), found)
    evidence = {"prompt": texts[0], "answer": texts[2], "score": 1.5, "held_out": None, "number": 3.0}
    finding = {"step": 20, "detector": "length", "value": 3.0, "limit": 2.0, "verdict": texts[2], "action": "warn"}
    _write_rows(folder.watch_path, [{**finding, "evidence": [evidence]}])
    if state != "running":
        folder.mark_ended(state, steps)
    return folder.path


def sft_run(path: Path, *, steps: int = 20) -> Path:
    """A run of fine-tuning: losses only."""
    folder = _begun(path, "sft", '[data]\nsource = "rows.jsonl"\n[train]\nepochs = 1\n')
    rows = [
        {
            "step": step,
            "time": 1000.0 + step,
            "loss": 2 / step,
            "rows": 8,
            **({} if step % 5 else {"held-out loss": 2.5 / step}),
        }
        for step in range(1, steps + 1)
    ]
    _write_rows(folder.journal_path, rows)
    folder.mark_ended("finished", steps)
    return folder.path


def ppo_row(step: int, rng: random.Random) -> dict:
    """An iteration's row of the journal, with as many metrics as a real one."""
    noise = rng.gauss(0, 0.05)
    more = {f"metric {i}": round(rng.random(), 6) for i in range(20)}
    return {
        "step": step,
        "time": 1000.0 + 10 * step,
        "score": math.tanh(step / 20) + noise,
        "raw score": math.tanh(step / 20) + noise,
        "KL to reference": step / 20 + noise,
        "entropy": 1.5 - step / 200 + noise,
        "answer length": 30 + step / 4,
        "ended with EOS": 0.98,
        "explained variance": min(0.9, step / 40),
        "clip fraction": 0.1 + noise / 4,
        "KL to old policy": 0.01,
        "gradient norm": 1.0 + noise,
        "watch length": 1 + step / 20,
        **more,
    }


def rounds_folder(path: Path, *, texts: Sequence[str] = PLAIN, done: int = 2) -> Path:
    """The folder of three rounds of which `done` are done, and the reward model of the next is running or was."""
    settings = check(
        RoundsSettings,
        {
            "policy": "harbour:base",
            "count": 3,
            "prompts": {"source": "harbour:prompts?count=9", "held_out": "harbour:prompts/heldout?count=4"},
            "labels": {"count": 4},
        },
    )
    graph = _graph_of(path, settings)
    found = identities(graph)
    records = Records(path)
    for number, stage in enumerate(graph.stages):
        of = int(stage.name.split("-")[1]) if stage.name.split("-")[-1].isdigit() else 0
        output = output_of(path, stage, found[stage.name])
        record = StageRecord.begin(stage.name, found[stage.name], output)
        if of <= done:
            _stage_output(stage.name, of, output, texts)
            records.write(replace(record, state="finished", seconds=60.0 + number))
        elif of == done + 1 and stage.name.startswith(("prompts", "sample")):
            records.write(record.now("stopped", texts[2]))
    write_plan(graph, progress_of(graph))
    return path


def _graph_of(path: Path, settings: RoundsSettings) -> Graph:
    """Three rounds as `[rounds]` makes them, with the commands of the package."""
    tables = common_tables(settings)
    for number in range(1, 4):
        tables |= round_tables(settings, number, label=f"rounds-{number}")
    values = {"stages": tables, "seed": 0}
    stages = Stages(path, lambda name, given: _stage(name, given, values, find_stage, name), tables, "recipe.toml")
    nodes: list[StageNode] = [stages.node(name) for name in tables]
    rounds = Rounds(settings, 3, "", {}, frozenset(), frozenset(), frozenset())
    return Graph("helpful", path, ordered(nodes), "recipe.toml", (), rounds)


def _stage_output(name: str, number: int, output: Path, texts: Sequence[str]) -> None:
    if name.startswith("evaluate"):
        output.mkdir(parents=True)
        baseline = "sft" if number == 1 else "promoted"
        wins = [
            {"model": "new", "by": "reward", "rate": {"estimate": 0.6, "low": 0.55, "high": 0.65}, "resampled": None}
        ]
        figures = [{"group": "distance", "name": "KL", "model": "new", "value": {"estimate": 1.5 * number}}]
        (output / "results.json").write_text(json.dumps({"baseline": baseline, "wins": wins, "figures": figures}))
        (output / "recipe.toml").write_text("")
        rows = [
            {
                "prompt": prompt_of(i, texts),
                "completions": [
                    _scored(texts[1], baseline, 0.1 * i, 0.0),
                    _scored(f"{texts[2]} {number}", "new", 0.1 * i * number + 0.5, 1.5),
                ],
            }
            for i in range(4)
        ]
        _write_rows(output / "answers.jsonl", rows)
    elif name.startswith("labels"):
        first, second = {"text": texts[1], "model": "a"}, {"text": texts[2], "model": "b"}
        label = {"prompt": prompt_of(0, texts), "first": first, "second": second, "annotator": texts[0][:40]}
        _write_rows(output, [{**label, "preference": value} for value in (0.0, 0.5, 1.0)])
    elif name.startswith("promote"):
        output.mkdir(parents=True)
        reason = f"it wins 60 % ({texts[2]})"
        (output / "promotion.json").write_text(
            json.dumps({"promoted": number == 1, "reason": reason, "by_a_person": False})
        )
    elif output.suffix:
        _write_rows(output, [{"prompt": prompt_of(0, texts)}])
    else:
        ppo_run(output, texts=texts)


def prompt_of(number: int, texts: Sequence[str]) -> dict:
    return {"messages": [{"role": "user", "content": f"{number} {texts[0]}"}], "id": f"p{number}", "metadata": {}}


def _scored(text: str, model: str, reward: float, kl: float) -> dict:
    return {"text": text, "model": model, "scores": {"reward": reward, "reward/raw": reward, "KL": kl, "tokens": 5.0}}


def _begun(path: Path, kind: str, recipe: str) -> RunFolder:
    folder = RunFolder.create_or_open(path)
    folder.recipe_path.write_text(recipe)
    identity = RunIdentity(kind, {"run": 7}, {}, {})
    write_stamp(folder.stamp_path, make_stamp(identity, MachineFacts(1, "cpu", 1, {}), command=["steersman", kind]))
    return folder


def _held_out_row(step: int) -> dict:
    return {
        "step": step,
        "time": 1000.5 + 10 * step,
        "held-out score": 0.02 * step,
        "held-out KL to reference": step / 20,
    }


def _held_out(prompt: str, answer: str, score: float, step: int) -> dict:
    row = {"prompt": prompt, "prompt_id": prompt, "answer": answer, "finish": "end", "tokens": 5, "seed": 1}
    return {**row, "score": score / 10, "kl": step / 20}


def _sample(prompt: str, answer: str, score: float) -> dict:
    count = 3
    third = max(1, len(answer) // 3)
    columns = {name: [0.1, -0.2, 0.3] for name in ("kl", "entropies", "values", "rewards", "advantages", "returns")}
    columns |= {"log_probs": [-0.1, -0.2, -0.3], "reference_log_probs": [-0.2, -0.2, -0.4]}
    offsets = [[0, third], [third, 2 * third], [2 * third, len(answer)]]
    row = {"prompt": prompt, "prompt_id": "p", "answer": answer, "finish": "end", "score": score}
    return {**row, "ids": list(range(count)), "offsets": offsets, **columns}


def _write_rows(path: Path, rows: Sequence[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def long_journal(path: Path, rows: int) -> None:
    """A journal with so many iterations, one of which stands out."""
    rng = random.Random(1)
    with path.open("w") as file:
        for step in range(1, rows + 1):
            row = ppo_row(step, rng)
            if step == rows // 3:
                row["score"] = 99.0
            file.write(json.dumps(row) + "\n")
