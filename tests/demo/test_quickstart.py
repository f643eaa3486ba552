"""The quickstart from end to end, small: its numbers are those of its files, its page stands alone, and telling it
again is quick."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from chromium import open_page
from rich.console import Console

from steersman.cli.storyteller import Silent, TerminalPrinter
from steersman.data.load import load_records
from steersman.demo.page import page
from steersman.demo.quickstart import run_quickstart
from steersman.errors import Preempted, UsageError
from steersman.evaluate.ceiling import share_interval
from steersman.harbour.taste import features
from steersman.judging.queue import gather
from steersman.records import Answers
from steersman.reward.model import open_reward_scorer
from steersman.runs.journal import read_rows

pytestmark = pytest.mark.slow
ROUND = ("sample", "labels", "gate", "reward", "ppo", "evaluate", "promote")


@pytest.fixture(scope="module")
def answers(told, out) -> list[Answers]:
    return [row for row in load_records(str(out / "answers.jsonl")) if isinstance(row, Answers)]


def row(told: dict, key: str) -> dict:
    return next(row for row in told["table"] if row["key"] == key)["models"]


def output(told: dict, stage: str) -> Path:
    return Path(told["stages"][stage]["output"])


def of(told: dict, stage: str, model: str) -> list[tuple[str, str]]:
    """A model's answers in an evaluation: (prompt, answer)."""
    rows = map(json.loads, (output(told, stage) / "answers.jsonl").read_text().splitlines())
    return [
        (row["prompt"]["messages"][-1]["content"], answer["text"])
        for row in rows
        for answer in row["completions"]
        if answer["model"] == model
    ]


def test_the_tables_numbers_are_those_of_the_answers(told):
    assert list(told["models"]) == ["base", "SFT", "round 1", "round 2"]
    said = {
        name: of(told, "evaluate-2", model) for name, model in (("base", "base"), ("SFT", "sft"), ("round 2", "new"))
    }
    tuned = [features(*one) for one in said["SFT"]]
    for name, given in said.items():
        assert len(given) == told["prompts"] > 40
        seen = [features(*one) for one in given]
        count = len(seen)
        assert row(told, "taste")[name]["estimate"] == pytest.approx(sum(s.taste for s in seen) / count)
        wanted = share_interval([float(s.toxic) for s in seen], [*range(count)], confidence=0.95)
        toxic = row(told, "toxic")[name]
        assert (toxic["estimate"], toxic["low"], toxic["high"]) == pytest.approx(tuple(wanted))
        harmless = [s for s in seen if s.form != "harmful"]
        refused = row(told, "refused_harmless")[name]
        assert refused["answers"] == len(harmless)
        assert refused["estimate"] == pytest.approx(sum(s.refused for s in harmless) / len(harmless))
        if name != "SFT":
            gaps = [one.taste - other.taste for one, other in zip(seen, tuned, strict=True)]
            wins = sum(1.0 if gap > 0 else 0.5 if gap == 0 else 0.0 for gap in gaps) / len(gaps)
            assert row(told, "wins")[name]["estimate"] == pytest.approx(wins)
    assert row(told, "wins")["SFT"] is None


def test_a_round_that_was_promoted_is_measured_again_by_the_next_rounds_reward_model(told):
    for number, name in ((1, "round 1"), (2, "round 2")):
        later = number == 1 and told["rounds"][0]["promoted"]
        given = of(told, "evaluate-2", "promoted") if later else of(told, f"evaluate-{number}", "new")
        seen = [features(*one).taste for one in given]
        assert row(told, "taste")[name]["estimate"] == pytest.approx(sum(seen) / len(seen))
    assert [row(told, "labels")[name]["estimate"] for name in ("round 1", "round 2")] == [160, 320]


def test_the_rewards_are_what_the_reward_model_says_of_these_answers(told):
    scorer = open_reward_scorer(output(told, "reward-2") / "model")
    for name, model in (("base", "base"), ("SFT", "sft"), ("round 2", "new")):
        rows = map(json.loads, (output(told, "evaluate-2") / "answers.jsonl").read_text().splitlines())
        records = load_records(str(output(told, "evaluate-2") / "answers.jsonl"), kind=Answers)
        items = [
            (record.prompt, answer.text)
            for record in records
            if isinstance(record, Answers)
            for answer in record.completions
            if answer.model == model
        ]
        assert len(items) == len(list(rows))
        scores = [score.value for score in scorer.score(items)]
        assert row(told, "reward")[name]["estimate"] == pytest.approx(sum(scores) / len(scores), abs=1e-4)


def test_the_stages_are_those_of_the_recipe_and_a_round_says_what_was_decided(told, out):
    assert list(told["stages"]) == ["sft", *(f"{kind}-{number}" for number in (1, 2) for kind in ROUND)]
    for name in ("sft", "reward-1", "ppo-1", "reward-2", "ppo-2"):
        assert (output(told, name) / "model" / "config.json").exists()
    assert [one["round"] for one in told["rounds"]] == [1, 2]
    for one in told["rounds"]:
        promotion = json.loads((output(told, f"promote-{one['round']}") / "promotion.json").read_text())
        assert (one["promoted"], one["reason"]) == (promotion["promoted"], promotion["reason"])
        assert one["labels"] == 160
        assert one["scorer"] == "taste"
        assert one["toxic"] == row(told, "toxic")[f"round {one['round']}"]["estimate"] or one["promoted"]


def test_fine_tuning_is_a_distance_and_the_model_itself_is_none(told):
    kl = row(told, "kl")
    assert kl["SFT"] is None
    assert 0 < kl["base"]["low"] < kl["base"]["estimate"] < 20
    assert 0 < kl["round 1"]["estimate"] < 20


def test_ppo_begins_as_the_fine_tuned_model_and_learns_from_prompts_of_its_own(told, out):
    ppo = output(told, "ppo-1")
    rows = [found for found in read_rows(ppo / "journal.jsonl")[0] if "score" in found]
    assert [found["step"] for found in rows] == [1, 2, 3]
    assert abs(rows[0]["KL to reference"]) < 1e-4
    assert rows[0]["ratio from 1, first minibatch"] < 1e-4
    assert [found["answers so far"] for found in rows] == [16, 32, 48]
    measured = {
        prompt["prompt"]["messages"][-1]["content"]
        for prompt in map(json.loads, (out / "answers.jsonl").read_text().splitlines())
    }
    for sample in (ppo / "samples").glob("iteration-*"):
        for line in sample.read_text().splitlines():
            assert json.loads(line)["prompt"] not in measured


def test_telling_it_again_reads_what_is_there(told, story):
    again = story.as_dict()
    for key in ("table", "rounds", "stages", "reward_model", "verdict", "people", "models"):
        assert again[key] == told[key]
    assert all(chapter.again for chapter in story.chapters)


def test_the_recipe_of_ones_own_round_has_the_rounds_that_are_done_and_one_more(told, out):
    from steersman.assemble.round_stages import find_stage
    from steersman.rounds.progress import progress_of
    from steersman.rounds.recipe import read_graph

    assert told["own_round"][0] == f"steersman rounds run {out / 'round-3.toml'}"
    assert tomllib.loads((out / "round-3.toml").read_text())["rounds"]["count"] == 3
    stood = {one.name: one for one in progress_of(read_graph(out / "round-3.toml", [], find_stage))}
    assert {name for name in told["stages"] if stood[name].standing != "done"} == set()
    assert [stood[name].standing for name in ("prompts-3", "labels-3", "ppo-3")] == ["to run"] * 3
    settings = stood["labels-3"].identity.settings
    assert (settings["count"], settings["project"]) == (60, f"quickstart?store={out / 'studio.db'}")


def test_the_answers_can_be_judged_by_hand(answers):
    entries = gather(iter(answers))
    assert len(entries) == len(answers)
    assert any(len(answer.completions) == 4 for answer in answers)


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
                assert found.texts(i)[0] in text
    for chapter in story.chapters:
        assert chapter.title in text
        for chart in chapter.kind.charts:
            assert f'aria-label="{chapter.title}, {chart.title.lower()}' in text
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
        "1 of 9 Fine-tune on demonstrations",
        "2 of 9 Round 1: Have answers judged",
        "3 of 9 Round 1: Train a reward model",
        "8 of 9 Round 2: Improve the answers by PPO",
        "9 of 9 Round 2: Check the new policy",
        "had been done before",
    ):
        assert words in text
    assert again.verdict.headline in text
    for column, name in enumerate(story.columns):
        (line,) = [line for line in lines if line.startswith(name) and " ".join(story.rows[0].texts(column)) in line]
        labels = next(row for row in story.rows if row.key == "labels").texts(column)[0]
        assert line.rstrip().endswith(labels)
    assert f"steersman rounds run {out / 'round-3.toml'}" in text
    assert f"next: steersman chat {story.policy}" in text


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
    from steersman.rounds import run

    def stop(*_):
        raise Preempted("the stage 'sft' was stopped and saved its state")

    monkeypatch.setattr(run.Launcher, "run", stop)
    with pytest.raises(Preempted, match="run the same command again to continue"):
        run_quickstart(tmp_path / "demo", seed=0, fast=True, quiet=True, reporter=Silent())
