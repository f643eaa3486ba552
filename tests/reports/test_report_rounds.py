"""The report of a recipe of stages: by round, stages, and prompts through time."""

import pytest
from observed_runs import PLAIN, rounds_folder

from steersman.assemble.report import write_report
from steersman.errors import DataError
from steersman.reports.rounds import duration_words, read_rounds, table_by_round
from steersman.rounds.planned import FILE, plan_as_dict, read_plan


@pytest.fixture
def rounds(tmp_path):
    return rounds_folder(tmp_path / "rounds")


def test_a_report_has_the_rounds_and_prompts_through_time(rounds, tmp_path):
    done = write_report([str(rounds)], out=str(tmp_path / "page.html"))
    assert done.headline == "helpful: 19 of 27 stages are done."
    assert list(done.sections) == ["By round", "Stages", "Prompts through time"]
    page = (tmp_path / "page.html").read_text()
    for words in ("reward-3", "promote-1", "not promoted", "reward 0.50, KL 1.50 nats", PLAIN[1]):
        assert words in page, words
    assert "<script" not in page


def test_rounds_may_stand_beside_runs_in_a_report(rounds, tmp_path):
    from observed_runs import ppo_run

    ppo_run(tmp_path / "ppo")
    out = tmp_path / "page.html"
    done = write_report([str(rounds), str(tmp_path / "ppo")], out=str(out), microscope=0)
    assert done.sections[0] == "helpful"
    assert "Frozen and updated" in out.read_text()


def test_a_prompts_story_has_both_answers_of_each_round_and_labels(rounds):
    read = read_rounds(rounds)
    assert len(read.stories) == 4
    story = next(one for one in read.stories.values() if one.prompt == f"0 {PLAIN[0]}")
    assert [one.round for one in story.rounds] == [1, 2]
    first, second = story.rounds
    assert first.before is not None
    assert second.before is not None
    assert second.new is not None
    assert (first.before.model, second.before.model) == ("sft", "promoted")
    assert second.new.text == f"{PLAIN[2]} 2"
    assert len(first.labels) == 3
    assert first.labels[0].endswith(f"“{PLAIN[2]}” rather than “{PLAIN[1]}”")
    assert "are equal" in first.labels[1]
    assert story.rewards == [0.5, 0.5]


def test_stages_that_stopped_say_how_long_they_will_take(rounds):
    read = read_rounds(rounds)
    standing = {one.name: one for one in read.standings}
    assert standing["sample-3"].state == "stopped"
    assert standing["reward-3"].state == "to run"
    assert standing["sample-3"].left == pytest.approx(standing["sample-2"].seconds, abs=1.0)
    assert read.left is not None
    assert read.left > 300
    assert [row[1] for row in table_by_round(read).rows] == ["promoted", "the last one kept"]  # pyright: ignore[reportOptionalMemberAccess]
    states = {one["name"]: one["state"] for one in plan_as_dict(read.plan, read.standings)["stages"]}
    assert states["evaluate-2"] == "done"


def test_a_plan_that_cannot_be_read_says_what_to_do(rounds):
    (rounds / FILE).write_text("{")
    with pytest.raises(DataError, match="Run the recipe again"):
        read_plan(rounds)


def test_an_output_in_an_altered_plan_stays_in_the_folder(rounds):
    path = rounds / FILE
    path.write_text(path.read_text().replace('"output": "sample-3', '"output": "../../../etc/sample-3'))
    outputs = {one.output.parent for one in read_rounds(rounds).standings}
    assert outputs == {rounds}


def test_times_are_rounded_to_what_one_needs():
    assert [duration_words(s) for s in (5.0, 89.0, 90.0, 3600.0, 7300.0)] == [
        "5 s",
        "89 s",
        "2 min",
        "60 min",
        "2 h 2 min",
    ]
