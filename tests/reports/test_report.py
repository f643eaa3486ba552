"""`report` on run folders: whole, unfinished, damaged, without samples, and what is none."""

import json
import re
from pathlib import Path

import pytest
from commandline import call

from steersman.assemble.report import write_report
from steersman.errors import UsageError
from steersman.runs.folder import RunFolder
from steersman.runs.journal import Journal
from steersman.runs.lock import lock_run
from steersman.runs.stamp import MachineFacts, RunIdentity, make_stamp, write_stamp

TOKENS = {
    "ids": [5, 6, 1],
    "offsets": [[0, 1], [1, 6], [6, 6]],
    "log_probs": [-0.1, -0.2, -0.3],
    "reference_log_probs": [-0.1, -0.6, -0.3],
    "kl": [0.0, 0.4, 0.0],
    "entropies": [0.5, 0.6, 0.1],
    "values": [0.1, 0.2, 0.3],
    "rewards": [0.0, -0.02, 1.0],
    "advantages": [0.9, 0.8, 0.7],
    "returns": [0.98, 0.98, 1.0],
}


def sample(score: float, **more) -> dict:
    return {"prompt": "Say <b>so</b>.", "answer": "a nice", "finish": "end", "score": score, **TOKENS, **more}


@pytest.fixture
def run(tmp_path) -> Path:
    """A finished run of PPO as it lies on disk, its models gone."""
    folder = RunFolder.create_or_open(tmp_path / "ppo")
    (folder.path / "recipe.toml").write_text(
        'iterations = 4\nkeep = "last"\n[model]\npath = "gone/sft"\n[scorer]\npath = "gone/reward"\n'
        '[prompts]\nsource = "gone.jsonl"\n[run]\nout = "gone"\n'
    )
    stamp = make_stamp(
        RunIdentity("ppo", {"run": 7}, {"prompts": "0123456789abcdef"}, {"model": "gone/sft 89ab89ab89ab89ab"}),
        MachineFacts(threads=1, device="cpu", world_size=1, deterministic={}),
        command=["steersman", "ppo", "model.path=gone/sft"],
    )
    write_stamp(folder.stamp_path, stamp)
    with Journal(folder.journal_path) as journal:
        for step in range(1, 5):
            kl = 30.0 if step == 3 else float(step)
            journal.write({"step": step, "score": step / 10, "KL to reference": kl, "entropy": 0.5, "oddity": step})
            journal.write({"step": step, "held-out score": step / 5, "held-out KL to reference": float(step)})
    for step in range(1, 5):
        rows = [sample(step + number / 10) for number in range(5)]
        write_samples(folder, step, rows)
    folder.mark_ended("finished", 4, "finished")
    return folder.path


def write_samples(folder: RunFolder, step: int, rows: list[dict]) -> None:
    (folder.samples / f"iteration-{step:06d}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def entries(page: str) -> list[dict]:
    found = re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_verdict_is_the_journals_and_what_left_its_range_is_said(run):
    made = write_report([str(run)], out=None)
    assert made.headline == "PPO raised the score of held-out answers from 0.20 to 0.80."
    said = " ".join(made.sentences)
    assert "At its end the KL from the reference was 4.00 nats per answer." in said
    assert "KL to reference was 30 at iteration 3 (usually below 20)" in said
    page = Path(made.out).read_text()
    assert made.out == str(run / "report.html")
    assert page.index("</h1>") < page.index("<h2")
    assert "all other metrics (1)" in page


def test_what_made_the_run_and_how_to_get_it_again_is_said(run):
    page = Path(write_report([str(run)], out=None).out).read_text()
    assert "steersman ppo model.path=gone/sft" in page
    assert f"steersman ppo {run}/recipe.toml run.out={run}-again" in page
    assert "prompts 0123456789ab" in page
    assert re.search(r"torch \d+\.\d+", page)


def test_the_microscopes_numbers_are_the_sample_files(run):
    shown = entries(Path(write_report([str(run)], out=None).out).read_text())
    # The best, a middle and the worst answer of the last, a middle and the first iteration.
    assert [entry["score"] for entry in shown] == pytest.approx([4.4, 4.2, 4.0, 3.4, 3.2, 3.0, 1.4, 1.2, 1.0])
    for entry in shown:
        for name, column in entry["columns"].items():
            if name != "q":
                assert column == TOKENS[name]


def test_models_that_are_gone_are_a_note_and_no_end(run):
    page = Path(write_report([str(run)], out=None).out).read_text()
    assert "Nothing was measured anew with the run&#39;s models" in page
    assert "gone/sft, is not there" in page


def test_words_of_the_samples_stay_words(run):
    page = Path(write_report([str(run)], out=None).out).read_text()
    assert "<b>so" not in page
    assert "Say &lt;b&gt;so&lt;/b&gt;." in page


def test_a_run_that_has_not_finished_says_so_and_shows_what_is_there(run):
    (run / "ending.json").unlink()
    made = write_report([str(run)], out=None)
    assert "The run has not finished: it crashed at step 4 of 4." in made.sentences[0]
    assert "Training curves" in made.sections


def test_a_run_that_goes_on_is_read_and_left_alone(run):
    with lock_run(run):
        made = write_report([str(run)], out=None)
    assert "The run is still running, at step 4" in made.sentences[0]
    assert "It is still running, so nothing was measured with its models." in Path(made.out).read_text()


def test_damaged_rows_are_left_out_and_counted(run):
    folder = RunFolder(run)
    whole = [json.dumps(sample(9.0)), json.dumps(sample(8.0, kl=[0.0]))]
    (folder.samples / "iteration-000004.jsonl").write_text("\n".join([*whole, '{"prompt": "torn', "[1, 2]"]))
    with folder.journal_path.open("a") as journal:
        journal.write("no row\n")
    made = write_report([str(run)], out=None)
    said = " ".join(made.sentences)
    assert "2 rows of the kept samples cannot be read" in said
    assert "journal" in said
    page = Path(made.out).read_text()
    assert "1 saved samples are incomplete" in page
    assert next(entry["score"] for entry in entries(page)) == 9.0


def test_a_run_without_samples_has_no_microscope_and_says_why(run):
    for path in (run / "samples").iterdir():
        path.unlink()
    page = Path(write_report([str(run)], out=None).out).read_text()
    assert "No samples were saved (samples_kept in the recipe)" in page
    assert "data-scope" not in page


def test_what_the_watch_found_stands_in_the_verdict_with_its_evidence(run):
    found = {
        "action": "raise-kl",
        "step": 3,
        "detector": "length",
        "verdict": "answers grow",
        "evidence": [{"prompt": "p", "answer": "<i>long</i>", "score": 2.0}],
    }
    (run / "watch.jsonl").write_text(json.dumps(found) + "\nnonsense\n")
    made = write_report([str(run)], out=None)
    said = " ".join(made.sentences)
    assert "Finding of the watch: length, iteration 3: answers grow. The KL coefficient was raised." in said
    assert "1 rows of watch.jsonl cannot be read" in said
    assert "p → &lt;i&gt;long&lt;/i&gt; (score 2.00)" in Path(made.out).read_text()


def test_the_watchs_numbers_are_drawn_with_their_limits_and_a_fall_is_said(run):
    recipe = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(recipe + "[watch.limits]\nlength = 2.0\n")
    with (run / "journal.jsonl").open("a") as journal:
        for step, gain, held_out, length in ((1, 0.5, 0.5, 1.0), (2, 1.0, 1.0, 1.5), (3, 2.0, 0.4, 3.0)):
            row = {"step": step, "watch gain": gain, "watch held-out gain": held_out, "watch length": length}
            journal.write(json.dumps(row) + "\n")
    made = write_report([str(run)], out=None)
    page = Path(made.out).read_text()
    assert "Findings of the watch" in made.sections
    assert "the run&#x27;s scorer from 0.5 to 2; a held-out scorer from 0.5 to 0.4" in page
    assert "lost a quarter or more of its best gain" in page
    assert "The watch has no findings." in page
    assert "A finding if above 2." in page
    assert "watch gain" not in page


def test_an_empty_run_is_an_honest_page(tmp_path):
    folder = RunFolder.create_or_open(tmp_path / "new")
    (folder.path / "recipe.toml").write_text("")
    made = write_report([str(folder.path)], out=None)
    assert "nothing measured yet" in made.headline
    assert any("The run has not finished" in words for words in made.sentences)


def test_several_runs_stand_side_by_side(run, tmp_path):
    other = tmp_path / "other"
    import shutil

    shutil.copytree(run, other)
    made = write_report([str(run), str(other)], out=str(tmp_path / "both.html"))
    page = Path(made.out).read_text()
    assert made.headline == "2 runs side by side."
    assert made.sections[0] == "The runs side by side"
    assert "held-out score" in page
    assert page.count("data-scope") >= 2


def test_what_is_no_run_is_refused_with_a_way_out(tmp_path):
    with pytest.raises(UsageError, match="is not a folder"):
        write_report([str(tmp_path / "nothing")], out=None)
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match=r"neither a run nor an evaluation: it has no recipe\.toml"):
        write_report([str(tmp_path / "mine")], out=None)
    RunFolder.create_or_open(tmp_path / "mine" / "ppo")
    (tmp_path / "mine" / "ppo" / "recipe.toml").write_text("")
    with pytest.raises(UsageError, match=r"it holds the runs ppo\. .* such as .*mine/ppo"):
        write_report([str(tmp_path / "mine")], out=None)
    with pytest.raises(UsageError, match="name at least one"):
        write_report([], out=None)


def test_a_folder_in_the_pages_place_is_refused(run, tmp_path):
    with pytest.raises(UsageError, match="is a folder; name a file"):
        write_report([str(run)], out=str(tmp_path))


def test_the_command_says_the_verdict_and_where_the_page_is(run, capsys):
    assert call(["report", str(run), "--microscope", "0"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("PPO raised the score of held-out answers")
    assert f"page: {run}/report.html" in said
    assert call(["report", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["out"] == str(run / "report.html")
    assert call(["report", str(run.parent / "nothing")]) == 2
