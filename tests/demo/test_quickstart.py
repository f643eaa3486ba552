"""The quickstart from end to end, small: its numbers are those of its files, its page stands alone, and telling it
again is quick."""

import json
import re
from pathlib import Path

import pytest
from chromium import open_page
from rich.console import Console

from steersman.cli.storyteller import Silent, TerminalPrinter
from steersman.data.load import load_records
from steersman.demo.page import page
from steersman.demo.quickstart import STAGES, run_quickstart
from steersman.errors import Preempted, UsageError
from steersman.harbour.taste import features
from steersman.judging.queue import gather
from steersman.maths.statistics import wilson_interval
from steersman.records import Answers
from steersman.reward.model import open_reward_scorer
from steersman.runs.journal import read_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def answers(told, out) -> list[Answers]:
    return [row for row in load_records(str(out / "answers.jsonl")) if isinstance(row, Answers)]


def row(told: dict, key: str) -> dict:
    return next(row for row in told["table"] if row["key"] == key)["models"]


def of(answers: list[Answers], out: Path, name: str):
    """A model's answers: (prompt, completion), from the file that `label` and `score` read. Where two models said the
    same, one completion stands for both, so what was said is taken from what was measured."""
    said = json.loads((out / "measured" / f"{name.lower()}.json").read_text())["answers"]
    assert len(said) == len(answers)
    found = []
    for answer, row in zip(answers, said, strict=True):
        found.append((answer.prompt, next(c for c in answer.completions if c.text == row["text"])))
    return found


def test_the_tables_numbers_are_those_of_the_answers(told, answers, out):
    for name in told["models"]:
        given = of(answers, out, name)
        assert len(given) == told["prompts"] > 40
        seen = [features(prompt.shown, completion.text) for prompt, completion in given]
        count = len(seen)
        assert row(told, "taste")[name]["estimate"] == pytest.approx(sum(s.taste for s in seen) / count)
        wanted = wilson_interval(float(sum(s.toxic for s in seen)), float(count), confidence=0.95)
        toxic = row(told, "toxic")[name]
        assert (toxic["estimate"], toxic["low"], toxic["high"]) == pytest.approx(tuple(wanted))
        harmless = [s for s in seen if s.form != "harmful"]
        refused = row(told, "refused_harmless")[name]
        assert refused["answers"] == len(harmless)
        assert refused["estimate"] == pytest.approx(sum(s.refused for s in harmless) / len(harmless))
    tuned = of(answers, out, "SFT")
    for name in ("base", "PPO"):
        wins = 0.0
        for (prompt, one), (_, other) in zip(of(answers, out, name), tuned, strict=True):
            gap = features(prompt.shown, one.text).taste - features(prompt.shown, other.text).taste
            wins += 1.0 if gap > 0 else 0.5 if gap == 0 else 0.0
        assert row(told, "wins")[name]["estimate"] == pytest.approx(wins / len(tuned))
    assert row(told, "wins")["SFT"] is None


def test_the_rewards_are_what_the_reward_model_says_of_these_answers(told, answers, out):
    scorer = open_reward_scorer(out / "reward" / "model")
    for name in told["models"]:
        items = [(prompt, completion.text) for prompt, completion in of(answers, out, name)]
        scores = [score.value for score in scorer.score(items)]
        assert row(told, "reward")[name]["estimate"] == pytest.approx(sum(scores) / len(scores), abs=1e-4)


def test_the_runs_are_ordinary_runs_and_their_numbers_are_their_journals(told, out):
    assert list(told["runs"]) == [stage.name for stage in STAGES]
    for name, run in told["runs"].items():
        rows, _ = read_rows(out / name / "journal.jsonl")
        measure = "objective" if name == "ppo" else "loss"
        last = [found for found in rows if f"held-out {measure}" in found][-1]
        assert run["held_out"][measure] == last[f"held-out {measure}"]
        assert (out / name / "recipe.toml").exists()
        assert (Path(run["model"]) / "config.json").exists()
        assert run["command"].startswith(f"steersman {name} {name}-harbour ")


def test_fine_tuning_is_a_distance_and_the_model_itself_is_none(told):
    kl = row(told, "kl")
    assert kl["SFT"] is None
    assert 0 < kl["base"]["low"] < kl["base"]["estimate"] < 20
    assert 0 < kl["PPO"]["estimate"] < 20


def test_ppo_begins_as_the_fine_tuned_model_and_learns_from_prompts_of_its_own(told, out):
    rows = [found for found in read_rows(out / "ppo" / "journal.jsonl")[0] if "score" in found]
    assert [found["step"] for found in rows] == [1, 2, 3]
    assert abs(rows[0]["KL to reference"]) < 1e-4
    assert rows[0]["ratio from 1, first minibatch"] < 1e-4
    assert [found["answers so far"] for found in rows] == [16, 32, 48]
    recipe = (out / "ppo" / "recipe.toml").read_text()
    assert str(out / "sft") in recipe
    assert str(out / "reward") in recipe
    measured = {
        prompt["prompt"]["messages"][-1]["content"]
        for prompt in map(json.loads, (out / "answers.jsonl").read_text().splitlines())
    }
    for sample in (out / "ppo" / "samples").iterdir():
        for line in sample.read_text().splitlines():
            assert json.loads(line)["prompt"] not in measured


def test_telling_it_again_reads_what_is_there(told, story, out):
    again = story.as_dict()
    assert {run["ending"] for run in again["runs"].values()} == {"already finished"}
    for key in ("table", "reward_model", "verdict", "people", "models"):
        assert again[key] == told[key]
    assert all(chapter.again for chapter in story.chapters)


def test_answers_are_measured_again_when_their_file_was_damaged(told, story, out):
    kept = out / "measured" / "sft.json"
    whole = kept.read_text()
    kept.write_text(whole[: len(whole) // 2])
    again = run_quickstart(out, seed=0, fast=True, quiet=True, reporter=Silent())
    assert json.loads(kept.read_text()) == json.loads(whole)
    assert again.as_dict()["table"][0] == story.as_dict()["table"][0]


def test_the_answers_can_be_judged_by_hand(answers):
    entries = gather(iter(answers))
    assert len(entries) == len(answers)
    assert any(len(answer.completions) == 3 for answer in answers)


def test_the_page_is_one_file_that_asks_nobody_for_anything(story):
    text = story.report.read_text()
    assert text == page(story)
    for outside in ("http:", "https:", "src=", "@import", "url(", "<iframe", "<object"):
        assert outside not in text.replace("http://www.w3.org/2000/svg", ""), outside
    assert "default-src 'none'" in text
    assert len(text) < 400_000


def test_the_page_holds_the_verdict_the_table_the_curves_and_the_way_to_get_it_again(story):
    text = story.report.read_text()
    assert story.verdict.headline in text
    assert text.index("</h1>") < text.index("<table")
    for found in story.rows:
        assert found.name in text
        for i, cell in enumerate(found.cells):
            if cell is not None:
                assert found.text(i).rpartition(" ")[0] in text
    for chapter in story.chapters:
        for chart in chapter.stage.charts:
            assert f'aria-label="{chapter.stage.title}, {chart.title.lower()}' in text
    assert f"steersman quickstart --out {story.place.out} --seed 0 --fast" in text
    assert re.search(r"torch \d+\.\d+", text)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_page_opens_in_a_browser_without_a_complaint(story, tmp_path, width, dark):
    opened = open_page(story.report, tmp_path, width=width, dark=dark)
    assert opened.complaints == ()
    assert story.verdict.headline in opened.dom
    table = re.search(r'<table class="results[^>]*>(.*?)</table>', opened.dom, re.DOTALL)
    assert table is not None
    assert table[1].count("</tr>") == len(story.rows) + 1


def test_the_browser_would_complain_of_a_page_that_asks_for_something(tmp_path):
    """The check of the test above: a page with the same policy and a picture from elsewhere is complained of."""
    bad = tmp_path / "bad.html"
    policy = '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'
    bad.write_text(
        f'<!doctype html><html><head>{policy}</head><body><img src="https://example.org/a.png"></body></html>'
    )
    assert open_page(bad, tmp_path).complaints


def test_the_terminal_tells_it_in_eighty_columns(story, out, capsys):
    console = Console(width=80, highlight=False)
    again = run_quickstart(out, seed=0, fast=True, quiet=True, reporter=TerminalPrinter(console))
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if "steersman" not in line and str(out) not in line) <= 80
    text = " ".join(" ".join(lines).split())
    for words in (
        "1 of 4 Fine-tune on demonstrations",
        "2 of 4 Train a reward model",
        "3 of 4 Improve the answers by PPO",
        "4 of 4 Measure",
        "had finished before",
    ):
        assert words in text
    assert again.verdict.headline in text
    table = [line for line in lines if line.startswith("true taste")]
    assert len(table) == 1
    assert all(story.rows[0].text(column) in table[0] for column in (0, 1, 2))
    assert f"next: steersman chat {out / 'ppo'}" in text


def test_another_seed_in_the_same_folder_is_refused(told, out):
    with pytest.raises(UsageError, match=r"run\.seed \(was 0, now 1\)"):
        run_quickstart(out, seed=1, fast=True, quiet=True, reporter=Silent())


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(UsageError, match="needs a folder of its own"):
        run_quickstart(tmp_path / "demo", seed=0, fast=True, quiet=True, reporter=Silent())


def test_files_that_no_quickstart_made_are_not_overwritten(tmp_path):
    mine = tmp_path / "answers.jsonl"
    mine.write_text("mine\n")
    with pytest.raises(UsageError, match=r"answers\.jsonl exists and is from no quickstart"):
        run_quickstart(tmp_path, seed=0, fast=True, quiet=True, reporter=Silent())
    assert mine.read_text() == "mine\n"


def test_a_stage_that_was_asked_to_stop_ends_the_story_there(tmp_path, monkeypatch):
    from dataclasses import replace

    from steersman.demo import quickstart
    from steersman.execution.ending import RunResult

    stopped = RunResult("demo/sft", "stopped", 3, 3, {}, "demo/sft/model", "")
    monkeypatch.setattr(quickstart, "STAGES", (replace(STAGES[0], run=lambda words, quiet: stopped), *STAGES[1:]))
    with pytest.raises(Preempted, match="run the same command again to continue"):
        run_quickstart(tmp_path / "demo", seed=0, fast=True, quiet=True, reporter=Silent())
