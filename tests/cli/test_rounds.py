"""`steersman rounds` on real commands."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from commandline import call
from shown import ROOT, shown

RECIPE = """
out = "out"

[stages.answers]
command = "sample"
model = "harbour:base"
prompts.source = "harbour:prompts?count=2"
answers = 2
max_new_tokens = 4

[stages.again]
command = "sample"
model = "harbour:base"
prompts.source = "stage:answers"
answers = 1
max_new_tokens = 3
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def stages(capsys) -> dict[str, dict[str, object]]:
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)["stages"]}


def test_a_recipe_is_run_once_and_what_has_changed_again(place, capsys):
    assert call(["rounds", "run", "recipe.toml"]) == 0
    shown = capsys.readouterr()
    assert "2 of 2 stages ran; all are done" in shown.out
    assert "again: sample" in shown.err
    assert call(["rounds", "status", "recipe.toml", "--json"]) == 0
    assert {one["standing"] for one in stages(capsys).values()} == {"done"}
    assert call(["rounds", "explain", "recipe.toml", "again.answers=2", "--json"]) == 0
    found = stages(capsys)
    assert found["answers"]["standing"] == "done"
    assert found["again"]["reasons"] == ["answers was 1 and is now 2"]
    assert call(["rounds", "run", "recipe.toml", "again.answers=2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ran"] == ["again"]
    assert call(["rounds", "clean", "recipe.toml", "again.answers=2"]) == 0
    assert "1 outputs" in capsys.readouterr().out


def test_a_finished_recipe_imports_no_torch(place, capsys):
    assert call(["rounds", "run", "recipe.toml"]) == 0
    program = (
        "import sys; sys.argv = ['steersman', 'rounds', 'run', 'recipe.toml']\n"
        "from steersman.cli.main import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "0 of 2 stages ran" in shown.stdout
    assert shown.stdout.splitlines()[-1] == "False"


@pytest.mark.slow
def test_stages_that_do_not_need_one_another_run_at_once_in_processes(place, capsys):
    apart = RECIPE.replace("stage:answers", "harbour:prompts?count=3")
    (place / "recipe.toml").write_text('launch = "subprocess"\n' + apart)
    assert call(["rounds", "run", "recipe.toml", "--jobs", "2", "--json"]) == 0
    assert sorted(json.loads(capsys.readouterr().out)["ran"]) == ["again", "answers"]
    (place / "recipe.toml").write_text(apart)
    assert call(["rounds", "run", "recipe.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ran"] == []


def test_a_stage_that_fails_in_a_process_is_told_with_its_last_lines_and_exit_code(place, capsys):
    (place / "recipe.toml").write_text('launch = "subprocess"\n' + RECIPE.replace("harbour:base", "nowhere/at-all"))
    assert call(["rounds", "run", "recipe.toml"]) == 4
    shown = capsys.readouterr().err
    assert "the stage 'answers' ended with exit code 4" in shown
    assert "nowhere/at-all" in shown


IN_HASTE = [
    *("sft.data.source=harbour:demonstrations?count=24", "sft.data.held_out=none", "sft.train.steps=1"),
    *("reward.data.source=harbour:comparisons?count=24", "reward.data.held_out=none", "reward.train.steps=1"),
    *("ppo.iterations=1", "ppo.prompts_per_iteration=4", "ppo.prompts.held_out=none", "ppo.sampling.max_new_tokens=4"),
    "ppo.update.minibatches=1",
]


@pytest.mark.slow
def test_the_commands_of_the_page_run(place, capsys):
    page = ROOT / "docs" / "rounds.md"
    (recipe,) = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    (place / "loop.toml").write_text(recipe)
    lines = [shlex.split(line)[1:] for line in shown(page)]
    assert [words[:3] for words in lines if "run" in words] == [["rounds", "run", "loop.toml"]] * 3
    ran: list[list[str]] = []
    for words in lines:
        assert call([*words, *IN_HASTE, "--json"]) == 0, words
        found = json.loads(capsys.readouterr().out)
        ran += [found["ran"]] if "ran" in found else []
    assert ran == [["sft", "reward", "ppo"], [], ["ppo"]]
