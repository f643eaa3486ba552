"""The scripted engine answers as told and keeps an engine's rules."""

import re
from pathlib import Path

import pytest

from steersman.errors import DataError
from steersman.models.tiny import write_tiny_model
from steersman.rollout.engine import Engine, Sampling
from steersman.rollout.scripted import ScriptedAnswer, ScriptedEngine
from steersman.rollout.stops import answer_text

LONG = Sampling(100, 1.0)


@pytest.fixture
def ask(tokeniser):
    def ask(script, sampling=LONG, samples=1, **more):
        engine = ScriptedEngine(script, tokeniser=tokeniser, end_id=0)
        assert isinstance(engine, Engine)
        prompt = tokeniser("I like cricket.", add_special_tokens=False)["input_ids"]
        return engine.generate([prompt], sampling, samples=samples, seeds=1, **more)

    return ask


def test_answers_come_from_the_table_in_turn(ask, tokeniser):
    rollouts = ask({"I like cricket.": ["Fine.", "Good."]}, samples=3)
    assert [answer_text(tokeniser, r) for r in rollouts] == ["Fine.", "Good.", "Fine."]
    assert [r.sample for r in rollouts] == [0, 1, 2]
    assert all(r.finish_reason == "end" and r.ids[-1] == 0 and not r.log_probs.any() for r in rollouts)


def test_answers_come_from_a_function_with_their_log_probs(ask, tokeniser):
    ids = tokeniser("A dog", add_special_tokens=False)["input_ids"]
    given = tuple(-float(i) for i in range(len(ids) + 1))
    told = []
    rollouts = ask(lambda prompt, n: ScriptedAnswer("A dog", given), on_token=lambda *token: told.append(token))
    assert rollouts[0].log_probs.tolist() == pytest.approx(given)
    assert [token for _, _, token, _ in told] == list(rollouts[0].ids)


def test_the_rules_of_an_engine_hold(ask, tokeniser):
    text = "It is good for the heart and for the mind."
    whole = ask({"I like cricket.": text})[0].ids
    short = ask({"I like cricket.": text}, Sampling(3, 1.0))[0]
    assert (short.finish_reason, short.ids) == ("length", whole[:3])
    stopped = ask({"I like cricket.": text}, Sampling(100, 1.0, stop=("heart",)))[0]
    assert stopped.finish_reason == "stop"
    assert answer_text(tokeniser, stopped, ("heart",)) == "It is good for the "
    by_id = ask({"I like cricket.": text}, Sampling(100, 1.0, stop_ids=(whole[2],)))[0]
    assert (by_id.finish_reason, by_id.ids) == ("stop", whole[:3])


def test_gaps_in_a_script_are_named(ask):
    with pytest.raises(DataError, match="no answer to the prompt 'I like cricket"):
        ask({"What?": "That."})
    with pytest.raises(DataError, match="2 log-probs"):
        ask({"I like cricket.": ScriptedAnswer("A good friend of mine.", (0.0, 0.0))})


def test_the_version_is_taken_over(tokeniser):
    engine = ScriptedEngine({}, tokeniser=tokeniser, end_id=0)
    engine.load_weights({}, 7)
    assert engine.version == 7


def test_the_scorers_page_shows_how_to_test_a_reward_without_a_model(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "scorers.md").read_text()
    reward, script = (
        block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "short_and_kind" in block
    )
    exec(reward + script.replace("runs/sft/model", str(write_tiny_model(tmp_path, "llama"))), {})
