"""Every kind of scorer by its settings, from `steersman score` and inside a run: services, checks, and weighted
sums."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from moody_server import moody_server
from plainly import write_rows
from typer.testing import CliRunner

from steersman.assemble.ppo.run import run_ppo
from steersman.assemble.score import run_score
from steersman.cli.main import app
from steersman.data.load import load_records
from steersman.errors import DataError, ServiceError, UsageError
from steersman.execution.same_run import refuse_another_recipe
from steersman.harbour.taste import true_taste
from steersman.loading.scorers import ScorerCache, load_scorer, name_of
from steersman.methods.ppo import loop
from steersman.parallel.world import World
from steersman.records import Message, Prompt
from steersman.runs.folder import RunFolder
from steersman.runs.journal import read_rows
from steersman.settings.base import check, load_settings, to_toml
from steersman.settings.ppo import PpoSettings
from steersman.settings.score import ScorerSettings, ScoreSettings

CPU = torch.device("cpu")
ALLOWED = {"allow": ["127.0.0.1"]}


@pytest.fixture
def functions(tmp_path) -> Path:
    (tmp_path / "mine.py").write_text(
        "def size(answer):\n    return len(answer)\n\ndef same(answer):\n    return 1.0\n"
    )
    return tmp_path / "mine.py"


@pytest.fixture
def sums(tmp_path) -> str:
    rows = [{"question": f"{i} and {i}?", "answer": f"#### {2 * i}"} for i in range(12)]
    return str(write_rows(tmp_path / "sums.jsonl", rows))


def scored(tmp_path, source, scorer, **given) -> tuple[Any, list[Any]]:
    values = {
        "data": {"source": source},
        "scorer": scorer,
        "out": str(tmp_path / "scored.jsonl"),
        "force": True,
        **given,
    }
    result = run_score(check(ScoreSettings, values), quiet=True)
    return result, list(load_records(result.out, format="native", strict=True))


def test_answers_of_a_usual_data_set_are_checked(tmp_path, sums):
    result, _ = scored(tmp_path, sums, {"path": "verify:numeric"})
    assert (result.name, result.mean, result.answers) == ("numeric", 1.0, 12)
    result, _ = scored(tmp_path, sums, {"path": "verify:regex", "verify": {"pattern": "#### ([02468])"}})
    assert result.mean == 0.0  # the right answer is the whole worked one, and a digit is not
    assert result.noted == {"the pattern found nothing": 5}  # 10, 12, 14, 16, 18 begin with a 1


def test_a_service_scores_a_file_and_its_replies_outlive_a_failure(tmp_path, sums):
    scorer = {"http": {**ALLOWED, "batch_size": 4, "at_once": 1, "patience": 0.2}}
    with moody_server(lambda number: "well" if number < 2 else "status 500") as server:
        with pytest.raises(ServiceError):
            scored(tmp_path, sums, {"path": server.url, **scorer})
        assert not (tmp_path / "scored.jsonl").exists()
        server.moods = lambda number: "well"
        result, rows = scored(tmp_path, sums, {"path": server.url, **scorer})
        assert len(server.answered) == len(set(server.answered)) == 12
    assert result.name == "127.0.0.1"
    assert [row.completion.scores["127.0.0.1"] for row in rows] == [len(row.completion.text) for row in rows]
    assert not (tmp_path / "scored.jsonl.replies").exists()


def test_a_sum_weighs_scales_and_tells_its_parts(tmp_path, sums, functions):
    scorer = {
        "sum": {
            "right": {"path": "verify:numeric", "weight": 2.0},
            "size": {"path": f"{functions}:size", "normalise": "reference", "weight": -1.0, "clip": 1.0},
            "known": {"path": f"{functions}:size", "scale": (6.0, 2.0), "weight": 0.5},
        },
        "reference": sums,
    }
    result, rows = scored(tmp_path, sums, scorer, parts=True)
    # Five answers "#### n" of 6 characters and seven "#### nn" of 7: mean 6.5833, standard deviation sqrt(35)/12 =
    # 0.4930.
    mean, std = (5 * 6 + 7 * 7) / 12, 35**0.5 / 12
    for row in rows:
        size = len(row.completion.text)
        wanted = 2.0 - max(-1.0, min(1.0, (size - mean) / std)) + 0.5 * (size - 6) / 2
        assert row.completion.scores["sum"] == pytest.approx(wanted)
        assert row.completion.scores["sum/right"] == 1.0
        assert row.completion.scores["sum/size"] == size
        assert row.completion.scores["sum/right/found"] == 1.0
    assert result.name == "sum"


def test_scales_are_measured_once_in_a_run(tmp_path, sums, functions, capsys):
    settings = check(
        ScorerSettings,
        {"sum": {"size": {"path": f"{functions}:size", "normalise": "reference"}}, "reference": sums},
    )
    keeping = ScorerCache(tmp_path / "scorer", tmp_path / "scorer" / "scales.json", World.alone(), print)
    item = [(Prompt(text="Say"), "seven77")]
    before = load_scorer(settings, CPU, keeping).score(item)
    assert "measured on 12 reference answers: size 6.583 ± 0.493" in capsys.readouterr().out
    Path(sums).unlink()
    assert load_scorer(settings, CPU, keeping).score(item) == before
    assert capsys.readouterr().out == ""


def test_length_is_taken_out_as_measured_on_reference_answers_once_in_a_run(tmp_path, functions, capsys):
    # Characters 1, 2, 3 score 1, 2, 6 (by hand: slope 2.5, mean length 2), so a score of 10 with 6 characters keeps 10
    # - 4 * 2.5 = 0.
    (tmp_path / "by_length.py").write_text("def score(answer):\n    return {1: 1, 2: 2, 3: 6}.get(len(answer), 10)\n")
    rows = [{"prompt": "Say", "completion": "x" * n} for n in (1, 2, 3)]
    reference = write_rows(tmp_path / "reference.jsonl", rows)
    given = {"path": f"{tmp_path / 'by_length.py'}:score", "length_controlled": True, "reference": str(reference)}
    settings = check(ScorerSettings, given)
    keeping = ScorerCache(tmp_path / "scorer", tmp_path / "scorer" / "scales.json", World.alone(), print)
    items = [(Prompt(text="Say"), answer) for answer in ("x", "xx", "xxx", "longer")]
    found = load_scorer(settings, CPU, keeping).score(items)
    assert [score.value for score in found] == pytest.approx([3.5, 2.0, 3.5, 0.0])
    assert found[3].parts == pytest.approx({"before": 10.0, "owed to length": 10.0})
    assert (
        "length explains 89.3% of the scores of 3 reference answers, +250 for 100 characters" in capsys.readouterr().out
    )
    reference.unlink()
    assert load_scorer(settings, CPU, keeping).score(items) == found
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        ({}, UsageError, "seen neither"),
        ({"path": "x", "length_controlled": True}, UsageError, "length_controlled is measured on reference answers"),
        ({"path": "x", "sum": {"a": {"path": "y"}}}, UsageError, "seen both"),
        ({"sum": {"a": {"path": "y", "normalise": "reference"}}}, UsageError, "give scorer.reference"),
        ({"sum": {"a": {"path": "y", "wight": 1}}}, UsageError, r"did you mean 'sum\.a\.weight'"),
        ({"path": "x", "weight": 1}, UsageError, r"did you mean 'sum\.<name>\.weight'"),
        ({"path": "http://127.0.0.1/"}, UsageError, "not on the public internet"),
        (
            {"path": "https://127.0.0.1/", "http": {**ALLOWED, "token_env": "NO_SUCH_TOKEN"}},
            UsageError,
            "no such variable",
        ),
        (
            {"sum": {"a": {"path": "{f}:same", "normalise": "reference", "scale": (0, 1)}}, "reference": "{sums}"},
            UsageError,
            "give one of them",
        ),
        ({"sum": {"a": {"path": "{f}:same", "normalise": "reference"}}, "reference": "{sums}"}, DataError, "no scale"),
        (
            {"sum": {"a": {"path": "{f}:size", "normalise": "reference"}}, "reference": "{one}"},
            DataError,
            "holds 1 answers",
        ),
    ],
)
def test_settings_that_cannot_be_meant_say_why(values, error, match, sums, functions, tmp_path):
    one = write_rows(tmp_path / "one.jsonl", [{"prompt": "Say", "completion": "a"}])
    text = json.dumps(values).replace("{f}", str(functions)).replace("{sums}", sums).replace("{one}", str(one))
    with pytest.raises(error, match=match):
        load_scorer(check(ScorerSettings, json.loads(text)), CPU)


def test_a_sum_in_a_recipe_survives_being_written_down(tmp_path, functions):
    words = ["data.source=d", "out=o.jsonl", f"scorer.sum.size.path={functions}:size", "scorer.sum.size.clip=2.0"]
    settings = load_settings(ScoreSettings, None, [*words, "scorer.sum.check.path=verify:exact"])
    (tmp_path / "recipe.toml").write_text(to_toml(settings))
    assert load_settings(ScoreSettings, tmp_path / "recipe.toml", []) == settings
    assert name_of(settings.scorer) == f"{functions}:size + verify:exact"


def test_how_a_service_is_asked_may_change_when_a_run_goes_on_and_what_is_asked_may_not(tmp_path):
    usual = ["model.path=m", "prompts.source=p", f"run.out={tmp_path}", "scorer.sum.a.path=https://8.8.8.8/"]
    settings = load_settings(PpoSettings, None, usual)
    (tmp_path / "recipe.toml").write_text(to_toml(settings))
    (tmp_path / "checkpoints" / "step-000001").mkdir(parents=True)
    folder = RunFolder(tmp_path)
    refuse_another_recipe(folder, load_settings(PpoSettings, None, [*usual, "scorer.sum.a.http.timeout=5"]))
    with pytest.raises(UsageError, match=r"scorer\.sum\.a\.path"):
        refuse_another_recipe(folder, load_settings(PpoSettings, None, [*usual, "scorer.sum.a.path=https://8.8.4.4/"]))


def test_the_command_takes_a_service_and_the_snippet_of_the_guide_runs(tmp_path, sums, monkeypatch):
    monkeypatch.chdir(tmp_path)
    guide = (Path(__file__).parents[2] / "docs" / "scorers.md").read_text()
    snippet = re.search(r"```python\n(.*?)```", guide, re.DOTALL)
    command = re.search(r"^    (steersman score .*mine\.py.*)$", guide, re.MULTILINE)
    assert snippet
    assert command
    assert len([line for line in snippet[1].splitlines() if line.strip()]) == 3
    Path("mine.py").write_text(snippet[1])
    words = command[1].split()[1:]
    Path(words[1]).write_text(Path(sums).read_text())
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "12 answers of 12 records" in done.stdout
    with moody_server() as server:
        words = [
            "score",
            sums,
            "--scorer",
            server.url,
            "--out",
            "by-service.jsonl",
            'scorer.http.allow=["127.0.0.1"]',
            "--json",
        ]
        done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["mean"] == pytest.approx(6.5833, abs=1e-4)


def ppo_settings(tiny, tmp_path, *words) -> PpoSettings:
    prompts = write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"Tell me {i}.", "answer": str(i)} for i in range(10)])
    usual = [
        f"model.path={tiny('llama')}",
        f"prompts.source={prompts}",
        f"run.out={tmp_path / 'run'}",
        "run.device=cpu",
    ]
    usual += ["run.threads=1", "compute.kernels=default", "iterations=3", "prompts_per_iteration=6", "update.epochs=1"]
    usual += ["update.minibatches=1", "sampling.max_new_tokens=6", "prompts.held_out=none", "run.checkpoint_every=10"]
    return load_settings(PpoSettings, None, [*usual, *words])


@pytest.mark.slow
def test_an_outage_leaves_a_checkpoint_and_the_run_goes_on_as_if_nothing_had_been(tiny, tmp_path):
    def words(server, folder):
        service = [f"scorer.sum.service.path={server.url}", 'scorer.sum.service.http.allow=["127.0.0.1"]']
        service += ["scorer.sum.service.http.patience=0.3", "scorer.sum.service.weight=0.1"]
        return [*service, "scorer.sum.right.path=verify:numeric", f"run.out={tmp_path / folder}"]

    with moody_server() as server:
        run_ppo(ppo_settings(tiny, tmp_path, *words(server, "whole")), quiet=True)
        asked = len(server.answered)
        settings = ppo_settings(tiny, tmp_path, *words(server, "parted"))
        # Whatever is asked in the second iteration stays without a reply.
        first = len(server.requests)
        server.moods = lambda number: "well" if number < first + 1 else "status 503"
        with pytest.raises(ServiceError) as ended:
            run_ppo(settings, quiet=True)
        assert ended.value.exit_code == 9
        assert [path.name for path in (tmp_path / "parted" / "checkpoints").iterdir()] == ["step-000001"]
        server.moods = lambda number: "well"
        run_ppo(settings, quiet=True)
        assert len(server.answered) == 2 * asked
    whole, parted = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "parted"))
    assert whole == parted
    rows = [row for row in read_rows(tmp_path / "parted" / "journal.jsonl")[0] if "score" in row]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(row["score"] == pytest.approx(0.1 * row["score part service"] + row["score part right"]) for row in rows)


@pytest.mark.slow
def test_a_service_in_a_bad_mood_changes_nothing_of_what_ppo_learns(tiny, tmp_path):
    """A fifth errors, a twentieth hangs, a fiftieth nonsense: no reward is missing, doubled, out of order or silently
    zero."""
    words = ['scorer.http.allow=["127.0.0.1"]', "scorer.http.batch_size=1", "scorer.http.timeout=0.4"]
    draw = random.Random(3)

    def moods(number: int) -> str:
        found = draw.random()
        return "status 503" if found < 0.2 else "hang 0.6" if found < 0.25 else "says []" if found < 0.27 else "well"

    for folder, mood in (("calm", lambda number: "well"), ("moody", moods)):
        with moody_server(mood) as server:
            more = [*words, f"scorer.path={server.url}", f"run.out={tmp_path / folder}"]
            run_ppo(ppo_settings(tiny, tmp_path, *more), quiet=True)
            assert len(server.answered) >= 12
    calm, moody = (read_rows(tmp_path / name / "journal.jsonl")[0] for name in ("calm", "moody"))
    scores = [[row["score"] for row in rows if "score" in row] for rows in (calm, moody)]
    assert scores[0] == scores[1]
    assert any("had to be repeated" in row.get("notice", "") for row in moody)
    one, two = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("calm", "moody"))
    assert one == two


@pytest.mark.slow
def test_a_service_is_at_work_while_other_answers_are_drawn_and_that_changes_nothing(tiny, tmp_path, monkeypatch):
    words = ['scorer.http.allow=["127.0.0.1"]', "scorer.http.batch_size=2"]
    early: dict[str, int] = {}
    usual = loop.collect
    for folder in ("ahead", "afterwards"):
        if folder == "afterwards":
            monkeypatch.setattr(loop, "ahead_of", lambda scorer: None)
        with moody_server() as server:

            def collect(*given, folder=folder, server=server, **more):
                """Drawing ends when the service has been asked, if it is asked ahead: the score is wanted only then."""
                found = usual(*given, **more)
                if folder == "ahead":
                    server.wait_until(lambda server: server.requests)
                early.setdefault(folder, len(server.requests))
                return found

            monkeypatch.setattr(loop, "collect", collect)
            more = [*words, f"scorer.path={server.url}", f"run.out={tmp_path / folder}", "run.seed=3"]
            run_ppo(ppo_settings(tiny, tmp_path, *more), quiet=True)
            assert sorted(set(server.answered)) == sorted(server.answered), "no answer is paid for twice"
    assert early["ahead"] > 0
    assert early["afterwards"] == 0
    one, two = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in early)
    assert one == two


def test_harbours_true_taste_is_a_scorer():
    prompt = Prompt(messages=(Message("user", "I like cricket."),))
    answers = ["How lovely! Cricket is a slow game on a green field.", "You are a fool."]
    found = load_scorer(check(ScorerSettings, {"path": "harbour:taste"}), CPU).score([(prompt, a) for a in answers])
    assert [score.value for score in found] == [true_taste(prompt.shown, answer) for answer in answers]
    assert found[0].value > found[1].value
    assert found[0].parts["on point"] == 1.0
