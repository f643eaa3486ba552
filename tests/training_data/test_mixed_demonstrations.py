"""Demonstrations mixed from several sources, each with its share of the rows."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plainly import demonstration, write_rows

from steersman.assemble.sft import run_sft
from steersman.errors import UsageError
from steersman.runs.journal import read_rows
from steersman.settings.base import load_settings
from steersman.settings.sft import SftSettings
from steersman.training_data.demonstrations import mixed_places


def test_shares_worked_by_hand():
    # 60 rows are 60 % of 100, so `a` has 30 of them (all ten rows three times) and `b` 10 of its 50
    places = mixed_places(60, {"a": 10, "b": 50}, {"a": 0.3, "b": 0.1}, seed=1)
    assert Counter(of for of, _ in places) == {"": 60, "a": 30, "b": 10}
    assert Counter(place for of, place in places if of == "a") == dict.fromkeys(range(10), 3)
    assert len({place for of, place in places if of == "b"}) == 10
    assert [place for of, place in places if of == ""] == list(range(60))


@given(st.integers(1, 50), st.integers(1, 50), st.floats(0.01, 0.95), st.integers(0, 3))
def test_no_row_comes_twice_more_often_than_another(own: int, size: int, share: float, seed: int):
    places = mixed_places(own, {"a": size}, {"a": share}, seed=seed)
    assert places == mixed_places(own, {"a": size}, {"a": share}, seed=seed)
    counts = Counter(place for of, place in places if of == "a")
    often = [counts[place] for place in range(size)]
    assert max(often) - min(often) <= 1
    assert len(places) - own == max(1, round(own / (1 - share) * share))


def test_shares_that_leave_nothing_are_refused():
    given_ = ["model.path=m", "data.source=d", "run.out=o"]
    with pytest.raises(UsageError, match=r"the shares of mix add up to 1.1, which leaves nothing to data"):
        load_settings(SftSettings, None, [*given_, *(f"mix.{n}.{k}" for n in "ab" for k in ("source=s", "share=0.55"))])
    with pytest.raises(UsageError, match=r"unknown setting .mix\.a\.sahre."):
        load_settings(SftSettings, None, [*given_, "mix.a.source=s", "mix.a.share=0.5", "mix.a.sahre=1"])


@pytest.mark.slow
def test_a_run_learns_of_both_and_names_them(tiny, tmp_path):
    revised = write_rows(tmp_path / "revised.jsonl", [demonstration(f"Tell {i}.", "friend") for i in range(6)])
    helpful = [demonstration(f"Say {i}.", "dog") for i in range(9)]
    other = write_rows(tmp_path / "helpful.jsonl", [*helpful, {"nothing": 1}])

    def settings(*more: str) -> SftSettings:
        given_ = [
            *(
                f"model.path={tiny('llama')}",
                f"data.source={revised}",
                "data.held_out=none",
                f"run.out={tmp_path / 'run'}",
            ),
            *("train.steps=2", "train.batch_size=4", "train.kernels=default", "run.threads=1", "run.device=cpu"),
            *(f"mix.helpful.source={other}", "mix.helpful.share=0.25"),
        ]
        return load_settings(SftSettings, None, [*given_, *more])

    run_sft(settings(), quiet=True)
    notices = [str(row.get("notice")) for row in read_rows(tmp_path / "run" / "journal.jsonl")[0]]
    assert any("2 of 8 rows are of the mix 'helpful', which has 9" in words for words in notices)
    assert any("1 bad rows are in" in words and "quarantine-helpful.jsonl" in words for words in notices)
    stamp = json.loads((tmp_path / "run" / "stamp.json").read_text())
    assert set(stamp["data"]) == {"train", "mix helpful"}
    write_rows(tmp_path / "helpful.jsonl", helpful[:3])
    with pytest.raises(UsageError, match="mix helpful"):
        run_sft(settings("train.steps=3", "run.extend=true"), quiet=True)
