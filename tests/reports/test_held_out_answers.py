"""The frozen and the updated model by the answers that a run kept, and over-optimisation by its own numbers."""

import pytest
from observed_runs import PLAIN, ppo_run

from steersman.assemble.report import write_report
from steersman.reports.distance import PeoplePoint, distance_of
from steersman.reports.held_out import frozen_and_updated, side_by_side
from steersman.reports.reading import read_run
from steersman.reports.run import live_sections
from steersman.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path):
    return ppo_run(tmp_path / "ppo")


def test_the_first_evaluation_is_the_frozen_model_and_the_last_the_updated(run):
    found = frozen_and_updated(read_run(run))
    assert found is not None
    comparison, step = found
    assert step == 40
    assert {one.text for one in comparison.frozen.answers} == {PLAIN[1]}
    assert {one.text for one in comparison.updated.answers} == {PLAIN[2]}
    assert comparison.frozen.scores == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert comparison.updated.kl == pytest.approx([2.0] * 4)
    section = side_by_side(read_run(run))
    assert section is not None
    assert len(section.parts) == 2


def test_without_the_initial_models_answers_nothing_is_compared(run):
    RunFolder(run).held_out_path(0).unlink()
    assert frozen_and_updated(read_run(run)) is None


def test_rows_that_are_none_are_left_out(run):
    path = RunFolder(run).held_out_path(0)
    path.write_text('{"torn\n[1]\n{"prompt": "x"}\n' + path.read_text().replace('"score": 0.1,', '"score": NaN,'))
    found = frozen_and_updated(read_run(run))
    assert found is not None
    assert len(found[0].frozen.answers) == 3


def test_a_report_shows_them_where_the_models_are_gone(run):
    done = write_report([str(run)], out=None)
    assert "Frozen and updated, side by side" in done.sections


def test_people_stand_on_the_plot_of_over_optimisation(run):
    people = [PeoplePoint("step-20", 1.0, 30.0, 40), PeoplePoint("ppo", 4.0, 12.0, 40)]
    assert people[0].log_odds == pytest.approx(1.0664, abs=1e-3)  # ln(30.5 / 10.5)
    assert PeoplePoint("all won", 1.0, 5.0, 5).log_odds == pytest.approx(2.398, abs=1e-3)  # ln(5.5 / 0.5)
    section = distance_of(read_run(run).journal, (), people)
    assert section is not None
    figure = section.parts[0].figures[0]  # pyright: ignore[reportAttributeAccessIssue]
    assert figure.names == ("score", "people, log-odds of a win")
    words = [part.text for part in section.parts[1:]]  # pyright: ignore[reportAttributeAccessIssue]
    assert words[0].startswith("People preferred step-20 to the reference in 75 % (60–86) of 40 comparisons")
    assert "No person" in distance_of(read_run(run).journal).parts[-1].text  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]


def test_a_run_that_goes_on_has_all_its_sections(run):
    titles = [one.short for one in live_sections(read_run(run))]
    assert titles[:4] == ["Latest answers", "Frozen and updated", "Watch", "Over-optimisation"]
    assert {"Microscope", "Worst"} <= {*titles}
