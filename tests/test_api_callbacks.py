"""Callbacks: each method is called where it says, and what one raises is named."""

from pathlib import Path

import pytest

import steersman
from steersman.errors import SteersmanError, UsageError
from steersman.runs.callbacks import calling

ROWS = [{"prompt": f"Say {i}", "completion": f"It is {i}."} for i in range(8)]
FEW = {
    "iterations": 2,
    "prompts_per_iteration": 2,
    "sampling": {"max_new_tokens": 4},
    "update": {"epochs": 1, "minibatches": 1},
    "compute": {"kernels": "default"},
}


class Recorder:
    def __init__(self):
        self.called = []

    def on_iteration(self, step, numbers):
        self.called.append(("iteration", step))
        self.numbers = dict(numbers)
        numbers.clear()

    def on_evaluation(self, step, numbers):
        self.called.append(("evaluation", step))
        assert all(name.startswith(("held-out", "best held-out")) for name in numbers)

    def on_checkpoint(self, step, folder):
        self.called.append(("checkpoint", step))
        assert (Path(folder) / "weights.safetensors").exists()


def sft(tiny, out, callbacks, steps=2):
    settings = {"run": {"device": "cpu", "threads": 1, "checkpoint_every": 1}, "data.held_out": 0.3}
    fitting = {"train": {"kernels": "default", "steps": steps, "batch_size": 2, "evaluate_every": 1}}
    data = {"model": tiny("llama"), "data": ROWS, "out": out, "quiet": True}
    return steersman.sft(**data, callbacks=callbacks, **settings, **fitting)


def test_a_callback_sees_steps_evaluations_and_checkpoints(tiny, tmp_path):
    first, second = Recorder(), Recorder()
    sft(tiny, tmp_path / "run", [first, second])
    assert first.called == second.called
    steps = [one for one in first.called if one[0] == "iteration"]
    assert steps == [("iteration", 1), ("iteration", 2)]
    assert {("evaluation", 0), ("evaluation", 2), ("checkpoint", 1), ("checkpoint", 2)} <= set(first.called)
    assert {"loss", "learning rate"} <= set(second.numbers), "one callback that changes its numbers changes no other's"
    sft(tiny, tmp_path / "alone", ())


def test_ppo_calls_back_once_an_iteration(tiny, tmp_path):
    seen = Recorder()
    steersman.ppo(
        model=tiny("llama"),
        prompts=["A dog", "Hello", "A game", "A heart"],
        reward=lambda answer: float(len(answer)),
        out=tmp_path / "run",
        quiet=True,
        callbacks=seen,
        run={"device": "cpu", "threads": 1, "checkpoint_every": 1},
        **{**FEW, "prompts.held_out": 0.4},
    )
    assert [step for what, step in seen.called if what == "iteration"] == [1, 2]
    assert ("checkpoint", 2) in seen.called
    assert "KL to reference" in seen.numbers


def test_what_a_callback_raises_is_named_and_the_run_can_go_on(tiny, tmp_path):
    class Careless:
        def on_iteration(self, step, numbers):
            if step == 2:
                raise KeyError("reward")

    with pytest.raises(
        SteersmanError,
        match=r"the callback Careless.on_iteration raised KeyError: 'reward' \(test_api_.*at step 2; .*resumed",
    ):
        sft(tiny, tmp_path / "run", Careless(), steps=3)
    assert sft(tiny, tmp_path / "run", (), steps=3).ending == "finished"


def test_what_is_no_callback_is_told():
    with (
        pytest.raises(UsageError, match="one of the methods on_iteration, on_evaluation, on_checkpoint; seen int"),
        calling(3),
    ):
        pass

    class Misspelt:
        def on_iteration(self, step, numbers): ...
        def on_chekpoint(self, step, folder): ...

    with pytest.raises(UsageError, match="has 'on_chekpoint', which is never called"), calling(Misspelt()):
        pass
