"""What is said at the end of `judge`."""

import pytest

from steersman.judges.result import JudgeResult, lines_of_judge


@pytest.mark.parametrize(("sureness", "said"), [(0.003, True), (0.4, False)])
def test_labels_close_to_chance_are_told(sureness: float, said: bool):
    result = JudgeResult("runs/judge", "judge:m", "general", 5, 15, 15, labels="labels.jsonl", sureness=sureness)
    assert any("hardly prefers either answer" in line for line in lines_of_judge(result)) is said
