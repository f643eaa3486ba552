"""The demo's report in a real browser: no complaint, no request, no sideways scrolling on a phone, every control by
keyboard, and numbers that are those of the files."""

import json
import re
from pathlib import Path

import pytest
from devtools import Page, browsing

from steersman.assemble.report import write_report
from steersman.demo.story import QuickstartStory
from steersman.runs.journal import read_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def runs(told) -> dict[str, Path]:
    """The demo's runs; of each method that of the last round."""
    names = {"sft": "sft", "reward": "reward-2", "ppo": "ppo-2"}
    return {kind: Path(told["stages"][name]["output"]) for kind, name in names.items()}


@pytest.fixture(scope="module")
def report(runs) -> Path:
    """`steersman report` on the demo's PPO run."""
    return Path(write_report([str(runs["ppo"])], out=None, prompts=["A dog is ..."]).out)


def scope(path: Path) -> list[dict]:
    found = re.search(r'<script type="application/json">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.mark.parametrize(
    ("width", "dark", "printed"), [(1280, False, False), (390, True, False), (360, False, False), (800, False, True)]
)
def test_both_pages_open_without_complaint_request_or_sideways_scrolling(
    page: Page, story: QuickstartStory, report, width, dark, printed
):
    for path in (story.report, report):
        page.requests.clear()
        page.complaints.clear()
        page.open(path, width=width, dark=dark, printed=printed)
        assert page.ask("document.querySelectorAll('.token').length") > 5
        assert page.complaints == []
        assert page.requests == [path.resolve().as_uri()]
        assert page.ask("document.documentElement.scrollWidth") <= width


def test_every_control_is_reached_by_keyboard(page: Page, report):
    page.open(report)
    wanted = page.ask(
        """(() => { const all = [...document.querySelectorAll('a[href],select,summary,[tabindex="0"],input')];
        const groups = new Set(); let count = 0;
        for (const one of all) {
          if (one.closest('details:not([open])') && one.tagName !== 'SUMMARY') continue;
          if (one.name) { if (groups.has(one.name)) continue; groups.add(one.name); }
          count += 1; }
        return count; })()"""
    )
    reached = set()
    for _ in range(wanted + 3):
        page.press("Tab")
        reached.add(
            page.ask(
                """(() => { const all = [...document.querySelectorAll('*')]; const here = document.activeElement;
                return here === document.body ? -1 : all.indexOf(here); })()"""
            )
        )
    reached.discard(-1)
    assert wanted > 8
    assert len(reached) == wanted


def test_keys_move_the_microscope_and_it_shows_the_samples_own_numbers(page: Page, report):
    samples = scope(report)
    page.open(report)
    page.ask("document.querySelector('.scope select').focus()")
    first = samples[0]
    page.ask("document.querySelector('.token[tabindex=\"0\"]').focus()")
    page.press("Home")
    for place in range(3):
        assert page.ask("document.querySelector('.token[aria-selected=true]').textContent") == first["tokens"][place]
        for name, column in first["columns"].items():
            shown = page.ask(f"document.querySelector('[data-column={name}]').lastElementChild.textContent")
            assert float(shown.replace("−", "-")) == pytest.approx(column[place], abs=5.1e-5)
        page.press("ArrowRight")
    page.press("End")
    last = page.ask("document.querySelector('.token[aria-selected=true]').id")
    assert last == f"token-0-{len(first['tokens']) - 1}"
    assert page.ask("document.activeElement.id") == last


def test_another_colour_and_another_sample_are_chosen_by_keyboard(page: Page, report):
    samples = scope(report)
    page.open(report)
    page.ask("document.querySelector('.scope input:checked').focus()")
    before = page.ask("document.querySelectorAll('.token')[0].style.cssText")
    page.press("ArrowRight")
    assert page.ask("document.querySelector('.scope input:checked').value") == "rewards"
    assert page.ask("document.querySelectorAll('.token')[0].style.cssText") != before
    page.ask("document.querySelector('.scope select').focus()")
    page.press("ArrowDown")
    assert page.ask("document.querySelector('.scope select').value") == "1"
    assert page.ask("document.querySelectorAll('.token').length") == len(samples[1]["tokens"])


def test_the_kept_samples_under_the_microscope_are_those_of_the_files(report, runs):
    kept = [
        json.loads(line)
        for path in sorted((runs["ppo"] / "samples").iterdir())
        for line in path.read_text().splitlines()
    ]
    shown = [entry for entry in scope(report) if entry["label"].startswith("iteration")]
    assert len(shown) >= 6
    for entry in shown:
        match = [row for row in kept if row["answer"] == entry["answer"] and row["score"] == entry["score"]]
        assert match
        for name, column in entry["columns"].items():
            if name != "q":
                assert column in [row[name] for row in match]


def test_the_textbook_prompt_is_there_with_paths_not_taken(story: QuickstartStory):
    dogs = [entry for entry in scope(story.report) if entry["prompt"] == "A dog is ..."]
    assert dogs
    for entry in dogs:
        values, rewards = entry["columns"]["values"], entry["columns"]["rewards"]
        assert entry["columns"]["q"] == pytest.approx(
            [paid + after for paid, after in zip(rewards, [*values[1:], 0.0], strict=True)], abs=2e-6
        )
        for place, paths in entry["alternatives"].items():
            taken = [path for path in paths if path["taken"]]
            assert [path["text"] for path in taken] == [entry["tokens"][int(place)]]
            # What the critic expects after the token that was said is its value at the next token.
            if int(place) + 1 < len(values) and taken[0]["value"] is not None:
                assert taken[0]["value"] == pytest.approx(values[int(place) + 1], abs=1e-3)
            for path in paths:
                scores = [one["score"] for one in path["paths"]]
                assert path["mean"] == pytest.approx(sum(scores) / len(scores), abs=1e-3)
                assert path["taken"] or path["chance"] >= 0.01
    assert any(entry["alternatives"] for entry in dogs)


def test_the_reports_verdict_and_curves_are_the_journals(report, runs):
    rows, _ = read_rows(runs["ppo"] / "journal.jsonl")
    held = [row["held-out score"] for row in rows if "held-out score" in row]
    page_text = report.read_text()
    spoken = re.search(r"Score of an answer: [^\"]*held out from ([−\-\d.]+) to ([−\-\d.]+);", page_text)
    assert spoken is not None
    assert [float(value) for value in spoken.groups()] == pytest.approx([held[0], held[-1]], abs=5e-3)


def test_the_headline_the_table_the_curve_and_the_command_line_have_the_same_scores(report, runs):
    rows, _ = read_rows(runs["ppo"] / "journal.jsonl")
    held = {row["step"]: row["held-out score"] for row in rows if "held-out score" in row}
    headline = re.search(r"held-out answers,? from ([−-]?\d+\.\d+) to ([−-]?\d+\.\d+)", report.read_text())
    assert headline is not None
    before, after = (float(text.replace("−", "-")) for text in headline.groups())
    assert before == pytest.approx(held[0], abs=0.0051)
    # the model of the last step is kept where no earlier one is better
    assert any(after == pytest.approx(value, abs=0.0051) for value in (max(held.values()), [*held.values()][-1]))


def test_the_demos_page_shows_the_numbers_of_its_files(page: Page, story: QuickstartStory, told, out, runs):
    """The demo ends in this report: what it shows is what numbers.json and the journals hold."""
    page.open(story.report)
    shown = page.ask(
        "[...document.querySelectorAll('.results tbody tr')].map(row => [...row.children].map(cell => cell.innerText))"
    )
    assert len(shown) == len(told["table"])
    for row, kept in zip(shown, json.loads((out / "numbers.json").read_text())["table"], strict=True):
        assert row[0].startswith(kept["name"])
        for cell, model in zip(row[1:], kept["models"].values(), strict=True):
            if model is None:
                assert cell.strip() == "–"
                continue
            text = re.match(r"([−\d.,]+)( %)?", cell.replace("\u00a0", " "))
            assert text is not None
            value = float(text[1].replace("−", "-").replace(",", "")) / (100 if text[2] else 1)
            assert value == pytest.approx(model["estimate"], abs=0.0051)
    for stage, key in (("sft", "held-out loss"), ("ppo", "held-out score")):
        rows, _ = read_rows(runs[stage] / "journal.jsonl")
        values = [row[key] for row in rows if key in row]
        # Harbour's stages say where a number began and where it ended.
        assert f"{values[0]:.3f} → {values[-1]:.3f}" in page.ask("document.body.innerText").replace("\u00a0", " ")


def test_a_fine_tuned_model_is_held_against_the_one_it_began_from(runs, tmp_path):
    """Without a scorer of the run's own there are still both models' answers."""
    made = write_report([str(runs["sft"])], out=str(tmp_path / "sft.html"))
    assert made.sections[:2] == ("Before and after", "Training curves")
    assert "Most changed answers, frozen and updated" in made.sections
    text = (tmp_path / "sft.html").read_text()
    assert "KL from the frozen model" in text
    assert "true taste" in text
    assert "<ins>" in text


def test_a_reward_models_page_holds_its_quality(runs, tmp_path):
    made = write_report([str(runs["reward"])], out=str(tmp_path / "reward.html"))
    quality = json.loads((runs["reward"] / "quality.json").read_text())
    assert made.sections[0] == "Accuracy and calibration"
    accuracy = quality["accuracy"]
    shown = (
        f"{accuracy['estimate'] * 100:.0f}\u00a0% "
        f"({accuracy['low'] * 100:.0f}\u2060–\u2060{accuracy['high'] * 100:.0f})"
    )
    text = (tmp_path / "reward.html").read_text()
    assert shown in text
    (runs["reward"] / "quality.json").rename(tmp_path / "quality.json")
    try:
        (runs["reward"] / "quality.json").write_text('{"accuracy": 1}')
        again = write_report([str(runs["reward"])], out=str(tmp_path / "reward.html"))
        assert "quality.json cannot be read" in (tmp_path / "reward.html").read_text()
        assert "Training curves" in again.sections
    finally:
        (tmp_path / "quality.json").replace(runs["reward"] / "quality.json")
