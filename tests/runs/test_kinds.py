"""What follows from a run's kind for whoever opens its folder."""

import pytest

from steersman.runs.kinds import RUN_KINDS, WITH_LANGUAGE_MODEL, command_of, step_name, title_of


@pytest.mark.parametrize(
    ("kind", "title", "command", "step"),
    [
        ("sft", "fine-tuning", "sft", "step"),
        ("ppo", "PPO", "ppo", "iteration"),
        # another advantage.estimator of the same command
        ("grpo", "GRPO", "ppo", "iteration"),
        ("rloo", "RLOO", "rloo", "step"),
        ("evaluate", "evaluate", "evaluate", ""),
        # a run of another release
        ("judge", "the judge", "judge", ""),
        ("future", "future", "ppo", "iteration"),
    ],
)
def test_a_kind_has_a_title_a_command_and_a_name_for_its_steps(kind: str, title: str, command: str, step: str):
    assert (title_of(kind), command_of(kind), step_name(kind)) == (title, command, step)


def test_a_language_model_is_what_every_other_kind_makes():
    assert {*RUN_KINDS} - {*WITH_LANGUAGE_MODEL} == {"reward", "classifier", "evaluate", "red-team", "revise", "judge"}
