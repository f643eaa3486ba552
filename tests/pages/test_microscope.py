"""A kept sample as the page reads it: the file's own numbers, and Q worked by hand."""

import pytest

from steersman.pages.microscope import END, entry_of


def made(row):
    return entry_of(row, label="iteration 3", gamma=0.9, note="")


def test_the_numbers_are_the_files(sample):
    entry = made(sample)
    for name in ("values", "returns", "advantages", "rewards", "kl", "log_probs", "reference_log_probs", "entropies"):
        assert entry["columns"][name] == sample[name]
    assert entry["tokens"] == ["a", " furry", " pet", END]
    assert "".join(entry["tokens"][:-1]) == sample["answer"]


def test_q_is_what_a_token_was_paid_and_what_is_expected_after_it(sample):
    # 0 + 0.9 * 0.4; -0.03 + 0.9 * 1.0; 0 + 0.9 * 1.2; 1.5 and nothing after the end
    assert made(sample)["columns"]["q"] == pytest.approx([0.36, 0.87, 1.08, 1.5])


def test_without_a_critic_there_is_no_value_and_no_q(sample):
    columns = made({name: value for name, value in sample.items() if name != "values"})["columns"]
    assert "values" not in columns
    assert "q" not in columns


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ids": []}, "no ids"),
        ({"offsets": [[0, 1]]}, "no ids with an offset each"),
        ({"offsets": [0, 1, 2, 3]}, "not pairs of positions"),
        ({"kl": [0.0]}, "kl is not 4 numbers"),
        ({"rewards": [0.0, None, 0.0, 1.0]}, "rewards has a value that is not a finite number"),
        ({"values": [0.0, float("nan"), 0.0, 1.0]}, "values has a value that is not a finite number"),
        ({"score": "high"}, "no prompt, answer and score"),
    ],
)
def test_a_row_that_is_no_sample_says_why(sample, change, told):
    with pytest.raises(ValueError, match=told):
        made({**sample, **change})


def test_a_missing_column_is_named(sample):
    with pytest.raises(ValueError, match="no returns"):
        made({name: value for name, value in sample.items() if name != "returns"})
