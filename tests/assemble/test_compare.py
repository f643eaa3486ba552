"""`compare`: the same prompts to several models, beside one another, in words, as JSON and as a page."""

import json
from pathlib import Path

import pytest
from commandline import call
from plainly import write_rows

from steersman.assemble.compare import run_compare, sides
from steersman.errors import DataError, UsageError
from steersman.pages.word_diff import Stretch
from steersman.rollout.engine import Sampling

SHORT = Sampling(max_new_tokens=8, temperature=1.0)


@pytest.fixture
def prompts(tmp_path) -> Path:
    rows = [{"prompt": f"Say <i>something</i> about {thing}."} for thing in ("dogs", "cats", "dogs", "rain")]
    return write_rows(tmp_path / "prompts.jsonl", rows)


@pytest.mark.slow
def test_all_models_answer_the_same_prompts_each_once(tiny, prompts):
    models = {"one": str(tiny("llama")), "other": str(tiny("gpt2")), "same": str(tiny("llama"))}
    found = run_compare(models, source=str(prompts), asked=["And you?"], sampling=SHORT)
    # The prompt in words first, then the file's, none twice.
    assert [prompt.shown for prompt in found.prompts] == [
        "And you?",
        *(f"Say <i>something</i> about {t}." for t in ("dogs", "cats", "rain")),
    ]
    assert found.models == tuple(models)
    assert [len(row) for row in found.answers] == [len(models)] * 4
    # The same model under another name draws the same words: the seed follows from the prompt.
    assert all(row[0].text == row[2].text for row in found.answers)
    assert any(row[0].text != row[1].text for row in found.answers)


@pytest.mark.slow
def test_a_scorer_scores_every_answer_and_the_mean_is_their_mean(prompts, tmp_path):
    (tmp_path / "mine.py").write_text("def length(prompt, answer):\n    return float(len(answer))\n")
    found = run_compare(
        {"a": "harbour:base", "b": "harbour:base"},
        source=str(prompts),
        limit=2,
        scorers={"length": f"{tmp_path}/mine.py:length"},
        sampling=SHORT,
        seed=3,
    )
    assert len(found.answers) == 2
    for i, row in enumerate(found.answers):
        for j, answer in enumerate(row):
            assert found.scores_of(i, j) == {"length": float(len(answer.text))}
    assert found.mean("length", "b") == pytest.approx(sum(len(row[1].text) for row in found.answers) / 2)
    again = run_compare(
        {"a": "harbour:base", "b": "harbour:base"}, source=str(prompts), limit=2, sampling=SHORT, seed=3
    )
    assert [[said.text for said in row] for row in again.answers] == [
        [said.text for said in row] for row in found.answers
    ]


@pytest.mark.slow
def test_two_answers_have_their_difference_marked_and_three_have_not(tiny, prompts):
    path = str(tiny("llama"))
    two = run_compare({"a": path, "b": "harbour:base"}, source=str(prompts), limit=1, sampling=SHORT)
    assert any(stretch.own for side in sides(two.answers[0]) for stretch in side)
    three = run_compare({"a": path, "b": "harbour:base", "c": path}, source=str(prompts), limit=1, sampling=SHORT)
    assert sides(three.answers[0])[0] == (Stretch(three.answers[0][0].text.strip() or "(nothing)", False),)


def test_the_command_shows_them_and_writes_a_page(tiny, prompts, tmp_path, capsys):
    path, page = tiny("llama"), tmp_path / "pages" / "compare.html"
    words = ["--model", f"before={path}", "--model", f"after={path}", "--prompts", str(prompts), "--html", str(page)]
    assert call(["compare", *words, "--max-new-tokens", "4"]) == 0
    said = capsys.readouterr().out
    assert "Say <i>something</i> about cats." in said
    assert "before" in said
    assert "after" in said
    text = page.read_text()
    assert "<i>something" not in text
    assert "before and after, side by side." in text
    assert "<script" not in text


@pytest.mark.slow
def test_the_command_tells_everything_as_one_object(tiny, prompts, capsys):
    words = ["--model", f"before={tiny('llama')}", "--model", "after=harbour:base", "--prompts", str(prompts)]
    assert call(["compare", *words, "--max-new-tokens", "8", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["prompt"] for row in told["rows"]] == [
        f"Say <i>something</i> about {thing}." for thing in ("dogs", "cats", "rain")
    ]
    assert all(set(row["answers"]) == {"before", "after"} for row in told["rows"])


def test_one_model_is_not_compared(tiny, prompts, capsys):
    assert call(["compare", "--model", str(tiny("llama")), "--prompts", str(prompts)]) == 2
    assert "Give --model twice" in capsys.readouterr().err
    assert call(["compare", "--model", "a=x", "--model", "a=y"]) == 2
    assert "two of --model have the name 'a'" in capsys.readouterr().err


def test_no_prompts_is_said_with_what_to_give(tiny, tmp_path):
    models = {"a": str(tiny("llama")), "b": str(tiny("gpt2"))}
    with pytest.raises(UsageError, match="give --prompts FILE"):
        run_compare(models, source=None, asked=["  "], sampling=SHORT)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(DataError):
        run_compare(models, source=str(empty), sampling=SHORT)


def test_a_prompt_that_fills_a_context_is_refused_by_name(tiny):
    models = {"small": str(tiny("llama")), "other": "harbour:base"}
    with pytest.raises(DataError, match="1 of 1 prompts fill the context of small"):
        run_compare(models, source=None, asked=["word " * 3000], sampling=SHORT)


def test_a_folder_in_the_pages_place_is_refused(tiny, prompts, tmp_path, capsys):
    models = ["--model", f"a={tiny('llama')}", "--model", "b=harbour:base"]
    assert call(["compare", *models, "--prompts", str(prompts), "--limit", "1", "--html", str(tmp_path)]) == 2
    assert "is a folder; name a file" in capsys.readouterr().err
