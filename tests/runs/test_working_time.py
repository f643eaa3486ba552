"""The seconds that a run worked, where its journal begins in many notices of one start."""

from collections import deque

from steersman.runs.working_time import _idle


def test_between_notices_of_one_start_no_time_is_idle():
    assert _idle(deque([(10.0, True), (10.2, True)]), 10.5) == 0.0
    # the last row of the start before came at 4; the first notice of this one at 10
    assert _idle(deque([(4.0, False), (10.0, True), (10.2, True)]), 10.5) == 6.0
