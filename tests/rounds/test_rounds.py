"""The table `[rounds]`: its stages, what runs again, refused labels, promotions, decisions and reasons to stop."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from round_commands import RECIPE, Outcomes, RoundCommands, write_round_recipe

from steersman.errors import DataError, GateRefused, UsageError
from steersman.rounds.clean import unused
from steersman.rounds.decide import decide
from steersman.rounds.decisions import decisions_in
from steersman.rounds.graph import Graph, get_at
from steersman.rounds.progress import progress_of
from steersman.rounds.recipe import read_graph
from steersman.rounds.run import GraphResult, run_graph

ROUND = ("prompts", "sample", "labels", "gate", "reward", "ppo", "evaluate", "promote")


def of_round(number: int) -> set[str]:
    return {f"{kind}-{number}" for kind in ROUND}


def graph_of(folder: Path, *overrides: str, text: str = RECIPE, outcomes: Outcomes | None = None) -> Graph:
    return read_graph(write_round_recipe(folder, text), list(overrides), RoundCommands(outcomes))


def run(
    folder: Path, *overrides: str, text: str = RECIPE, outcomes: Outcomes | None = None
) -> tuple[GraphResult, list[str]]:
    outcomes = outcomes or Outcomes()

    def read() -> Graph:
        return graph_of(folder, *overrides, text=text, outcomes=outcomes)

    return run_graph(read(), again=read), outcomes.ran


def value(graph: Graph, stage: str, key: str):
    return get_at(graph[stage].values, key)


def test_the_table_stands_for_the_stages_of_each_round(tmp_path):
    graph = graph_of(tmp_path)
    assert {stage.name for stage in graph.stages} == {
        *("sft", "held-out", "prompts", "reference", "after"),
        *of_round(1),
        *of_round(2),
    }
    assert value(graph, "sample-1", "model") == ["stage:sft"] * 4
    assert value(graph, "sample-2", "model") == ["stage:promote-1", "stage:promote-1", "stage:sft", "stage:sft"]
    assert value(graph, "ppo-1", "reference") is None
    assert (value(graph, "ppo-2", "model.path"), value(graph, "ppo-2", "reference")) == ("stage:promote-1", "stage:sft")
    assert value(graph, "reward-2", "data") == {"source": "stage:gate-2", "held_out": 0.1, "more": ["stage:gate-1"]}
    assert {value(graph, f"reward-{n}", "reference") for n in (1, 2)} == {"stage:reference"}
    assert {value(graph, f"evaluate-{n}", "prompts.source") for n in (1, 2)} == {"stage:held-out"}
    assert value(graph, "evaluate-2", "models") == {
        "promoted": "stage:promote-1",
        "sft": "stage:sft",
        "new": "stage:ppo-2",
    }
    assert value(graph, "after", "model") == "stage:promote-2"


def test_settings_of_the_rounds_change_what_stages_read(tmp_path):
    text = RECIPE.replace("count = 2", 'count = 3\nstart = "sft"\nage_weight = 0.5\nlabels.by = ["simulate", "judge"]')
    text += '[rounds.judge]\njudge.model = "tiny:llama"\n[rounds.ppo]\niterations = 7\n'
    graph = graph_of(tmp_path, "ppo-3.iterations=9", text=text)
    assert value(graph, "ppo-3", "model.path") == "stage:sft"
    assert value(graph, "ppo-3", "reference") is None
    assert [value(graph, f"ppo-{n}", "iterations") for n in (1, 2, 3)] == [7, 7, 9]
    assert value(graph, "gate-2-judge", "data.source") == "stage:labels-2-judge/labels.jsonl"
    data = value(graph, "reward-3", "data")
    assert [data["source"], *data["more"]] == [
        f"stage:gate-{n}-{by}" for n in (3, 2, 1) for by in ("simulate", "judge")
    ]
    assert data["source_weights"] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert value(graph, "labels-1-judge", "data.limit") == 2  # 8 labels, 6 pairs to a prompt


def test_an_unchanged_recipe_runs_nothing_and_more_rounds_run_only_those(tmp_path):
    first, ran = run(tmp_path)
    assert {*ran} == {"sft", "held-out", "prompts", "reference", "after", *of_round(1), *of_round(2)}
    assert len(ran) == len({*ran})
    again, ran = run(tmp_path)
    assert ran == []
    assert again.outputs == first.outputs
    _, ran = run(tmp_path, "rounds.count=3", outcomes=Outcomes({1, 2, 3}))
    assert {*ran} == {*of_round(3), "after"}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("rounds.promote.least=0.01", {"promote-1", "after", *of_round(2)} - {"prompts-2"}),
        ("ppo-2.iterations=5", {"ppo-2", "evaluate-2", "promote-2", "after"}),
        ("rounds.evaluate.drawing.answers=3", {"evaluate-1", "promote-1", "after", *of_round(2)} - {"prompts-2"}),
        ("reward-2.centring=0.5", {"reward-2", "ppo-2", "evaluate-2", "promote-2", "after"}),
    ],
)
def test_a_changed_setting_runs_its_stages_and_what_follows(tmp_path, override, expected):
    run(tmp_path)
    _, ran = run(tmp_path, override)
    assert sorted(ran) == sorted(expected)


def test_refused_labels_are_asked_for_again_and_the_course_of_things_stays(tmp_path):
    outcomes = Outcomes(refusals={1: 1})
    result, ran = run(tmp_path, outcomes=outcomes)
    assert [ran.count(name) for name in ("labels-1", "gate-1", "sample-1", "labels-2")] == [2, 2, 1, 1]
    assert len(Path(result.outputs["labels-1"]).read_text().splitlines()) == 12
    outcomes.ran.clear()
    assert run(tmp_path, outcomes=outcomes)[1] == []
    assert unused(graph_of(tmp_path)) == []


def test_after_so_many_refusals_the_rounds_stop_with_code_10_and_say_why(tmp_path):
    outcomes = Outcomes(refusals={1: 9})
    with pytest.raises(GateRefused, match="gate-1: 16 judgements pass") as caught:
        run(tmp_path, outcomes=outcomes)
    assert caught.value.exit_code == 10
    assert outcomes.ran.count("gate-1") == 3
    assert "reward-1" not in outcomes.ran
    gate = next(one for one in progress_of(graph_of(tmp_path)) if one.name == "gate-1")
    assert gate.reasons == ("it refused: 16 judgements pass; collect more",)
    outcomes.refusals.clear()
    assert run(tmp_path, outcomes=outcomes)[0].graph.rounds is not None


def test_rounds_without_gain_stop_and_later_stages_are_not_needed(tmp_path):
    outcomes = Outcomes(promoted={1})
    result, ran = run(tmp_path, "rounds.count=5", outcomes=outcomes)
    rounds = result.graph.rounds
    assert rounds is not None
    assert (rounds.planned, "ppo-4" in ran) == (3, False)
    assert rounds.not_needed["ppo-4"] == "2 rounds in a row brought no gain (rounds.patience)"
    assert set(rounds.not_needed) == of_round(4) | of_round(5)
    assert value(result.graph, "after", "model") == "stage:promote-3"
    outcomes.ran.clear()
    assert run(tmp_path, "rounds.count=5", outcomes=outcomes)[1] == []


def test_a_budget_of_labels_stops_the_rounds(tmp_path):
    result, ran = run(tmp_path, "rounds.count=5", "rounds.budget=16")
    assert result.graph.rounds is not None
    assert result.graph.rounds.stopped == "16 labels have been used, of 16 (rounds.budget)"
    assert "ppo-3" not in ran


def test_a_kept_policy_is_the_next_rounds_current_one(tmp_path):
    result, _ = run(tmp_path, outcomes=Outcomes(promoted={2}))
    assert json.loads((Path(result.outputs["promote-1"]) / "promotion.json").read_text())["promoted"] is False
    assert value(result.graph, "sample-2", "model")[0] == "stage:promote-1"


def decided(result: GraphResult, number: int) -> dict:
    return json.loads((Path(result.outputs[f"promote-{number}"]) / "promotion.json").read_text())


def test_a_person_s_decision_counts_and_later_rounds_follow_from_it(tmp_path):
    outcomes = Outcomes()
    run(tmp_path, outcomes=outcomes)
    made = decide(graph_of(tmp_path), "reject", 1, "it flatters")
    assert (made.round, made.action, decisions_in(tmp_path / "out")) == (1, "reject", [made])
    outcomes.ran.clear()
    result, ran = run(tmp_path, outcomes=outcomes)
    assert sorted(ran) == sorted({"promote-1", "after", *of_round(2)} - {"prompts-2"})
    assert decided(result, 1) == {"promoted": False, "by_a_person": True, "reason": "False it flatters"}
    decide(graph_of(tmp_path), "promote", 1, "it does not")
    assert decided(run(tmp_path, outcomes=outcomes)[0], 1)["promoted"] is True


def test_a_rollback_keeps_what_later_rounds_have_made(tmp_path):
    outcomes = Outcomes(promoted={1, 2, 3})
    run(tmp_path, outcomes=outcomes)
    decide(graph_of(tmp_path), "reject", 2, "not yet run, and replaced by the next one")
    decide(graph_of(tmp_path), "rollback", 0, "complaints")
    outcomes.ran.clear()
    result, ran = run(tmp_path, "rounds.count=3", outcomes=outcomes)
    assert sorted(ran) == sorted({"promote-2", "after", *of_round(3)})
    assert value(result.graph, "promote-2", "last") == "stage:sft"
    assert decided(result, 2)["promoted"] is False


def test_a_decision_does_not_hold_for_another_policy(tmp_path):
    run(tmp_path)
    decide(graph_of(tmp_path), "reject", 1, "it flatters")
    result, _ = run(tmp_path, "ppo-1.iterations=2")
    assert decided(result, 1)["by_a_person"] is False


def test_decisions_that_cannot_be_meant_are_messages(tmp_path):
    with pytest.raises(UsageError, match="the policy of round 1 has not been evaluated yet"):
        decide(graph_of(tmp_path), "promote", 1, "early")
    run(tmp_path)
    with pytest.raises(UsageError, match="there is no round 3 to reject; rounds are 1 to 2"):
        decide(graph_of(tmp_path), "reject", 3, "late")
    with pytest.raises(UsageError, match=r"no way back to round 2; rounds to go back to are 0 .* to 1"):
        decide(graph_of(tmp_path), "rollback", 2, "now")
    with pytest.raises(UsageError, match="a decision has a reason"):
        decide(graph_of(tmp_path), "reject", 1, " ")
    (tmp_path / "out" / "decisions.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="each line is one decision"):
        graph_of(tmp_path)


def test_time_left_is_known_from_the_same_stage_of_another_round(tmp_path):
    run(tmp_path, "rounds.count=1", outcomes=Outcomes(pause=0.01))
    seconds = {one.name: one.seconds for one in progress_of(graph_of(tmp_path))}
    assert seconds["ppo-2"] == seconds["ppo-1"]
    assert seconds["ppo-2"] > 0.01


def test_a_killed_run_comes_to_the_same_outputs(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        write_round_recipe(folder, RECIPE.replace("{out}", "out"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", PROGRAM]
    subprocess.run(words, env=environment, cwd=whole, check=True)
    moments = random.Random(5)
    for _ in range(4):
        process = subprocess.Popen(words, env=environment, cwd=killed)
        wait_for(killed / "out" / "stages", process)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.wait()
    subprocess.run(words, env=environment, cwd=killed, check=True)
    assert outputs_in(killed) == outputs_in(whole)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


PROGRAM = """
from round_commands import Outcomes, RoundCommands
from steersman.rounds.recipe import read_graph
from steersman.rounds.run import run_graph
commands = RoundCommands(Outcomes(promoted={2}, refusals={1: 1}, pause=0.03))
read = lambda: read_graph("loop.toml", [], commands)
run_graph(read(), again=read)
"""


def outputs_in(folder: Path) -> dict[str, bytes]:
    files = (path for path in (folder / "out").rglob("*") if path.is_file() and "stages" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name != ".lock"}


@pytest.mark.parametrize(
    ("text", "override", "message"),
    [
        (RECIPE.replace('policy = "stage:sft"\n', ""), "seed=1", r"\[rounds\]: the setting 'policy' is missing"),
        (RECIPE.replace("labels.asks", "labels.ask"), "seed=1", "did you mean 'labels.asks'"),
        (RECIPE, "ppo-3.iterations=2", "no stage 'ppo-3'; did you mean 'ppo-"),
        (RECIPE, "ppo-1.iteration=2", r"stage 'ppo-1': unknown setting 'iteration': did you mean 'iterations'"),
        (RECIPE + "[rounds.dpo]\nbeta = 0.2\n", "seed=1", "rounds.dpo has no effect with rounds.method=ppo"),
        (RECIPE + "[rounds.judge]\npairs = 'all'\n", "seed=1", "rounds.judge has no effect with rounds.labels.by"),
        (RECIPE + "[stages.gate-1]\ncommand = 'gate'\n", "seed=1", "'gate-1' has the name of a stage of"),
        (RECIPE.replace("stage:sft", "nowhere"), "seed=1", "rounds.policy is 'nowhere', which is no folder"),
        (RECIPE, "rounds.mix={current=1,previous=0,sft=0}", "the mix gives 1 answers to a prompt"),
    ],
)
def test_a_mistake_in_the_table_is_a_message(tmp_path, text, override, message):
    with pytest.raises(UsageError, match=message):
        graph_of(tmp_path, override, text=text)


def test_one_round_may_have_settings_of_its_own_and_the_others_stay_as_they_are(tmp_path):
    plain = graph_of(tmp_path, "rounds.count=3")
    text = RECIPE.replace("count = 2", "count = 3") + (
        '[rounds.simulate]\noverlap = 0.5\n[rounds.in_round.3]\nlabels.by = "label"\nlabels.count = 6\n'
        'label.project = "studio:helpful"\nprompts.count = 3\nage_weight = 0.5\n'
        'reward.model.path = "stage:reward-2"\npromote.by = "reward"\n'
    )
    graph = graph_of(tmp_path, text=text)
    assert [graph[f"labels-{number}"].command.command for number in (1, 2, 3)] == ["simulate", "simulate", "label"]
    assert (value(graph, "labels-3", "count"), value(graph, "labels-3", "round")) == (6, "loop-3")
    assert [value(graph, f"prompts-{number}", "count") for number in (1, 2, 3)] == [4, 4, 3]
    assert value(graph, "gate-3", "least_judgements") == 3
    assert value(graph, "reward-3", "data.source_weights") == [1, 0.5, 0.25]
    assert value(graph, "reward-2", "data.source_weights") is None
    assert value(graph, "reward-3", "model.path") == "stage:reward-2"
    assert "reward-2" in graph["reward-3"].needs
    here, there = ({one.name: one.identity.hash for one in progress_of(each)} for each in (plain, graph))
    assert {name for name in here if name[-1] in "12" and here[name] != there[name]} == {
        *("labels-1", "gate-1", "reward-1", "ppo-1", "evaluate-1", "promote-1"),
        *(of_round(2) - {"prompts-2"}),
    }, "by the overlap of the simulated annotators alone"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[rounds.in_round.last]\npatience = 1", "in_round.last: expected the number of a round"),
        ("[rounds.in_round.2]\ncount = 5", "in_round.2.count cannot be set: it is the same in all rounds"),
        ('[rounds.in_round.2]\nprompts.source = "x"', "in_round.2.prompts.source cannot be set"),
        ("[rounds.in_round.2]\nlabels.cuont = 5", "did you mean 'labels.count'"),
        ("[rounds.in_round.2]\nrloo.iterations = 5", "rounds.rloo has no effect"),
    ],
)
def test_settings_of_one_round_that_cannot_be_are_refused(tmp_path, table, said):
    with pytest.raises(UsageError, match=said.replace("[", r"\[")):
        graph_of(tmp_path, text=f"{RECIPE}{table}\n")
