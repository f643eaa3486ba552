"""`steersman serve` as a process of its own, and our commands that ask a server."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import openai
import pytest
from commandline import call
from serving import running

from steersman.constitution.document import Constitution
from steersman.judges.endpoint import EndpointJudge
from steersman.judges.judge import Judge
from steersman.records import Principle, Prompt
from steersman.serve.models import ServedModels
from steersman.serve.options import ServeOptions
from steersman.settings.base import check
from steersman.settings.judge import EndpointSettings, JudgeSettings

HELLO = [{"role": "user", "content": "I like cricket"}]


def run(*words, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "steersman", "serve", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


@pytest.mark.slow
def test_a_process_serves_the_embedded_model_and_lets_a_stream_end_when_it_is_stopped():
    with run("harbour:base", "--port", "0", "--json", "--rows", "2", "--device", "cpu") as process:
        ready = json.loads(process.stdout.readline())
        assert ready["models"] == ["harbour:base"]
        client = openai.OpenAI(base_url=f"{ready['address']}/v1", api_key="none", max_retries=0, timeout=300)
        ask = {"model": "harbour:base", "messages": HELLO, "seed": 1}
        whole = client.chat.completions.create(**ask, max_tokens=40).choices[0].message.content
        assert re.search("[a-z]{3}", whole)
        more = {"max_tokens": 300, "extra_body": {"ignore_eos": True}}
        stream = client.chat.completions.create(**ask, **more, stream=True)
        first = next(stream)
        process.send_signal(signal.SIGTERM)
        rest = list(stream)
        assert first.choices[0].delta.role == "assistant"
        assert rest[-1].choices[0].finish_reason == "length"
        assert process.wait(120) == 0
        assert process.stderr.read() == ""


def test_a_port_in_use_is_an_error_before_a_model_is_loaded(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert call(["serve", "harbour:base", "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert f"port {port} of 127.0.0.1 is in use by another program; choose another with --port" in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["a=x", "a=y"], "two models have the name 'a'"),
        (["harbour:base", "--allow-weight-updates"], "give --weights-key FILE"),
        (["harbour:base", "--weights-key", "k"], "give that too"),
        (["harbour:base", "--host", "0.0.0.0"], "there are no API keys"),
        (["harbour:base", "--api-keys", "missing"], "cannot be read"),
        (["harbour:base", "--weights-folder", "missing"], "is no folder"),
    ],
)
def test_what_is_refused_at_the_start(words, why, capsys):
    assert call(["serve", *words]) == 2
    assert why in capsys.readouterr().err


def test_ppo_is_scored_by_a_served_reward_model(served, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ["iterations=1", "prompts_per_iteration=4", "sampling.max_new_tokens=4", "prompts.limit=8"]
    settings += [
        "evaluation.prompts=2",
        "evaluation.every=1",
        "update.minibatches=1",
        "run.device=cpu",
        "run.threads=1",
    ]
    place = f"{served.address}/classify#judge"
    where = ["--scorer", place, 'scorer.http.allow=["127.0.0.1"]', "--out", "ppo"]
    before = served.state.metrics.scores.labels("judge")._value.get()
    assert call(["ppo", "--model", "tiny:llama", "--prompts", "harbour:prompts", *where, *settings]) == 0
    rows = [json.loads(line) for line in (tmp_path / "ppo" / "journal.jsonl").read_text().splitlines()]
    assert rows
    assert served.state.metrics.scores.labels("judge")._value.get() >= before + 4


def test_a_served_model_is_a_judge(new_language):
    """Its verdicts are read from the log-probs of the choices."""
    constitution = Constitution("test", (Principle("kind", "Kind.", "c", "r", "Which answer is kinder?"),))
    settings, said = check(EndpointSettings, {"allow": ["127.0.0.1"]}), []
    models = ServedModels({"tiny": new_language(context=1024)}, {})
    with running(models, ServeOptions(port=0)) as server:
        url = f"{server.address}/v1#tiny"
        engine = EndpointJudge(url, settings, token=None, remembered={}, notice=said.append)
        found = Judge(engine, constitution, check(JudgeSettings, {"model": url})).compare(
            [(Prompt(text="Q"), "a", "b")]
        )
    assert len(found) == 1
    assert said == []


def test_an_unknown_library_is_named(monkeypatch):
    from steersman.cli import serve
    from steersman.errors import MissingLibrary

    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in [name for name in sys.modules if name.startswith("steersman.serve")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingLibrary, match="pip install 'steersman\\[serve\\]'"):
        serve._need_libraries()
