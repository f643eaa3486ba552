"""The Python API beside training, with Harbour's embedded model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from plainly import write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer

import steersman
from steersman.cli.main import app
from steersman.errors import DataError, UsageError
from steersman.harbour.base_model import base_path
from steersman.records import Answers, Completion, Message, Prompt, from_dict

ASKED = [{"messages": [{"role": "user", "content": text}]} for text in ("Tell me about cricket.", "Is the heart good?")]
ASKED = [{"prompt": row["messages"]} for row in ASKED]


@pytest.fixture(scope="module")
def model():
    return steersman.open_model("harbour:base", device="cpu")


def test_samples_are_those_of_the_command_line(model, tmp_path):
    from typer.testing import CliRunner

    found = steersman.sample(model, ASKED, answers=2, max_new_tokens=8, temperature=0.7, seed=3)
    assert [len(one.completions) for one in found] == [2, 2]
    write_rows(tmp_path / "prompts.jsonl", ASKED)
    words = ["sample", str(tmp_path / "prompts.jsonl"), "--model", "harbour:base", "--answers", "2", "--temperature"]
    words += ["0.7", "--max-new-tokens", "8", "--seed", "3", "--device", "cpu", "--out", str(tmp_path / "a.jsonl")]
    assert CliRunner().invoke(app, words).exit_code == 0
    written: list[Any] = [from_dict(json.loads(line)) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [[c.text for c in one.completions] for one in found] == [
        [c.text for c in one.completions] for one in written
    ]
    with pytest.raises(UsageError, match="unknown setting 'temprature': did you mean 'temperature'"):
        steersman.sample(model, ASKED, temprature=1)


def test_answers_are_scored_by_a_function_or_a_place_in_their_order(model):
    answers = steersman.sample(model, ASKED, answers=3, max_new_tokens=6)
    texts = [one.text for found in answers for one in found.completions]
    assert [one.value for one in steersman.score(lambda answer: float(len(answer)), answers)] == [
        *map(float, map(len, texts))
    ]
    taste = steersman.score("harbour:taste", answers, device="cpu")
    assert len(taste) == len(texts)
    pairs = [{"prompt": "Hi", "chosen": "Hello", "rejected": "Go away now"}]
    assert [one.value for one in steersman.score(lambda answer: -len(answer), pairs)] == [-5.0, -11.0]
    with pytest.raises(UsageError, match="a function has none"):
        steersman.score(lambda answer: 1.0, answers, normalised=False)
    with pytest.raises(DataError, match="empty answer"):
        steersman.score(lambda answer: 1.0, [{"prompt": "Hi", "completion": ""}])


def test_logits_and_hidden_states_are_those_of_plain_transformers(model):
    prompt = Prompt((Message("user", "Tell me about cricket."),))
    found = steersman.forward(model, prompt, "It is a fine game.")
    plain = AutoModelForCausalLM.from_pretrained(base_path(), output_hidden_states=True).eval()
    with torch.no_grad():
        expected = plain(input_ids=found.ids[None])
    torch.testing.assert_close(found.logits, expected.logits[0].float(), rtol=1e-4, atol=1e-4)
    assert len(found.hidden_states) == plain.config.num_hidden_layers + 1
    for ours, theirs in zip(found.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(ours, theirs[0], rtol=1e-4, atol=1e-4)
    tokeniser = AutoTokenizer.from_pretrained(base_path())
    answer = tokeniser.decode(found.ids[found.answer_mask], skip_special_tokens=True)
    assert answer.strip() == "It is a fine game."
    # by hand: the probability of each token by the logits one position before it
    by_hand = torch.stack([expected.logits[0, t - 1].log_softmax(-1)[found.ids[t]] for t in range(1, len(found.ids))])
    torch.testing.assert_close(found.log_probs[1:], by_hand, rtol=1e-4, atol=1e-4)
    assert found.log_probs[0].isnan()
    assert found.answer_log_prob == pytest.approx(float(by_hand[found.answer_mask[1:]].sum()), abs=1e-3)
    assert (found.entropies >= 0).all()
    assert "".join(found.pieces) == tokeniser.decode(found.ids)
    alone = steersman.forward(model, prompt)
    assert not alone.answer_mask.any()
    with pytest.raises(DataError, match="shorten it"):
        steersman.forward(model, "word " * 5000)


def test_a_conversation_goes_on(model):
    conversation = steersman.chat(model, temperature=0.0, max_new_tokens=8)
    pieces: list[str] = []
    first = conversation.say("Hello", pieces.append)
    assert "".join(pieces).strip() == first
    conversation.say("And then?")
    assert [message.role for message in conversation.messages] == ["user", "assistant"] * 2


@pytest.mark.slow
def test_models_are_evaluated_and_reported(tmp_path):
    found = steersman.evaluate(
        {"a": "harbour:base", "b": "harbour:base"},
        prompts=ASKED,
        out=tmp_path / "evaluation",
        scorers={"taste": "harbour:taste"},
        quiet=True,
        drawing={"answers": 1, "max_new_tokens": 6},
        run={"device": "cpu", "threads": 1},
    )
    assert {"a", "b"} <= set(json.dumps(found.as_dict()).replace('"', " ").split())
    page = steersman.report(tmp_path / "evaluation", microscope=0)
    assert Path(page.out).read_text().startswith("<!")
    # the package of the same name stays a package
    from steersman.evaluate import answers as module

    assert module.__name__ == "steersman.evaluate.answers"


@pytest.mark.slow
def test_a_judge_prefers_one_of_two_answers(tmp_path):
    pair = Answers(Prompt(text="What is a dog?"), (Completion("A friend."), Completion("Go away.")))
    found = steersman.judge(
        "harbour", [pair], model="harbour:base", out=tmp_path / "judge", quiet=True, run={"device": "cpu"}
    )
    assert (found.records, found.pairs) == (1, 1)
    assert found.labels == "" or Path(found.labels).exists()


@pytest.mark.slow
def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[1] / "docs" / "python.md").read_text(encoding="utf-8")
    code = "\n".join(line[4:] for line in page.splitlines() if line.startswith("    "))
    haste = "update={'minibatches': 1}, sampling={'max_new_tokens': 4}, **{'prompts.held_out': 'none'}, iterations=1"
    code = code.replace("iterations=1", haste).replace('train={"steps": 2}', 'train={"steps": 2, "kernels": "default"}')
    code = code.replace('"Say five."], ', '"Say five."], drawing={"max_new_tokens": 4, "answers": 1}, ')
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "python.md", "exec"), {})
    assert (tmp_path / "runs" / "evaluation" / "report.html").exists()
