"""Real signals to this very process."""

import os
import signal
import threading

import pytest

from steersman.runs.signals import STOP_SIGNALS, StopRequest


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
