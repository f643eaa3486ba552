"""The stage `label`: tasks for people, waiting for them, and the labels that they have given."""

import json
import shlex
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from commandline import call

from steersman.assemble.round_labels import LabelResult, run_label
from steersman.errors import DataError, Preempted, UsageError
from steersman.judging.project import ProjectLedger
from steersman.judging.queue import QueuePlan, gather, make_queue
from steersman.records import Answers, Comparison, Completion, Message, Prompt, to_dict
from steersman.settings.base import load_settings
from steersman.settings.round_stages import LabelStageSettings
from steersman.store.claims import claim_tasks
from steersman.store.database import open_store
from steersman.store.labelling import Submission, submit_label
from steersman.store.projects import Project, find_project
from steersman.store.snapshots import list_snapshots
from steersman.store.sources import parsed_source

ROWS = [
    Answers(
        Prompt((Message("user", f"Question {n}?"),)), tuple(Completion(f"Answer {n} {k}", model="m") for k in range(3))
    )
    for n in range(8)
]


@pytest.fixture
def answers(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("STEERSMAN_STORE", str(tmp_path / "studio.db"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(to_dict(row)) + "\n" for row in ROWS))
    return path


def labelled(answers: Path, *words: str) -> LabelResult:
    given = [f"data.source={answers}", "project=studio:helpful", "round=loop-1", "count=6", "out=labels.jsonl"]
    return run_label(load_settings(LabelStageSettings, None, [*given, "poll=0.05", *words]), quiet=True)


def people_label(count: int, name: str = "ann") -> None:
    """Somebody judges so many of the tasks."""
    with open_store() as database:
        project = find_project(database, "helpful")
        for task in claim_tasks(project, name, count=count):
            submit_label(project, Submission(name, task.id, f"{name}-{task.id}", {"preference": 1.0}))


def rows(path: Path) -> list[Comparison]:
    from steersman.data.load import load_records

    return [one for one in load_records(str(path)) if isinstance(one, Comparison)]


def test_tasks_are_made_once_and_the_stage_goes_on_when_there_are_enough_labels(answers):
    for _ in range(2):
        with pytest.raises(Preempted, match=r"0 of 6 labels are in studio:helpful.round=loop-1; they label with: "):
            labelled(answers, "wait=false")
    people_label(4)
    with pytest.raises(Preempted, match="4 of 6 labels"):
        labelled(answers, "wait=false")
    people_label(2, "bea")
    result = labelled(answers, "wait=false")
    assert (result.labels, result.source) == (6, "studio:helpful?snapshot=1&round=loop-1")
    assert sorted(one.annotator for one in rows(Path("labels.jsonl"))) == ["ann"] * 4 + ["bea"] * 2
    with open_store() as database:
        project = find_project(database, "helpful")
        assert [one.rows for one in list_snapshots(project)] == [8]  # 6 labels, and 2 tasks to spare


def test_it_waits_until_people_have_labelled(answers):
    with pytest.raises(Preempted):
        labelled(answers, "wait=false")
    timer = threading.Timer(0.3, people_label, [6])
    timer.start()
    assert labelled(answers).labels == 6
    timer.join()


def test_a_date_ends_the_waiting_with_what_there_is(answers):
    with pytest.raises(DataError, match=r"0 of 6 labels .* it is past 2020-01-01"):
        labelled(answers, "until=2020-01-01")
    people_label(2)
    assert labelled(answers, "until=2020-01-01").labels == 2


def test_several_people_judge_each_pair(answers):
    with pytest.raises(Preempted):
        labelled(answers, "wait=false", "people=2", "count=4")
    people_label(10, "ann")
    people_label(10, "bea")
    labelled(answers, "people=2", "count=4")
    found = rows(Path("labels.jsonl"))
    assert sorted({one.annotator for one in found}) == ["ann", "bea"]
    assert len({one.prompt.id for one in found}) == len(found) / 2


def test_labels_of_the_terminal_take_the_tasks_of_the_round(answers):
    with pytest.raises(Preempted):
        labelled(answers, "wait=false", "count=4")
    source = parsed_source("helpful?round=loop-1")
    items = make_queue(gather(ROWS), QueuePlan("compare", "cat", pairs="random", seed=0)).items
    with source.opened() as project:
        judge_all(ProjectLedger(project, source, mode="compare", annotator="cat"), items)
        assert claim_tasks(project, "dan", count=9) == []
    assert labelled(answers, "wait=false", "count=4").labels == 8


def judge_all(ledger: ProjectLedger, items: Iterable) -> None:
    for item in items:
        first, second = item.completions
        ledger.judge(item.id, Comparison(item.prompt, first, second, 1.0, annotator="cat", id=item.id))


def test_a_label_file_counts_the_judgements_of_this_round_s_answers(answers, tmp_path):
    words = ["project=none", "file=people-{round}.jsonl", "count=2"]
    with pytest.raises(Preempted, match=r"0 of 2 labels are in people-loop-1.jsonl"):
        labelled(answers, *words, "wait=false")
    one = [Comparison(row.prompt, row.completions[0], row.completions[1], 1.0, annotator="ann") for row in ROWS[:2]]
    other = Comparison(Prompt(text="Another round"), Completion("a"), Completion("b"), 0.0, annotator="ann")
    (tmp_path / "people-loop-1.jsonl").write_text("".join(json.dumps(to_dict(c)) + "\n" for c in [other, *one]))
    result = labelled(answers, *words)
    assert (result.labels, result.source) == (2, "people-loop-1.jsonl")
    assert rows(Path("labels.jsonl")) == one


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["project=none"], "either in a project .* seen neither"),
        (["file=labels"], "seen both"),
        (["until=soon"], "expected a moment such as 2026-12-24"),
    ],
)
def test_wrong_settings_are_messages(answers, words, message):
    with pytest.raises(UsageError, match=message):
        labelled(answers, *words)


RECIPE = """
out = "out"
[stages.labels]
command = "label"
data.source = "answers.jsonl"
project = "studio:helpful"
round = "loop-1"
count = 6
"""


def test_once_ends_with_code_75_and_a_next_line_that_runs(answers, capsys):
    Path("loop.toml").write_text(RECIPE)
    assert call(["rounds", "run", "loop.toml", "--once"]) == 75
    shown = capsys.readouterr().err
    following = next(line for line in shown.splitlines() if line.strip().startswith("next: "))
    words = shlex.split(following.strip().removeprefix("next: "))
    assert words == ["steersman", "rounds", "run", "loop.toml", "--once"]
    assert "steersman label answers.jsonl --out 'studio:helpful?round=loop-1'" in shown
    assert call(["rounds", "explain", "loop.toml"]) == 0
    assert "waiting for people: 0 of 6 labels" in capsys.readouterr().out
    people_label(6)
    assert call([*words[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ran"] == ["labels"]
    people_label(1, "bea")  # later labels change nothing: the snapshot is frozen
    assert call([*words[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ran"] == []


def test_the_project_is_the_one_that_is_named(answers):
    with pytest.raises(Preempted):
        labelled(answers, "wait=false", f"project=studio:other?store={answers.parent / 'team.db'}")
    with open_store(str(answers.parent / "team.db")) as database:
        assert isinstance(find_project(database, "other"), Project)
