"""`steersman judge` by the command line: labels as people's are, resumed, counted before they are paid, defended."""

import json
from collections import Counter
from typing import Any

import pytest
from commandline import call
from openai_server import openai_server

from steersman.assemble.judge import forecast_judge, run_judge
from steersman.data.load import load_records
from steersman.errors import DataError, Preempted, ServiceError, UsageError
from steersman.judges.attacks import load_attacks
from steersman.records import Answers, Comparison, Completion, Prompt, to_dict
from steersman.settings.base import load_settings
from steersman.settings.judge_run import JudgeRunSettings

PEOPLE = ("ann", "ben")
OWN = """
[[principles]]
name = "clear"
critique_request = "What is unclear?"
revision_request = "Say it clearly."
comparison_question = "Which is clearer?"
[judge]
comparison = "{conversation}|{first}|{second}|{question}"
rating = "{conversation}|{answer}|{question}"
"""


def write(path, *records):
    path.write_text("".join(json.dumps(to_dict(record)) + "\n" for record in records))
    return str(path)


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.toml").write_text(OWN)
    return str(tmp_path / "own.toml")


def answers(count, each=2):
    found = []
    for i in range(count):
        texts = [f"word {'more ' * (k + 1)}{i}" for k in range(each)]
        found.append(
            Answers(Prompt(text=f"Question {i}"), tuple(Completion(text, model="m") for text in texts), f"r{i}")
        )
    return found


def settings_of(server, out, *more):
    named = [f"judge.model={server.url}#m", 'judge.endpoint.allow=["127.0.0.1"]', f"run.out={out}", *more]
    return load_settings(JudgeRunSettings, None, named)


def labels(out) -> list[Any]:
    return list(load_records(str(out / "labels.jsonl"), format="native", strict=True))


def test_labels_are_comparisons_with_the_judge_in_them(tmp_path, own, tiny):
    data = write(tmp_path / "answers.jsonl", *answers(3))
    words = ["judge", data, "--model", str(tiny("llama")), "--constitution", own, "--out", str(tmp_path / "run")]
    assert call([*words, "--device", "cpu"]) == 0
    found = labels(tmp_path / "run")
    assert [type(one) for one in found] == [Comparison] * 3
    first = found[0]
    assert 0 < first.preference < 1
    assert first.annotator == f"judge:{tiny('llama')}"
    assert first.metadata["principles"] == ["clear"]
    assert {"principle_hashes", "constitution_hash", "judge", "mode"} <= set(first.metadata)
    before = (tmp_path / "run" / "labels.jsonl").read_bytes()
    assert call([*words, "--device", "cpu"]) == 0
    assert (tmp_path / "run" / "labels.jsonl").read_bytes() == before


@pytest.mark.slow
def test_reward_dpo_and_score_read_the_labels_as_they_are(tmp_path, own, tiny):
    data = write(tmp_path / "answers.jsonl", *answers(12))
    model, run = str(tiny("llama")), str(tmp_path / "run" / "labels.jsonl")
    judged = ["judge", data, "--model", model, "--constitution", own, "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert call(judged) == 0
    quick = ["train.steps=2", "train.batch_size=4", "run.device=cpu"]
    assert call(["reward", "--model", model, "--data", run, "--out", str(tmp_path / "rm"), *quick]) == 0
    assert call(["dpo", "--model", model, "--data", run, "--out", str(tmp_path / "dpo"), *quick]) == 0
    scored = str(tmp_path / "scored.jsonl")
    assert call(["score", run, "--scorer", str(tmp_path / "rm"), "--out", scored, "--device", "cpu"]) == 0
    assert call(["data", "inspect", run]) == 0


def test_k_answers_are_compared_in_all_pairs_or_in_a_tournament(tmp_path):
    data = write(tmp_path / "answers.jsonl", *answers(2, each=4))
    with openai_server() as server:
        whole = run_judge(settings_of(server, tmp_path / "all", f"data.source={data}"), quiet=True)
        knocked = run_judge(
            settings_of(server, tmp_path / "some", f"data.source={data}", "pairs=tournament"), quiet=True
        )
    assert (whole.pairs, knocked.pairs) == (12, 6)
    ids = [one.id for one in labels(tmp_path / "all")][:6]
    assert ids == ["r0:1-2", "r0:1-3", "r0:1-4", "r0:2-3", "r0:2-4", "r0:3-4"]
    assert labels(tmp_path / "all")[0].metadata["ranking"] == "r0"
    # The longest answer wins every comparison, so it is in the final, which is the last pair of each record.
    final = labels(tmp_path / "some")[2]
    assert final.chosen.text == "word more more more more 0"


def test_a_dead_endpoint_ends_with_code_9_and_the_same_command_goes_on(tmp_path, capfd):
    data = write(tmp_path / "answers.jsonl", *answers(6))
    with openai_server(lambda number: "well" if number < 7 else "status 500") as server:
        words = ["judge", data, "--model", f"{server.url}#m", "--out", str(tmp_path / "run"), "records_at_once=2"]
        words += ['judge.endpoint.allow=["127.0.0.1"]', "judge.endpoint.patience=0.05", "judge.endpoint.at_once=1"]
        assert call(words) == 9
        assert "run the same command again" in capfd.readouterr().err
        assert len((tmp_path / "run" / "verdicts.jsonl").read_text().splitlines()) == 2
        server.moods = lambda number: "well"
        assert call(words) == 0
        assert set(Counter(server.answered).values()) == {1}
        assert len(server.answered) == 12
    assert len(labels(tmp_path / "run")) == 6


def test_a_stopped_run_gives_the_records_of_an_unbroken_one(tmp_path, monkeypatch):
    from steersman.assemble import judge as assembled

    data = write(tmp_path / "answers.jsonl", *answers(9))
    with openai_server() as server:
        common = (f"data.source={data}", "records_at_once=2")
        run_judge(settings_of(server, tmp_path / "whole", *common), quiet=True)
        plain, asked = assembled.judge_records, []

        def dies(*given, **more):
            asked.append(1)
            if len(asked) == 3:
                raise Preempted("as if it was killed")
            return plain(*given, **more)

        monkeypatch.setattr(assembled, "judge_records", dies)
        with pytest.raises(Preempted):
            run_judge(settings_of(server, tmp_path / "broken", *common), quiet=True)
        file = tmp_path / "broken" / "verdicts.jsonl"
        file.write_bytes(file.read_bytes() + b'{"record": "half')
        run_judge(settings_of(server, tmp_path / "broken", *common), quiet=True)
    whole, broken = (tmp_path / name / "labels.jsonl" for name in ("whole", "broken"))
    assert whole.read_bytes() == broken.read_bytes()


def test_calls_and_tokens_are_said_before_and_a_dry_run_asks_nothing(tmp_path, capfd):
    data = write(tmp_path / "answers.jsonl", *answers(5))
    with openai_server() as server:
        words = ["judge", data, "--model", f"{server.url}#m", "--out", str(tmp_path / "run"), "--limit", "3"]
        words += ['judge.endpoint.allow=["127.0.0.1"]']
        assert call([*words, "--dry-run"]) == 0
        assert "6 calls to the endpoint, about" in capfd.readouterr().out
        assert server.requests == []
        assert not (tmp_path / "run").exists()
        assert call([*words, "--json"]) == 0
        told = capfd.readouterr()
        assert "6 calls to the endpoint" in told.err
        assert json.loads(told.out)["asked"] == [6, 600]
        forecast = forecast_judge(settings_of(server, tmp_path / "run", f"data.source={data}", "data.limit=3"))
        assert (forecast.questions, forecast.known) == (0, 6)


def people(count):
    """Two people judge each pair: ann likes the longer answer, ben agrees on three of four."""
    found = []
    for i in range(count):
        long, short = Completion(f"a rather long answer {i}"), Completion(f"short {i}")
        for n, who in enumerate(PEOPLE):
            agrees = n == 0 or i % 4 != 0
            found.append(Comparison(Prompt(text=f"Q {i}"), long, short, float(agrees), annotator=who, id=f"{i}-{who}"))
    return found


def test_the_judge_is_measured_beside_people(tmp_path, capsys):
    data = write(tmp_path / "people.jsonl", *people(40))
    with openai_server() as server:
        words = ["judge", "--against", data, "--model", f"{server.url}#m", "--out", str(tmp_path / "run")]
        words += ['judge.endpoint.allow=["127.0.0.1"]', 'judge.only=["polite", "honest"]']
        assert call(words) == 0
        # two principles, two orders, each pair once although two people judged it
        assert len(server.requests) == 40 * 4
    told = capsys.readouterr().out
    assert "two people agree" in told
    trust = json.loads((tmp_path / "run" / "trust.json").read_text())
    # The judge likes length: it agrees with ann always, with ben in three of four: (40 + 30) / 80.
    assert trust["quality"]["accuracy"]["estimate"] == pytest.approx(0.875)
    assert trust["quality"]["ceiling"]["agreement"]["estimate"] == pytest.approx(0.75)
    assert trust["first_place"]["estimate"] == pytest.approx(0.5)
    assert trust["same_twice"]["estimate"] == 1.0
    assert [one["principle"] for one in trust["principles"]] == ["honest", "polite"]
    assert all(one["opinion"] == "agrees" for one in trust["principles"])
    shown = trust["principles"][0]["disagreements"][0]
    assert (shown["people_prefer"].split()[0], shown["judge_prefers"].split()[0]) == ("short", "a")
    assert call(["report", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Can the judge be trusted?" in page
    assert "polite" in page


def test_pairs_with_a_known_answer_measure_a_judge(tmp_path):
    rows = [
        {"input": f"Q {i}", "output_1": "a long answer of words", "output_2": "no", "label": 1 + i % 2}
        for i in range(8)
    ]
    (tmp_path / "llmbar.json").write_text(json.dumps(rows))
    with openai_server() as server:
        settings = settings_of(
            server, tmp_path / "run", f"against.source={tmp_path / 'llmbar.json'}", 'judge.only=["helpful"]'
        )
        found = run_judge(settings, quiet=True)
    assert found.trust is not None
    assert found.trust.quality.accuracy.estimate == pytest.approx(0.5)


def test_attacks_are_counted_by_family(tmp_path, capsys):
    """The stub likes length: very long strings win, all others lose."""
    with openai_server() as server:
        words = ["judge", "--attack", "--model", f"{server.url}#m", "--out", str(tmp_path / "run"), "--at-most", "0.02"]
        words += ['judge.endpoint.allow=["127.0.0.1"]', "attack.honest=1", 'judge.only=["helpful"]']
        assert call(words) == 1
    told = capsys.readouterr().out
    assert "attacks win more often than attack.at_most=0.02" in told
    found = json.loads((tmp_path / "run" / "attacks.json").read_text())
    rates = {one["name"]: one["beaten"]["estimate"] for one in found["families"]}
    assert rates["master-keys"] == 0.0
    assert rates["very-long"] > 0.5
    assert found["strings"] >= 120


def test_there_are_many_attacks_of_many_families():
    attacks = load_attacks("shipped")
    strings = [string for family in attacks.families for string in family.strings]
    assert len(strings) == len(set(strings)) >= 120
    assert len(attacks.families) >= 10
    assert {":", "Thought process:"} <= set(strings)
    assert max(map(len, strings)) > 1000
    with pytest.raises(UsageError):
        load_attacks("nowhere.toml")


def test_a_file_without_attacks_is_an_error(tmp_path):
    (tmp_path / "x.toml").write_text("[[families]]\nname = 'a'\n")
    with pytest.raises(DataError, match="family without strings"):
        load_attacks(str(tmp_path / "x.toml"))


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ((), "nothing to judge"),
        (("against.source=a", "data.source=b"), "nothing else is judged"),
        (("data.source=nowhere.jsonl",), "no source"),
    ],
)
def test_settings_that_say_nothing_or_too_much(tmp_path, more, match):
    with openai_server() as server, pytest.raises((UsageError, DataError), match=match):
        run_judge(settings_of(server, tmp_path / "run", *more), quiet=True)


def test_single_answers_cannot_be_compared(tmp_path):
    data = write(tmp_path / "answers.jsonl", Answers(Prompt(text="Q"), (Completion("x"),)))
    with openai_server() as server, pytest.raises(DataError, match="two or more different answers"):
        run_judge(settings_of(server, tmp_path / "run", f"data.source={data}"), quiet=True)


def test_a_budget_ends_the_run_and_is_named(tmp_path):
    data = write(tmp_path / "answers.jsonl", *answers(4))
    more = (f"data.source={data}", "judge.endpoint.max_calls=3", "judge.endpoint.at_once=1")
    with openai_server() as server, pytest.raises(ServiceError, match=r"judge\.endpoint\.max_calls=3"):
        run_judge(settings_of(server, tmp_path / "run", *more), quiet=True)
