"""Quality of a process reward model, by hand."""

import math

import pytest

from steersman.errors import DataError
from steersman.evaluate.step_quality import lines_of_steps, measure_steps
from steersman.reports.quality import parts_of_quality

# called: right, right, wrong (the first wrong step is found); right, right, wrong (it is the second: missed);
# right, wrong (there is none: not left alone); right
PROBABILITIES = [[0.9, 0.6, 0.2], [0.8, 0.7, 0.4], [0.9, 0.4], [0.7]]
LABELS = [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0], [1.0]]


def test_steps_first_errors_and_calibration_by_hand():
    found = measure_steps(PROBABILITIES, LABELS)
    assert (found.answers, found.steps, found.wrong) == (4, 9, 3)
    assert found.accuracy.estimate == pytest.approx(7 / 9)
    assert found.largest == pytest.approx(6 / 9)
    assert found.right_steps is not None
    assert found.wrong_steps is not None
    assert (found.right_steps.estimate, found.wrong_steps.estimate) == pytest.approx((5 / 6, 2 / 3))
    assert found.first_error is not None
    assert found.error_free is not None
    assert (found.first_error.estimate, found.error_free.estimate, found.f1) == (0.5, 0.5, 0.5)
    # of 18 pairs of a right and a wrong step: 6 above 0.2; 3 above 0.7 and a tie; 5 above 0.4 and a tie
    assert found.auc == pytest.approx(15 / 18)
    # gaps by bin: 0.2: 0.2; 0.4: twice |0.4 - 0.5|; 0.6: 0.4; 0.7: twice |0.7 - 0.5|; 0.8: 0.2; 0.9: twice 0.1
    assert found.calibration_error == pytest.approx((0.2 + 0.2 + 0.4 + 0.4 + 0.2 + 0.2) / 9)
    losses = [0.9, 0.6, 0.8, 0.8, 0.3, 0.6, 0.9, 0.4, 0.7]
    assert found.loss == pytest.approx(-sum(map(math.log, losses)) / 9)
    assert found.by_step == (), "fewer than five answers"


def test_the_interval_is_over_answers_whose_steps_belong_together():
    """Ten answers of ten steps each, all right or all wrong: as uncertain as ten coins, not as a hundred."""
    found = measure_steps([[0.9] * 10] * 10, [[float(i % 2)] * 10 for i in range(10)])
    assert found.accuracy.estimate == 0.5
    assert found.accuracy.high - found.accuracy.low > 0.5
    assert [one.group for one in found.by_step] == [f"step {i}" for i in range(1, 9)]
    assert {one.accuracy.estimate for one in found.by_step} == {0.5}


def test_what_does_not_occur_is_not_defined():
    found = measure_steps([[0.9], [0.8]], [[1.0], [1.0]])
    assert (found.wrong_steps, found.first_error, found.f1, found.auc) == (None, None, None, None)
    assert found.error_free is not None
    assert any("first wrong step found not defined" in line for line in lines_of_steps(found))
    nothing = measure_steps([[0.1], [0.9]], [[1.0], [0.0]])
    assert nothing.f1 == 0.0, "neither is found nor left alone"
    with pytest.raises(DataError, match="1 held-out answers with judged steps; expected at least 2"):
        measure_steps([[0.5]], [[1.0]])


def test_the_report_s_page_shows_it():
    shown = str(list(parts_of_quality(measure_steps(PROBABILITIES, LABELS).as_dict())))
    assert "answers whose first wrong step is found" in shown
    assert "Calibration" in shown
