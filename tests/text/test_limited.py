"""A chat template that loops is a message and no hang."""

import threading
import time

import pytest

from steersman.errors import ModelError
from steersman.models.tiny import tiny_tokeniser
from steersman.records import Message, Prompt
from steersman.text import limited
from steersman.text.limited import within_limit
from steersman.text.template import encode_prompt

LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = b %}{% endfor %}{% endfor %}"
HELLO = Prompt(messages=(Message("user", "Hello"),))


@pytest.fixture
def short(monkeypatch):
    encode_prompt(tiny_tokeniser(), HELLO)  # what a first rendering imports is not part of a limit this short
    monkeypatch.setattr(limited, "LIMIT_SECONDS", 0.2)


@pytest.mark.usefixtures("short")
def test_a_template_that_loops_is_a_message():
    tokeniser = tiny_tokeniser()
    tokeniser.chat_template = LOOPS + str(tokeniser.chat_template)
    with pytest.raises(ModelError, match=r"did not end within 0\.2 s .*it loops"):
        encode_prompt(tokeniser, HELLO)
    assert within_limit(lambda: 1) == 1  # the next one is not harmed


@pytest.mark.usefixtures("short")
def test_what_waits_and_does_not_compute_is_left_alone():
    assert within_limit(lambda: time.sleep(0.7)) is None


@pytest.mark.usefixtures("short")
def test_each_thread_has_its_own_limit():
    def loop() -> None:
        while True:
            pass

    failures: list[BaseException] = []

    def run() -> None:
        try:
            within_limit(loop)
        except ModelError as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(failures) == 2
