"""Recipes of stages: what is read from them, and what is wrong with them."""

from pathlib import Path
from typing import Any

import pytest
from small_commands import Commands, write_recipe

from steersman.errors import UsageError
from steersman.rounds.graph import Graph
from steersman.rounds.recipe import read_graph


def settings_of(graph: Graph, stage: str, **outputs: str) -> Any:
    return graph[stage].settings(outputs, "out")


def graph_of(tmp_path: Path, text: str, *overrides: str):
    return read_graph(write_recipe(tmp_path, text), list(overrides), Commands())


def test_stages_come_after_those_that_they_read_wherever_they_stand(tmp_path):
    graph = graph_of(
        tmp_path,
        """
        [stages.last]
        command = "write"
        data = "stage:model/weights"
        [stages.model]
        command = "train"
        data = "stage:first?limit=3"
        [stages.first]
        command = "write"
        """,
    )
    assert [stage.name for stage in graph.stages] == ["first", "model", "last"]
    assert graph["last"].needs == ("model",)
    assert graph.after("first") == ("model", "last")


def test_what_follows_a_reference_stays_behind_the_output(tmp_path):
    graph = graph_of(
        tmp_path, '[stages.a]\ncommand = "write"\n[stages.b]\ncommand = "write"\ndata = "stage:a/x?limit=3"'
    )
    assert settings_of(graph, "b", a="there").data == "there/x?limit=3"


def test_references_in_lists_count_and_after_adds_more(tmp_path):
    graph = graph_of(
        tmp_path,
        """
        [stages.c]
        command = "write"
        data = ["stage:a", "file"]
        after = "b"
        [stages.a]
        command = "write"
        [stages.b]
        command = "write"
        """,
    )
    assert graph["c"].needs == ("a", "b")
    assert settings_of(graph, "c", a="A", b="B").data == ["A", "file"]


def test_the_seed_is_given_to_stages_that_have_one_and_name_none(tmp_path):
    graph = graph_of(
        tmp_path,
        """
        seed = 5
        [stages.own]
        command = "train"
        data = "x"
        run.seed = 9
        [stages.given]
        command = "train"
        data = "x"
        [stages.none]
        command = "write"
        """,
    )
    assert settings_of(graph, "own").run.seed == 9
    assert settings_of(graph, "given").run.seed == 5


def test_settings_by_stage_on_the_command_line_win(tmp_path):
    graph = graph_of(tmp_path, '[stages.a]\ncommand = "write"\ntext = "x"', "a.text=y", f"out={tmp_path}/elsewhere")
    assert settings_of(graph, "a").text == "y"
    assert graph.out == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[stages.a]\ncommand = "write"\ndata = "stage:b"', r"stage 'a' refers to no stage 'b'; expected one of"),
        (
            '[stages.first]\ncommand = "write"\n[stages.b]\ncommand = "write"\ndata = "stage:frist"',
            r"no stage 'frist'; did you mean 'first'\?",
        ),
        ('[stages.a]\ncommand = "write"\ndata = "stage:a"', "refers to its own output"),
        (
            '[stages.a]\ncommand = "write"\ndata = "stage:b"\n[stages.b]\ncommand = "write"\ndata = "stage:a"',
            "in a circle: a needs b needs a",
        ),
        ('[stages.a]\ntext = "x"', "has no command"),
        ('[stages.a]\ncommand = "wirte"', "no method 'wirte'"),
        ('[stages.a]\ncommand = "write"\ntxt = "x"', r"stage 'a': unknown setting 'txt': did you mean 'text'\?"),
        ('[stages.a]\ncommand = "write"\nlaunch = "cluster"', "launch is 'cluster'; expected here, subprocess"),
        ('[stages."a/b"]\ncommand = "write"', "becomes a file name"),
        ('sed = 3\n[stages.a]\ncommand = "write"', r"unknown key 'sed'; did you mean 'seed'\?"),
        ('command = "write"', r"has no stages; expected tables such as \[stages.sft\]"),
    ],
)
def test_a_mistake_in_a_recipe_is_a_message(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        graph_of(tmp_path, text)


def test_an_override_of_no_stage_is_a_message(tmp_path):
    with pytest.raises(UsageError, match=r"no stage 'fist'; did you mean 'first'\?"):
        graph_of(tmp_path, '[stages.first]\ncommand = "write"', "fist.text=y")


def test_no_setting_of_a_command_has_the_name_of_a_key_of_stages():
    from steersman.assemble.stages import STAGES
    from steersman.rounds.recipe import OF_A_STAGE

    for stage in STAGES.values():
        assert not set(OF_A_STAGE) & set(stage.schema.model_fields), stage.command
        assert {"run", "out"} & set(stage.schema.model_fields), stage.command
