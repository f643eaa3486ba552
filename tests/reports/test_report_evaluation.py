"""`report` on an evaluation's folder: what it says is what results.json and answers.jsonl hold."""

import json
import re
from pathlib import Path

import pytest

from steersman.assemble.report import write_report
from steersman.errors import DataError
from steersman.evaluate.answer_measures import measure_answers
from steersman.evaluate.answers import Answer, MeasuredAnswer, ModelAnswers
from steersman.evaluate.best_of import best_of
from steersman.evaluate.contests import results_of_scores, win_rates
from steersman.evaluate.evaluation import Evaluation
from steersman.evaluate.figures import Intervals
from steersman.records import Answers, Completion, Message, Prompt, to_dict

PROMPTS, EACH = 30, 2
DICE = Intervals(0.95, 400, 0)


def answered(text: str, **scores: float) -> MeasuredAnswer:
    return MeasuredAnswer(Answer(text, 5, "end", 1), -3.0, 2.0, 0.5, -3.5, 5, dict(scores))


def models() -> list[ModelAnswers]:
    """Before: kind and honest. After: the proxy loves it, the held-out scorer does not."""
    before = [
        [answered(f"It is good {i}.", proxy=0.1 * (i % 3), held_out=0.505 + 0.01 * i) for _ in range(EACH)]
        for i in range(PROMPTS)
    ]
    after = [
        [
            answered(f"It is <b>the ultimate</b> key {i}.", proxy=1.0 + 0.1 * (i % 3), held_out=0.205 + 0.01 * i)
            for _ in range(EACH)
        ]
        for i in range(PROMPTS)
    ]
    return [ModelAnswers("before", "b", before, [], [], [], []), ModelAnswers("after", "a", after, [], [], [], [])]


@pytest.fixture
def evaluation(tmp_path) -> Path:
    found = models()
    names, scorers = ["before", "after"], ["proxy", "held_out"]
    wins = [
        win for scorer in scorers for win in win_rates(results_of_scores(found, scorer), names, "before", scorer, DICE)
    ]
    told = Evaluation(
        out="e",
        models=("before", "after"),
        baseline="before",
        reference="before",
        prompts=PROMPTS,
        answers=EACH,
        confidence=0.95,
        figures=measure_answers(found, scorers, baseline="before", reference="before", intervals=DICE),
        wins=wins,
        ratings=[],
        best_of_n=best_of(found, scorers, DICE),
        notes=["one model was tired"],
    )
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps({**told.as_dict(), "stamp": {"kind": "evaluate"}}))
    rows = []
    for i in range(PROMPTS):
        completions = [
            Completion(
                one.drawn.text,
                model.name,
                {"finish": one.drawn.finish_reason},
                one.drawn.seed,
                {**one.scores, "KL": 0.5},
            )
            for model in found
            for one in model.grid[i]
        ]
        rows.append(to_dict(Answers(Prompt(messages=(Message("user", f"Why {i}?"),)), tuple(completions))))
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_verdict_says_who_is_better_and_warns_where_the_proxy_is_alone(evaluation):
    made = write_report([str(evaluation)], out=None)
    assert made.headline == "after is significantly better than before by proxy: 0.10 → 1.10."
    said = " ".join(made.sentences)
    assert "after, significantly better than before: proxy 0.10 → 1.10." in said
    assert "after, significantly worse than before: held_out 0.65 → 0.35." in said
    assert "Warning: after improved by proxy, but not significantly by held_out." in said
    assert "By proxy, after wins against before 100 % (89–100) of the time" in said
    assert "One model was tired." in said


def test_every_figure_of_the_results_stands_in_the_table(evaluation):
    page = Path(write_report([str(evaluation)], out=None).out).read_text()
    results = json.loads((evaluation / "results.json").read_text())
    rows = re.findall(r'<th scope="row">([^<]+)<.*?</th>(.*?)</tr>', page, re.DOTALL)
    shown = {name: re.findall(r'class="value">([^<]+?) <small>', cells) for name, cells in rows}
    for figure in results["figures"]:
        place = [f["model"] for f in results["figures"] if f["name"] == figure["name"]].index(figure["model"])
        text = shown[figure["name"]][place]
        value = float(text.replace("−", "-").removesuffix(" %")) / (100 if text.endswith("%") else 1)
        assert value == pytest.approx(figure["value"]["estimate"], abs=0.051 if figure["unit"] == "tokens" else 0.0051)
    assert shown["best of 2 of after"]


def test_the_most_changed_answers_are_side_by_side_and_stay_words(evaluation):
    page = Path(write_report([str(evaluation)], out=None).out).read_text()
    assert "<b>the" not in page
    assert "&lt;<ins>b</ins>" in page or "<ins>&lt;b&gt;the ultimate&lt;/b&gt; key</ins>" in page
    assert "proxy went up by 1.00." in page


def test_damaged_answers_are_left_out_and_counted(evaluation):
    with (evaluation / "answers.jsonl").open("a") as file:
        file.write('{"kind": "answers"\n[]\n')
    said = " ".join(write_report([str(evaluation)], out=None).sentences)
    assert "2 rows of answers.jsonl cannot be read" in said


def test_without_answers_there_is_a_table_and_a_word(evaluation):
    (evaluation / "answers.jsonl").unlink()
    made = write_report([str(evaluation)], out=None)
    assert any("no answers, so none are shown" in words for words in made.sentences)
    assert made.sections[0] == "Before and after"


def test_damaged_results_are_an_error_with_a_way_out(evaluation):
    (evaluation / "results.json").write_text('{"models": ["before"], "baseline": "other", "figures": []}')
    with pytest.raises(DataError, match="run the same steersman evaluate again"):
        write_report([str(evaluation)], out=None)


def test_over_optimisation_is_drawn_if_it_was_measured(evaluation):
    points = [
        {"name": f"s{i}", "kl": i * i, "distance": i, "gain": {"estimate": g, "low": g, "high": g}}
        for i, g in enumerate((0.0, 1.0, 0.5))
    ]
    curve = {
        "walk": "ppo",
        "measure": "held_out",
        "points": points,
        "fallen": {"estimate": 0.5, "low": 0.3, "high": 0.7},
    }
    (evaluation / "overoptimisation.json").write_text(json.dumps({"start": "sft", "proxy": "proxy", "curves": [curve]}))
    made = write_report([str(evaluation)], out=None)
    page = Path(made.out).read_text()
    assert "Over-optimisation" in made.sections
    assert "gain against distance: held_out, ppo from 0 to 0.5" in page
    lost = (
        "By held_out, ppo gained most, 1.00 standard deviations, at a KL of 1.00, and lost 0.50 (0.30 to 0.70) of "
        "it by "
        "the end."
    )
    assert lost in made.sentences
    assert lost in page
    (evaluation / "overoptimisation.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg"><script>x()</script></svg>'
    )
    text = Path(write_report([str(evaluation)], out=None).out).read_text()
    assert 'src="data:image/svg+xml;base64,' in text
    assert "x()" not in text
    (evaluation / "overoptimisation.json").write_text("{}")
    assert "cannot be read (KeyError" in Path(write_report([str(evaluation)], out=None).out).read_text()
