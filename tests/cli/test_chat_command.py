"""`steersman chat`: one answer, a conversation from a pipe, and words that cannot command the terminal."""

import json
import os
import subprocess
import sys

import pytest

from steersman.errors import DataError, UsageError
from steersman.inference.conversation import Conversation
from steersman.loading.saved import open_model
from steersman.rollout.engine import Sampling


def talk(*arguments: str, words: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "steersman.cli.main", "chat", "tiny:llama", "--max-new-tokens", "8", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, input=words, capture_output=True, text=True, env=environment, timeout=120)


@pytest.mark.slow
def test_a_conversation_comes_from_a_pipe_and_can_begin_anew():
    done = talk("--json", "--seed", "3", words="Hello\nHello\n\n/new\nHello\n/quit\nnever read\n")
    assert done.returncode == 0, done.stderr
    first, second, again = (json.loads(line) for line in done.stdout.splitlines())
    assert first["prompt"] == "Hello"
    assert first == again
    assert second != first


def test_the_words_come_in_pieces_and_make_up_the_answer():
    model = open_model("tiny:llama", device="cpu")
    pieces: list[str] = []
    conversation = Conversation(model, system="Be brief.", sampling=Sampling(12, 1.0), seed=1)
    answer = conversation.say("How are you?", pieces.append)
    assert "".join(pieces).strip().startswith(answer[:3])
    assert [message.role for message in conversation.messages] == ["system", "user", "assistant"]
    conversation.forget()
    assert [message.role for message in conversation.messages] == ["system"]
    with pytest.raises(DataError, match="empty"):
        conversation.say("  ", pieces.append)


def test_a_models_words_are_shown_inert(capsys, monkeypatch):
    from steersman.cli.chat import chat
    from steersman.inference import conversation

    def say(self: Conversation, message: str, on_text) -> str:
        on_text("a\x1b[2Jb\u202ec")
        return ""

    monkeypatch.setattr(conversation.Conversation, "say", say)
    chat(
        "tiny:llama",
        prompt="Hello",
        max_new_tokens=2,
        temperature=1.0,
        top_p=1.0,
        seed=0,
        device="cpu",
        json=False,
        system=None,
    )
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_a_model_that_is_not_there_is_said():
    with pytest.raises(UsageError, match="no tiny model 'lama'"):
        open_model("tiny:lama", device="cpu")
