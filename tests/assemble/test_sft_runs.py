"""What a user meets around fine-tuning: running again, other settings, bad rows, spread over seeds, sinks, listings,
refusals."""

import json
import shutil
import statistics
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from forked import run_command
from plainly import demonstration, demonstrations, write_rows
from safetensors.torch import load_file, save_file

import steersman.assemble.sft as sft
from steersman.cli.main import app, main
from steersman.cli.repeat import run_and_say
from steersman.errors import DataError, MissingLibrary, NotFinite, RunLocked, UsageError
from steersman.models.tiny import write_tiny_model
from steersman.runs.checkpoints import CheckpointStore
from steersman.runs.journal import read_rows
from steersman.runs.lock import lock_run
from steersman.settings.base import load_settings
from steersman.settings.sft import SftSettings
from steersman.train.core import Learner

pytestmark = pytest.mark.slow


def rows_of(folder: Path | str) -> list[dict]:
    return [row for row in read_rows(Path(folder) / "journal.jsonl")[0] if "notice" not in row]


def notices(folder: Path | str) -> str:
    return "\n".join(row["notice"] for row in read_rows(Path(folder) / "journal.jsonl")[0] if "notice" in row)


def unfinish(out: str) -> None:
    """The run as it was before it ended: its last checkpoint is there, its model is not."""
    (Path(out) / "ending.json").unlink()
    shutil.rmtree(Path(out) / "model")


def test_a_finished_run_says_so_and_loads_nothing(tune, monkeypatch):
    first = tune("train.steps=4", "run.journal=[]")
    rows = rows_of(first.out)

    def never(*_):
        raise AssertionError("a finished run loaded its model")

    monkeypatch.setattr(sft, "load_language_model", never)
    again = tune("train.steps=4")
    assert again.ending == "already finished"
    assert (again.step, again.best_step, again.held_out) == (first.step, first.best_step, first.held_out)
    assert (again.model, again.next_command) == (first.model, first.next_command)
    assert rows_of(first.out) == rows


@pytest.mark.parametrize("ended", [True, False])
def test_other_settings_in_the_same_folder_are_refused_by_name(ended, tune):
    first = tune("train.steps=2")
    if not ended:
        unfinish(first.out)
    with pytest.raises(UsageError, match=r"optimiser\.learning_rate \(was 0\.003, now 0\.001\), train\.batch_size"):
        tune("train.steps=2", "optimiser.learning_rate=1e-3", "train.batch_size=4")
    with pytest.raises(UsageError, match=r"run\.seed \(was 0, now 5\)"):
        tune("train.steps=2", "run.seed=5")
    with pytest.raises(UsageError, match=r"data\.held_out \(was 0\.2, now 'none'\)"):
        tune("train.steps=2", "data.held_out=none")
    kept_otherwise = tune(
        "train.steps=2", "run.keep_last=5", "run.checkpoint_every=1", "model.gradient_checkpointing=true"
    )
    assert kept_otherwise.ending == ("already finished" if ended else "finished")


def test_other_data_under_the_same_name_is_refused(tune, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", demonstrations(20, 7))
    first = tune("train.steps=2", f"data.source={rows}")
    unfinish(first.out)
    write_rows(rows, demonstrations(21, 7))
    with pytest.raises(UsageError, match=r"holds another run: data\.train was \w+ and is now \w+"):
        tune("train.steps=2", f"data.source={rows}")


def test_a_folder_in_which_another_works_is_refused_before_a_model_is_loaded(tune, tmp_path, monkeypatch):
    monkeypatch.setattr(sft, "load_language_model", lambda *_: pytest.fail("a model was loaded"))
    with lock_run(tmp_path / "run"), pytest.raises(RunLocked, match="has been working in"):
        tune()


def test_a_smaller_micro_batch_asked_for_on_resuming_is_used(tune):
    first = tune("train.steps=2", "train.tokens_per_micro_batch=128")
    unfinish(first.out)
    state = Path(first.out) / "checkpoints" / "step-000002" / "state.json"
    assert json.loads(state.read_text())["wished_budget"] == 128
    shutil.rmtree(state.parent)
    tune("train.steps=2", "train.tokens_per_micro_batch=32")
    assert json.loads(state.read_text())["token_budget"] == 32


def test_the_recipe_in_the_folder_gives_the_same_settings_again(settings, tune):
    more = ("data.held_out=none", "train.steps=2", "model.lora.rank=4", "run.keep_every=3")
    result = tune(*more)
    recipe = Path(result.out) / "recipe.toml"
    assert load_settings(SftSettings, recipe, []) == settings(*more)
    assert tomllib.loads(recipe.read_text())["data"]["held_out"] == "none"
    assert result.held_out == {}
    assert not any(name.startswith("held-out") for row in rows_of(result.out) for name in row)


@pytest.mark.slow
def test_seeds_are_runs_of_their_own_and_their_spread_is_told(settings, tmp_path, capsys):
    run_and_say(sft.run_sft, settings("train.steps=4"), seeds=2, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [run["out"] for run in told["runs"]] == [str(tmp_path / "run" / f"seed-{seed}") for seed in (0, 1)]
    losses = [run["held_out"]["loss"] for run in told["runs"]]
    assert losses[0] != losses[1], "the seed changed nothing"
    spread = told["spread"]["loss"]
    assert spread["mean"] == pytest.approx(sum(losses) / 2)
    assert spread["deviation"] == pytest.approx(statistics.stdev(losses))
    assert (spread["least"], spread["most"]) == (min(losses), max(losses))
    assert all(Path(run["model"], "model.safetensors").exists() for run in told["runs"])
    run_and_say(sft.run_sft, settings("train.steps=4"), seeds=2, as_json=False)
    assert "over 2 seeds:" in capsys.readouterr().out


@pytest.fixture
def with_bad_rows(tmp_path) -> Path:
    path = write_rows(tmp_path / "bad.jsonl", demonstrations(20, 3))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], '{"messages": [{"role"', *lines[5:], '{"messages": 7}']) + "\n")
    return path


def test_bad_rows_go_into_quarantine_with_their_line_and_reason(with_bad_rows, tune):
    result = tune(f"data.source={with_bad_rows}", "train.steps=2", "data.held_out=none")
    bad = [json.loads(line) for line in (Path(result.out) / "quarantine.jsonl").read_text().splitlines()]
    assert [row["line"] for row in bad] == [6, 22]
    assert all(row["reason"] for row in bad)
    assert "20 rows to learn from" in notices(result.out)
    assert "2 bad rows are in" in notices(result.out)


def test_strict_ends_at_the_first_bad_row(with_bad_rows, tune):
    with pytest.raises(DataError, match=r"bad\.jsonl.*6"):
        tune(f"data.source={with_bad_rows}", "data.strict=true")


@pytest.fixture
def comparisons(tmp_path) -> Path:
    rows = [
        {"prompt": f"Question {i}?", "chosen": f"The good answer is {i}.", "rejected": f"No idea about {i}."}
        for i in range(12)
    ]
    return write_rows(tmp_path / "comparisons.jsonl", rows)


def test_comparisons_teach_nothing_unless_the_chosen_answers_are_asked_for(comparisons, tune, tmp_path):
    more = (f"data.source={comparisons}", "train.steps=2", "data.held_out=none")
    with pytest.raises(DataError, match=r"no rows to learn from .*take_chosen=true"):
        tune(*more)
    result = tune(*more, "take_chosen=true", f"run.out={tmp_path / 'chosen'}")
    assert "12 rows to learn from" in notices(result.out)
    words = learned_words(result)
    assert all("The good answer is" in text and "No idea" not in text for text in words)


def learned_words(result) -> list[str]:
    """All rows to learn from, read back from the run's tokens with the tokeniser of the model it made."""
    from transformers import AutoTokenizer

    from steersman.data.tokens import TokenStore

    tokeniser = AutoTokenizer.from_pretrained(result.model)
    stores = [TokenStore(path.parent) for path in (Path(result.out) / "tokens").glob("*/store.json")]
    return [tokeniser.decode(store.row(i).ids.tolist()) for store in stores for i in range(len(store))]


def test_a_limit_is_the_most_that_is_learned_from(tune):
    result = tune("data.limit=5", "train.steps=2", "data.held_out=none")
    assert "5 rows to learn from" in notices(result.out)
    assert len(learned_words(result)) == 5


def test_no_prompt_is_both_learned_and_held_out_and_nothing_is_lost(tune):
    result = tune("train.steps=2", "data.held_out=0.3")
    counts = [int(text.split()[0]) for text in notices(result.out).splitlines() if " rows " in text]
    assert sum(counts) == 60
    assert 6 <= counts[1] <= 30
    words = learned_words(result)
    assert len(set(words)) == len(words) == 60


def test_a_held_out_share_that_catches_nothing_is_said(tune):
    result = tune("data.limit=3", "data.held_out=1e-6", "train.steps=2")
    assert "the run goes without held-out numbers" in notices(result.out)
    assert result.ending == "finished"


@pytest.mark.parametrize("share", ["1.0", "-0.1"])
def test_an_impossible_held_out_share_is_refused(share, tune):
    with pytest.raises(UsageError, match="a share below 1"):
        tune(f"data.held_out={share}")


def test_any_script_trains_and_comes_back_from_the_models_tokeniser(tune, tmp_path):
    from transformers import AutoTokenizer

    texts = ["안녕하세요, 반갑습니다 👋🏽", "수학은 재미있어요 🎉👩‍👩‍👧", "مرحبا بالعالم", "𝒎𝒂𝒕𝒉 ± ∞"]
    rows = [demonstration(f"질문 {i}", texts[i % 4]) for i in range(16)]
    result = tune(f"data.source={write_rows(tmp_path / 'k.jsonl', rows)}", "train.steps=16", "data.held_out=none")
    losses = [row["loss"] for row in rows_of(result.out)]
    assert losses[-1] < 0.8 * losses[0]
    words = learned_words(result)
    assert all(any(text in row for row in words) for text in texts)
    tokeniser = AutoTokenizer.from_pretrained(result.model)
    assert [tokeniser.decode(tokeniser(text)["input_ids"]) for text in texts] == texts


@pytest.fixture
def poisoned(tmp_path) -> Path:
    folder = write_tiny_model(tmp_path / "poisoned", "llama")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_model_with_a_weight_that_is_no_number_is_refused_with_7(poisoned, data, tmp_path, monkeypatch, capsys):
    words = [f"model.path={poisoned}", f"data.source={data}", f"run.out={tmp_path / 'run'}"]
    monkeypatch.setattr(sys, "argv", ["steersman", "sft", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 7
    expected = "hold NaN, infinity or numbers that overflow (1 tensors, the first: model.norm.weight)"
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("rate", ["1e38", "1e30"])
def test_weights_that_overflow_are_no_success(rate: str, steps: int, data, tmp_path):
    """The user's command, with nothing set but what breaks the weights."""
    out = tmp_path / "run"
    words = ["sft", "model.path=tiny:llama", f"data.source={data}", f"run.out={out}", f"train.steps={steps}"]
    ended = run_command([*words, f"optimiser.learning_rate={rate}"])
    assert ended.returncode == 7, ended.stderr
    assert "weights" in ended.stderr
    assert "NaN, infinity or numbers that overflow" in ended.stderr
    assert not (out / "model").exists()
    assert not (out / "ending.json").exists()
    assert [path.name for path in (out / "checkpoints").glob("step-*")] == ["step-000000"]
    assert all(
        t.isfinite().all() for t in load_file(out / "checkpoints" / "step-000000" / "weights.safetensors").values()
    )


def test_good_checkpoints_are_not_deleted_for_weights_that_are_not_finite(settings, tmp_path, monkeypatch):
    step = Learner.step

    def breaks_the_weights(self, units, objective):
        report = step(self, units, objective)
        if self.progress.step == 3:
            next(self.model.parameters()).data[0, 0] = float("nan")
        return report

    monkeypatch.setattr(Learner, "step", breaks_the_weights)
    wanted = settings("run.checkpoint_every=1", "run.keep_last=1", "data.held_out=none")
    with pytest.raises(NotFinite, match="checkpoint after optimiser step 3 is not written"):
        sft.run_sft(wanted, quiet=True)
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    assert store.steps() == [2]
    assert store.holds(2)


def test_a_final_model_that_is_not_finite_is_not_saved(settings, tmp_path, monkeypatch):
    learn = sft.learn

    def breaks_the_weights(run, settings, model, *how):
        finish = learn(run, settings, model, *how)
        next(model.parameters()).data[0, 0] = float("inf")
        return finish

    monkeypatch.setattr(sft, "learn", breaks_the_weights)
    with pytest.raises(NotFinite, match=r"the model .*/run/model is not written: its weights hold NaN"):
        sft.run_sft(settings("train.steps=2"), quiet=True)
    assert not (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / "ending.json").exists()


def test_tensorboard_gets_every_number_at_its_step(tune):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = tune("run.journal=['tensorboard']", "train.steps=4")
    events = EventAccumulator(str(Path(result.out) / "tensorboard"))
    events.Reload()
    for name in ("loss", "held-out loss", "gradient norm"):
        expected = {row["step"]: row[name] for row in rows_of(result.out) if name in row}
        assert expected
        assert {event.step: event.value for event in events.Scalars(name)} == pytest.approx(expected, rel=1e-6)


def test_runs_list_and_show_know_the_run(tune, tmp_path):
    from typer.testing import CliRunner

    result = tune("train.steps=4")
    listed = CliRunner().invoke(app, ["runs", "list", str(tmp_path), "--json"])
    (run,) = json.loads(listed.stdout)["runs"]
    assert (run["name"], run["kind"], run["state"], run["step"], run["problems"]) == ("run", "sft", "finished", 4, [])
    assert run["last"]["held-out loss"] == result.held_out["loss"]
    shown = CliRunner().invoke(app, ["runs", "show", result.out, "--tail", "2"])
    assert shown.exit_code == 0
    assert "run: sft, finished at step 4" in shown.stdout
    assert f"held-out loss {result.held_out['loss']:.5g}" in shown.stdout


def test_quantising_needs_bitsandbytes_and_adapters(tune, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "bitsandbytes" else find(name, *a)
    )
    with pytest.raises(UsageError, match="QLoRA"):
        tune("model.quantise=4bit")
    with pytest.raises(MissingLibrary, match="bitsandbytes") as refused:
        tune("model.quantise=4bit", "model.lora.rank=4")
    assert refused.value.exit_code == 8


def test_the_command_line_tunes_and_prints_one_object(settings, tiny, data, tmp_path, monkeypatch, capsys):
    words = ["--model", str(tiny("llama")), "--data", str(data), "--out", str(tmp_path / "cli"), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["steersman", "sft", *words, "--json", "train.steps=2", "run.threads=1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    told = json.loads(capsys.readouterr().out)
    assert (told["ending"], told["step"], told["model"]) == ("finished", 2, str(tmp_path / "cli" / "model"))
    assert torch.isfinite(torch.tensor(told["held_out"]["loss"]))
