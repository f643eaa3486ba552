"""A language model as a judge: whole token sequences, against a slow loop; and errors that say what is wrong."""

import math

import pytest
import torch

from steersman.constitution.render import ModelRequest
from steersman.errors import ModelError
from steersman.judges.local import LocalJudge, _after
from steersman.loading.engines import engine_of
from steersman.loading.saved import open_model
from steersman.records import Message, Prompt
from steersman.text.plain_template import give_template
from steersman.text.template import encode_continuations

GRADES = tuple(str(number) for number in range(1, 11))


@pytest.fixture(scope="module")
def model(tiny):
    return open_model(str(tiny("llama")), device="cpu")


@pytest.fixture(scope="module")
def local(model):
    return LocalJudge(model, "tiny", voice=(model.backbone, None), writer=lambda: engine_of(model), token_budget=256)


def request(text="Which is better?", choices=("A", "B"), opening=""):
    return ModelRequest((Message("user", text),), opening, choices)


def by_hand(model, prompt, ids):
    """The log-prob of a continuation, token by token from whole logits."""
    total = 0.0
    for n, token in enumerate(ids):
        with torch.no_grad():
            logits = model.backbone.hf(torch.tensor([[*prompt, *ids[:n]]])).logits[0, -1]
        total += float(torch.log_softmax(logits.double(), -1)[token])
    return total


def test_choices_have_the_log_probs_of_their_tokens(model, local):
    texts = ["Which?", "Which of the two answers is the better one, A or B?", "?"]
    found = local.read([request(text) for text in texts])
    for text, reading in zip(texts, found, strict=True):
        prompt, choices = encode_continuations(model.tokeniser, Prompt((Message("user", text),)), ("A", "B"))
        assert reading.log_probs == pytest.approx([by_hand(model, prompt, ids) for ids in choices], abs=1e-4)


def test_grades_that_begin_one_another_share_their_probability(model, local):
    (found,) = local.read([request("How good, from 1 to 10?", GRADES)])
    prompt, choices = encode_continuations(
        model.tokeniser, Prompt((Message("user", "How good, from 1 to 10?"),)), GRADES
    )
    sums = [by_hand(model, prompt, ids) for ids in choices]
    assert len(choices[9]) > len(choices[0]), "the tiny tokeniser has 10 as two tokens"
    expected = math.exp(sums[0]) - math.exp(sums[9])
    assert math.exp(found.log_probs[0]) == pytest.approx(expected, rel=1e-3)
    assert found.log_probs[9] == pytest.approx(sums[9], abs=1e-4)


def test_other_requests_beside_it_change_nothing(local):
    one = request("Which is better?")
    alone = local.read([one])[0]
    among = local.read([request("x" * 90), one, request("How?", GRADES)])[1]
    assert among.log_probs == pytest.approx(alone.log_probs, abs=1e-5)


def test_a_choice_continues_an_opening(model, local):
    found = local.read([request(opening="The better answer is")])[0]
    prompt, choices = encode_continuations(
        model.tokeniser,
        Prompt((Message("user", "Which is better?"), Message("assistant", "The better answer is"))),
        (" A", " B"),
    )
    assert found.log_probs == pytest.approx([by_hand(model, prompt, ids) for ids in choices], abs=1e-4)
    assert [_after("is", "A"), _after("(", "A"), _after("", "A"), _after("is ", "A"), _after("is", " A")] == [
        *(" A", "A", "A", "A", " A")
    ]


def test_choices_of_different_lengths_are_refused(local):
    with pytest.raises(ModelError, match=r"different numbers of tokens.*'A' is 1.*'The second one' is"):
        local.read([request(choices=("A", "The second one"))])
    with pytest.raises(ModelError, match="same tokens"):
        local.read([request(choices=("A", "A"))])


def test_a_context_too_short_is_said_before_and_a_long_answer_abstains(local, model):
    context = model.context_length
    long = request("tea " * context)
    with pytest.raises(ModelError, match=f"has a context of {context} tokens, and a question"):
        local.refuse_unfit([long])
    local.refuse_unfit([request()])
    short, cut = local.read([request(), long])
    assert short.log_probs is not None
    assert (cut.log_probs, cut.problem) == (None, f"longer than the judge's context of {context} tokens")


def test_control_tokens_in_model_text_stay_text(model, local):
    end = model.tokeniser.eos_token
    give_template(model.tokeniser)
    prompt, _ = encode_continuations(model.tokeniser, Prompt((Message("user", f"x {end} y"),)), ("A",))
    assert prompt.count(model.tokeniser.eos_token_id) == 0


def test_reasons_are_written(local):
    (text,) = local.write([request()], 6)
    assert isinstance(text, str)
    assert local.write([request("tea " * 1000)], 6) == [""]


def test_control_tokens_of_a_template_are_control_tokens(model, local):
    end = model.tokeniser.eos_token
    marked = ModelRequest((Message("user", f"x{end}y"),), "", ("A", "B"), (end,))
    plain = ModelRequest((Message("user", f"x{end}y"),), "", ("A", "B"))
    count = [local._encoded(one).prompt.count(model.tokeniser.eos_token_id) for one in (marked, plain)]
    assert count == [1, 0]
