"""Best of n as a whole: the best are chosen and said what they are worth, the model learns from them, bad wishes are
refused."""

import json
import math
from pathlib import Path

import pytest
from commandline import call
from plainly import write_rows
from transformers import AutoModelForCausalLM

from steersman.assemble.best_of_n import run_best_of_n
from steersman.assemble.sample import run_sample
from steersman.assemble.score import run_score
from steersman.errors import DataError, RunLocked, UsageError
from steersman.runs.listing import list_runs
from steersman.runs.lock import lock_run
from steersman.settings.base import load_settings
from steersman.settings.best_of_n import BestOfNSettings
from steersman.settings.sample import SampleSettings
from steersman.settings.score import ScoreSettings

pytestmark = pytest.mark.slow

REWARD = "def vowels(answer):\n    return sum(answer.count(c) for c in 'aeiou') / len(answer)\n"


@pytest.fixture
def reward(tmp_path) -> str:
    (tmp_path / "reward.py").write_text(REWARD)
    return f"{tmp_path / 'reward.py'}:vowels"


@pytest.fixture
def prompts(tmp_path) -> Path:
    return write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"Tell me {i}."} for i in range(24)])


@pytest.fixture
def settings(tiny, reward, prompts, tmp_path):
    def make(*more: str) -> BestOfNSettings:
        usual = [f"model.path={tiny('llama')}", f"prompts.source={prompts}", f"scorer.path={reward}", "n=6"]
        usual += [f"run.out={tmp_path / 'run'}", "run.device=cpu", "run.threads=1", "sampling.max_new_tokens=8"]
        usual += [
            "train.kernels=default",
            "train.batch_size=8",
            "train.epochs=30",
            "train.keep=last",
            "optimiser.learning_rate=1e-2",
        ]
        return load_settings(BestOfNSettings, None, [*usual, *more])

    return make


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def vowels(text: str) -> float:
    return sum(text.count(c) for c in "aeiou") / len(text)


def test_the_best_of_each_prompt_is_kept_and_learned_from(settings, reward, prompts, tmp_path):
    result = run_best_of_n(settings(), quiet=True)
    out = Path(result.out)
    chosen, scored = rows(out / "chosen.jsonl"), rows(out / "scored.jsonl")
    assert len(chosen) == len(scored) == 24
    groups = [[vowels(one["text"]) for one in row["completions"]] for row in scored]
    assert all(len(group) == 6 for group in groups)
    for row, group in zip(chosen, groups, strict=True):
        assert row["kind"] == "demonstration"
        assert row["completion"]["scores"]["score"] == pytest.approx(max(group))
        assert vowels(row["completion"]["text"]) == pytest.approx(max(group))
    # the mean over all answers, over all pairs of them, and of the best
    every = [score for group in groups for score in group]
    pairs = [max(g[i], g[j]) for g in groups for i in range(6) for j in range(i)]
    assert result.measured["score of one answer"] == pytest.approx(sum(every) / len(every))
    assert result.measured["score, best of 2"] == pytest.approx(sum(pairs) / len(pairs))
    assert result.measured["score, best of 6"] == pytest.approx(sum(map(max, groups)) / 24)
    assert result.measured["KL at most, best of 6"] == pytest.approx(math.log(6) - 5 / 6)
    assert list(result.measured) == [
        *("score of one answer", "score, best of 2", "score, best of 4", "score, best of 6", "KL at most, best of 6")
    ]
    assert (result.ending, result.held_out.keys() >= {"loss"}) == ("finished", True)
    assert [run.kind for run in list_runs(tmp_path)] == ["best-of-n"]
    AutoModelForCausalLM.from_pretrained(result.model)
    # the model has learned what scores
    sampling = {"prompts": {"source": str(prompts)}, "answers": 6, "max_new_tokens": 8, "device": "cpu", "seed": 5}
    answers, judged = str(tmp_path / "after.jsonl"), str(tmp_path / "judged.jsonl")
    run_sample(SampleSettings.model_validate({**sampling, "model": result.model, "out": answers}), quiet=True)
    scoring = {"data": {"source": answers}, "scorer": {"path": reward}, "out": judged, "device": "cpu"}
    after = run_score(ScoreSettings.model_validate(scoring), quiet=True).mean
    assert after > 1.4 * result.measured["score of one answer"]
    # and the same call has nothing left to do, and says the same
    again = run_best_of_n(settings(), quiet=True)
    assert again.ending == "already finished"
    assert again.measured == result.measured


def test_prompts_without_a_good_answer_are_left_out(settings, tmp_path):
    result = run_best_of_n(settings("least_score=0.3", "held_out=none", "train.epochs=1"), quiet=True)
    kept = {row["id"] for row in rows(Path(result.out) / "chosen.jsonl")}
    good = {
        row["id"]
        for row in rows(Path(result.out) / "scored.jsonl")
        if max(one["scores"]["score"] for one in row["completions"]) >= 0.3
    }
    assert kept == good
    assert 0 < len(kept) < 24
    with pytest.raises(DataError, match=r"scores least_score=9\.0 or more; the best of all scores"):
        run_best_of_n(settings("least_score=9", f"run.out={tmp_path / 'none'}"), quiet=True)


def test_a_folder_belongs_to_one_recipe_and_one_process(settings, tmp_path):
    with pytest.raises(DataError, match="least_score"):
        run_best_of_n(settings("least_score=9"), quiet=True)
    with pytest.raises(UsageError, match=r"other settings: n \(was 6, now 3\)"):
        run_best_of_n(settings("least_score=9", "n=3"), quiet=True)
    with lock_run(tmp_path / "held"), pytest.raises(RunLocked, match="has been working in"):
        run_best_of_n(settings(f"run.out={tmp_path / 'held'}"), quiet=True)


def test_one_answer_a_prompt_is_no_choice(settings):
    with pytest.raises(UsageError, match=r"setting 'n'.*greater than or equal to 2"):
        settings("n=1")


def test_the_command_and_its_recipe_run(tmp_path, reward, capsys):
    words = ["best-of-n", "best-of-n-harbour", "--model", "harbour:base", "--scorer", reward, "--n", "3"]
    words += ["--prompts", "harbour:prompts?count=12", "--out", str(tmp_path / "run"), "train.steps=2"]
    words += ["sampling.max_new_tokens=8", "train.kernels=default", "--device", "cpu"]
    assert call(words) == 0
    told = capsys.readouterr().out
    assert "score of one answer" in told
    assert "score, best of 3" in told
    assert f"KL at most, best of 3   {math.log(3) - 2 / 3:.5g}" in told
    assert call([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measured"]["score, best of 3"] > 0
