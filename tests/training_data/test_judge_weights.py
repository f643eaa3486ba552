"""Labels of people and of AI judges in one reward run, each with its weight, and what each contributed."""

import json
from collections import Counter

import pytest
from commandline import call

from steersman.errors import UsageError
from steersman.records import Comparison, Completion, Prompt, Ranking, to_dict
from steersman.settings.base import load_settings
from steersman.settings.reward import RewardSettings
from steersman.training_data.judgements import JudgeWeights, groups_of, words_of_shares


def pair(i, who, preference=1.0):
    return Comparison(Prompt(text=f"Q {i}"), Completion("good"), Completion("bad"), preference, annotator=who)


def weighed(given, *records):
    weights = JudgeWeights(given)
    groups = [weights.weighted(one, 0) for one in groups_of(records, ties="soft", left_out=Counter(), thumbs=True)]
    for group in groups:
        weights.count(group)
    return weights, groups


def test_each_kind_has_its_weight_and_a_name_of_its_own_goes_first():
    ranking = Ranking(Prompt(text="R"), tuple(map(Completion, "abc")), (1, 2, 3), annotator="ann")
    records = (pair(1, "ann"), pair(2, "judge:m", 0.7), pair(3, "judge:other", 0.7), ranking)
    weights, groups = weighed({"judges": 0.5, "judge:other": 0.25}, *records)
    assert [[p[4] for p in group.pairs] for group in groups] == [[1.0], [0.5], [0.25], pytest.approx([1 / 3] * 3)]
    # 1 + 0.5 + 0.25 + 1 = 2.75
    shares = {one.who: one for one in weights.shares()}
    assert (shares["people"].judgements, shares["people"].pairs) == (2, 4)
    assert shares["people"].weight == pytest.approx(2 / 2.75)
    assert shares["judges"].weight == pytest.approx(0.5 / 2.75)
    assert words_of_shares(weights.shares()) == [
        "learned from people 2 judgements with 72.7% of the weight; judges 1 judgements with 18.2% of the weight; "
        "judge:other 1 judgements with 9.1% of the weight"
    ]


def test_a_source_has_its_weight_beside_that_of_who_judged():
    weights = JudgeWeights({"judges": 0.5}, (1.0, 0.25))
    records = ((0, pair(1, "ann")), (1, pair(2, "ann")), (1, pair(3, "judge:m", 0.7)))
    found = [
        weights.weighted(group, source).pairs[0][4]
        for source, record in records
        for group in groups_of([record], ties="soft", left_out=Counter(), thumbs=True)
    ]
    # the judge's pair of the second source: 0.5 * 0.25
    assert found == [1.0, 0.25, 0.125]


def test_each_source_needs_a_weight():
    words = ["model.path=m", "data.source=d", 'data.more=["e", "f"]', "run.out=o", "data.source_weights=[1, 0.5]"]
    with pytest.raises(UsageError, match=r"data\.source_weights has 2 weights for 3 sources"):
        load_settings(RewardSettings, None, words)


def test_judgements_of_people_alone_need_no_sentence():
    weights, groups = weighed({}, pair(1, "ann"))
    assert groups[0].pairs[0][4] == 1.0
    assert words_of_shares(weights.shares()) == []


def test_a_weight_of_nobody_is_an_error():
    weights, _ = weighed({"judges": 0.5}, pair(1, "ann"))
    with pytest.raises(UsageError, match=r"data\.weights names judges, and nobody of that name judged"):
        weights.refuse_unused()


def test_a_weight_is_a_number_above_0():
    with pytest.raises(UsageError, match="weights"):
        load_settings(RewardSettings, None, ["model.path=m", "data.source=d", "run.out=o", "data.weights.judges=0"])


def test_two_files_are_learned_from_and_the_report_says_so(tmp_path, tiny, capfd):
    def write(name, who, start):
        rows = [json.dumps(to_dict(pair(i, who, 0.8))) for i in range(start, start + 30)]
        (tmp_path / name).write_text("\n".join(rows) + "\n")
        return tmp_path / name

    people, judges = write("people.jsonl", "ann", 0), write("judges.jsonl", "judge:m", 100)
    words = ["reward", "--model", str(tiny("llama")), "--data", str(people), "--out", str(tmp_path / "run")]
    words += [f'data.more=["{judges}"]', "data.weights.judges=0.5", "data.held_out=0.2", "train.steps=1"]
    assert call([*words, "run.device=cpu"]) == 0
    assert "learned from people" in capfd.readouterr().err
    found = json.loads((tmp_path / "run" / "quality.json").read_text())["contributed"]
    assert [one["who"] for one in found] == ["people", "judges"]
    assert found[0]["weight"] / found[1]["weight"] == pytest.approx(2 * found[0]["pairs"] / found[1]["pairs"])
