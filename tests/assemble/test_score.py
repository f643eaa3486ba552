"""`score`: every answer of a file gets its score, and judged answers are measured against people."""

import json
import math
import re
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from steersman.assemble.score import run_score
from steersman.cli.score import lines_of_score, score
from steersman.data.load import load_records
from steersman.errors import DataError, SteersmanError, UsageError
from steersman.loading.scorers import load_scorer
from steersman.models.loading import load_causal
from steersman.models.reward_model import Scale, new_reward_model, save_reward_model
from steersman.models.tiny import tiny_tokeniser, write_tiny_model
from steersman.records import (
    Answers,
    Comparison,
    Completion,
    Demonstration,
    Document,
    Label,
    Message,
    Prompt,
    Ranking,
    to_dict,
)
from steersman.settings.base import check
from steersman.settings.score import ScorerSettings, ScoreSettings

PROMPT = Prompt(messages=(Message("user", "I like cricket."),))


@pytest.fixture
def scorers(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def size(answer):\n    return len(answer)\n\ndef falls(answer):\n    return float('nan') if 'ccc' in "
        "answer else 0.0\n"
    )
    return tmp_path / "mine.py"


def written(tmp_path, *records, name="data.jsonl"):
    (tmp_path / name).write_text("".join(json.dumps(to_dict(record)) + "\n" for record in records))
    return str(tmp_path / name)


def scored(tmp_path, source, scorer, /, **given) -> tuple[Any, list[Any]]:
    values: dict[str, Any] = {
        "data": {"source": source},
        "scorer": {"path": str(scorer)},
        "out": str(tmp_path / "scored.jsonl"),
    }
    values["force"] = True  # tests score into one file, again and again
    result = run_score(check(ScoreSettings, {**values, **given}), quiet=True)
    return result, list(load_records(result.out, format="native", strict=True))


def test_every_kind_of_record_keeps_all_it_had_and_gains_a_score(tmp_path, scorers):
    a, bb, ccc = (Completion(text, scores={"old": 1.0}, model="m", seed=3) for text in ("a", "bb", "ccc"))
    records = [
        Answers(PROMPT, (a, bb, ccc), "x1"),
        Demonstration(PROMPT, bb, annotator="ann"),
        Comparison(PROMPT, a, bb, 0.0, margin=2.0, annotator="ann", shown="second"),
        Ranking(PROMPT, (a, bb, ccc), (3, 2, 1), annotator="ben"),
        Label(PROMPT, ccc, desirable=True),
    ]
    result, rows = scored(tmp_path, written(tmp_path, *records), f"{scorers}:size")
    assert [type(row) for row in rows] == [type(record) for record in records]
    assert [c.scores for c in rows[0].completions] == [{"old": 1.0, "size": n} for n in (1.0, 2.0, 3.0)]
    assert rows[2].first.scores["size"] == 1.0
    assert rows[2].second.scores["size"] == 2.0
    without = [json.loads(re.sub(r', "size": [123]\.0', "", json.dumps(to_dict(row)))) for row in rows]
    assert without == [to_dict(record) for record in records]
    # Sizes 1 2 3 | 2 | 1 2 | 1 2 3 | 3: mean 2, sum of squares about it 1+0+1+0+1+0+1+0+1+1 = 6, over 9.
    assert (result.name, result.records, result.answers, result.mean) == ("size", 5, 10, 2.0)
    assert result.std == pytest.approx(math.sqrt(6 / 9))
    assert (result.quantiles["0"], result.quantiles["0.5"], result.quantiles["1"]) == (1.0, 2.0, 3.0)
    # The comparison and the ranking's three pairs all prefer the longer answer.
    assert result.quality is not None
    assert (result.quality.judgements, result.quality.accuracy.estimate) == (4, 1.0)
    assert "10 answers of 5 records" in lines_of_score(result)[0]


def test_answers_without_judgements_have_no_accuracy_and_ties_alone_neither(tmp_path, scorers):
    a, bb = Completion("a"), Completion("bb")
    for record in (Answers(PROMPT, (a, bb)), Comparison(PROMPT, a, bb, 0.5)):
        assert scored(tmp_path, written(tmp_path, record), f"{scorers}:size")[0].quality is None


def test_a_score_that_is_no_number_ends_it_and_no_file_appears(tmp_path, scorers):
    source = written(tmp_path, Answers(PROMPT, (Completion("a"), Completion("ccc"))))
    with pytest.raises(DataError, match="'ccc'"):
        scored(tmp_path, source, f"{scorers}:falls")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["data.jsonl", "mine.py"]


def test_an_earlier_result_stays_where_the_new_one_fails(tmp_path, scorers):
    source = written(tmp_path, Answers(PROMPT, (Completion("a"), Completion("ccc"))))
    scored(tmp_path, source, f"{scorers}:size")
    before = (tmp_path / "scored.jsonl").read_bytes()
    with pytest.raises(SteersmanError):
        scored(tmp_path, source, f"{scorers}:falls")
    assert (tmp_path / "scored.jsonl").read_bytes() == before


def test_what_cannot_be_scored_is_counted_and_nothing_at_all_is_an_error(tmp_path, scorers):
    source = written(tmp_path, Document("a text"), Demonstration(PROMPT, Completion("a")))
    with (tmp_path / "data.jsonl").open("a") as file:
        file.write('{"kind": "demonstration"}\n')
    result, _ = scored(tmp_path, source, f"{scorers}:size")
    assert (result.left_out, result.malformed) == (
        {"a document where a answers or demonstration or comparison or ranking or label is expected": 1},
        1,
    )
    assert "1 bad rows" in lines_of_score(result)[-1]
    with pytest.raises(DataError, match="no answers to score"):
        scored(tmp_path, written(tmp_path, Document("a text")), f"{scorers}:size")


def test_the_file_that_is_read_is_never_written_over(tmp_path, scorers):
    source = written(tmp_path, Demonstration(PROMPT, Completion("a")))
    with pytest.raises(UsageError, match="is the file that is read"):
        scored(tmp_path, source, f"{scorers}:size", out=source)


def test_remote_code_needs_a_revision(scorers):
    with pytest.raises(UsageError, match=r"needs scorer\.revision"):
        load_scorer(check(ScorerSettings, {"path": str(scorers), "trust_remote_code": True}), torch.device("cpu"))


@pytest.fixture(scope="module")
def reward_models(tmp_path_factory):
    """Two saved reward models; the first stands in a run's folder."""
    base = write_tiny_model(tmp_path_factory.mktemp("base"), "llama")
    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = new_reward_model(load_causal(base, dtype=torch.float32, device="cpu"))
        model.scale = Scale(0.0, 2.0)
        folders.append(tmp_path_factory.mktemp("run") / "model")
        save_reward_model(model, tiny_tokeniser(), folders[-1])
    for name in ("recipe.toml", "stamp.json"):
        (folders[0].parent / name).write_text("{}" if name.endswith("json") else "")
    return folders


def test_a_run_stands_for_its_model_and_several_are_an_ensemble_with_parts(tmp_path, reward_models):
    source = written(
        tmp_path, *(Answers(PROMPT, (Completion("a fine game " * i), Completion(f"no {i}"))) for i in (1, 2, 3))
    )
    run, second = str(reward_models[0].parent), str(reward_models[1])
    alone = [scored(tmp_path, source, place)[1] for place in (run, second)]
    result, rows = scored(tmp_path, source, "", scorer={"path": [run, second], "belief": "min"}, parts=True, name="rm")
    for i, row in enumerate(rows):
        for j, completion in enumerate(row.completions):
            each = [scores[i].completions[j].scores["reward"] for scores in alone]
            assert completion.scores["rm"] == pytest.approx(min(each), abs=1e-5)
            assert completion.scores["rm/mean"] == pytest.approx(sum(each) / 2, abs=1e-5)
            assert completion.scores["rm/member 2"] == pytest.approx(each[1], abs=1e-5)
    assert result.name == "rm"


def test_how_much_goes_through_the_model_at_once_changes_nothing(tmp_path, reward_models):
    source = written(
        tmp_path, *(Demonstration(PROMPT, Completion("a fine game " * (i % 5 + 1) + str(i))) for i in range(20))
    )
    found = []
    for budget in (1, 64, 4096):
        scorer = {"path": str(reward_models[1]), "tokens_per_micro_batch": budget, "max_length": 40}
        result, rows = scored(tmp_path, source, "", scorer=scorer)
        found.append([row.completion.scores["reward"] for row in rows])
        assert result.noted == {"cut to the 40 tokens that the model reads": 8}
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert found[0] == pytest.approx(found[2], abs=1e-5)


def command():
    app = typer.Typer()
    app.command()(score)
    return app


def test_the_command_reports_how_well_a_scorer_agrees_with_people(tmp_path, scorers):
    rows = [
        Comparison(PROMPT, Completion("a" * (i + 2)), Completion("b"), float(i % 4 != 0), annotator="[ann]")
        for i in range(40)
    ]
    out = str(tmp_path / "scored.jsonl")
    words = [written(tmp_path, *rows), "--scorer", f"{scorers}:size", "--out", out, "--name", "length"]
    ended = CliRunner().invoke(command(), words)
    assert ended.exit_code == 0, ended.output
    assert "80 answers of 40 records" in ended.stdout
    assert "accuracy 75.0%" in ended.stdout
    ended = CliRunner().invoke(command(), [*words, "--json", "--force"])
    report = json.loads(ended.stdout)
    assert report["quality"]["accuracy"]["estimate"] == 0.75
    assert report["name"] == "length"


def test_a_wrong_setting_is_named(tmp_path, scorers):
    ended = CliRunner().invoke(command(), ["data.jsonl", "--scorer", "x", "--out", "y", "scorer.belive=min"])
    assert isinstance(ended.exception, UsageError)
    assert "did you mean 'scorer.belief'" in str(ended.exception)
