"""Real signals to this very process."""

import os
import signal
import threading

import pytest

from steersman.assemble.stages import STAGES
from steersman.runs.signals import PREEMPTED, RESUMABLE, STOP_SIGNALS, StopRequest, stopping_while_loading


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


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes that this process would have ended with."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


def test_a_signal_before_the_work_begins_ends_a_command_after_its_last_words(exits: list[int]):
    told: list[str] = []
    with stopping_while_loading(["sft"]), StopRequest() as stop:
        stop.before_leaving = told.append
        os.kill(os.getpid(), signal.SIGUSR1)
        assert (told, exits) == (["SIGUSR1"], [PREEMPTED])
        stop.begin()
        os.kill(os.getpid(), signal.SIGUSR1)
    assert (told, exits) == (["SIGUSR1"], [PREEMPTED]), "work that has begun is saved first"


def test_last_words_that_fail_do_not_keep_a_command_from_ending(exits: list[int]):
    def fail(signal: str) -> None:
        raise OSError("the disk is full")

    with stopping_while_loading(["sft"]), StopRequest() as stop:
        stop.before_leaving = fail
        with pytest.raises(OSError, match="the disk is full"):
            os.kill(os.getpid(), signal.SIGTERM)
    assert exits == [PREEMPTED]


def test_a_program_that_is_no_command_is_asked_to_stop_and_never_ended(exits: list[int]):
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stop.requested, exits) == ("SIGTERM", [])


def test_what_is_said_is_said_once_for_all_processes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], exits: list[int]
):
    monkeypatch.setenv("RANK", "1")
    with StopRequest():
        os.kill(os.getpid(), signal.SIGTERM)
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("RANK", "0")
    with StopRequest():
        os.kill(os.getpid(), signal.SIGTERM)
    assert "SIGTERM: stopping after this step, with everything saved (Ctrl-C ends it at once" in capfd.readouterr().err


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
    # the others write a file whole or not at all
    recipes = {"rounds run", "constitution run"}
    assert {*RESUMABLE} == ({*STAGES} - {"score", "simulate", "gate"}) | recipes
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with stopping_while_loading(["chat", "runs/sft"]):
        assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
    with stopping_while_loading(["sft", "--data", "x"]):
        assert not {*before} & {signal.getsignal(number) for number in STOP_SIGNALS}
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_a_signal_while_a_command_loads_is_answered_in_words(exits: list[int], capfd: pytest.CaptureFixture[str]):
    with stopping_while_loading(["sft"]):
        os.kill(os.getpid(), signal.SIGTERM)
    assert exits == [PREEMPTED]
    assert "SIGTERM while loading: stopped, and nothing is lost; run the same command again" in capfd.readouterr().err
