"""Real signals to this very process."""

import os
import signal
import threading

import pytest

from steersman.assemble.stages import STAGES
from steersman.runs.signals import RESUMABLE, STOP_SIGNALS, StopRequest, stopping_while_loading


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_is_remembered_by_name(number: signal.Signals):
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    with StopRequest() as stop:
        assert stop.requested is None
        os.kill(os.getpid(), number)
        assert stop.requested == number.name
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested == number.name
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before


def test_the_second_interrupt_does_not_wait():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested == "SIGINT"
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second interrupt was swallowed")
    assert signal.getsignal(signal.SIGINT) == before


def test_a_handler_from_outside_python_becomes_the_default(monkeypatch: pytest.MonkeyPatch):
    installed: list[object] = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: installed.append(handler))
    with StopRequest():
        pass
    assert installed[-len(STOP_SIGNALS) :] == [signal.SIG_DFL] * len(STOP_SIGNALS)


def test_another_thread_can_ask_without_signals():
    before = signal.getsignal(signal.SIGTERM)
    seen: list[str | None] = []

    def work() -> None:
        with StopRequest() as stop:
            assert signal.getsignal(signal.SIGTERM) == before
            stop.request("time is up")
            stop.request("again")
            seen.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == ["time is up"]


def test_what_a_person_is_told_and_when(capfd: pytest.CaptureFixture[str]):
    with StopRequest() as stop:
        stop.begin()
        os.kill(os.getpid(), signal.SIGINT)
        assert "SIGINT: stopping after this step, with everything saved (Ctrl-C again ends it" in capfd.readouterr().err
        os.kill(os.getpid(), signal.SIGTERM)
        assert capfd.readouterr().err == ""


def test_commands_that_resume_are_those_that_a_signal_ends_with_75_while_they_load():
    assert {*RESUMABLE} == {*STAGES} - {"score"}
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with stopping_while_loading(["chat", "runs/sft"]):
        assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
    with stopping_while_loading(["sft", "--data", "x"]):
        assert not {*before} & {signal.getsignal(number) for number in STOP_SIGNALS}
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
