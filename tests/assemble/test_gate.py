"""`steersman gate`: judgements of annotators who can be relied on pass."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from commandline import call

from steersman.assemble.gate import GateResult, run_gate
from steersman.data.load import load_records
from steersman.errors import GateRefused, UsageError
from steersman.records import Comparison, to_dict
from steersman.settings.base import load_settings
from steersman.settings.gate import GateSettings


@pytest.fixture(scope="module")
def labels(tmp_path_factory) -> Path:
    """Judgements of six annotators, one of whom is random."""
    folder = tmp_path_factory.mktemp("labels")
    whole, spoilt = folder / "whole.jsonl", folder / "labels.jsonl"
    assert call(["simulate", "harbour:answers?count=150", "overlap=1", "--out", str(whole)]) == 0
    chance = random.Random(0)
    rows = [one for one in load_records(str(whole)) if isinstance(one, Comparison)]
    rows = [
        replace(one, preference=float(chance.random() < 0.5)) if one.annotator == "annotator-3" else one for one in rows
    ]
    spoilt.write_text("".join(json.dumps(to_dict(one)) + "\n" for one in rows))
    return spoilt


def gated(labels: Path, out: Path, *words: str) -> GateResult:
    return run_gate(load_settings(GateSettings, None, [f"data.source={labels}", f"out={out}", *words]), quiet=True)


def test_judgements_of_an_annotator_with_a_fault_are_left_out(labels, tmp_path):
    result = gated(labels, tmp_path / "passed.jsonl")
    kept = list(load_records(str(tmp_path / "passed.jsonl")))
    assert result.left_out == ("annotator-3",)
    assert (result.read, result.kept, len(kept)) == (900, 750, 750)
    assert {one.annotator for one in kept if isinstance(one, Comparison)} == {f"annotator-{n}" for n in (1, 2, 4, 5, 6)}


def test_they_may_be_kept_or_the_file_refused(labels, tmp_path):
    assert gated(labels, tmp_path / "kept.jsonl", "faulty=keep").kept == 900
    with pytest.raises(GateRefused, match=r"annotator-3 agrees with the others' consensus"):
        gated(labels, tmp_path / "refused.jsonl", "faulty=refuse")
    assert not (tmp_path / "refused.jsonl").exists()


def test_too_little_agreement_and_too_few_judgements_are_refused(labels, tmp_path):
    with pytest.raises(GateRefused, match=r"two annotators agree in \d\d\.\d% .* expected 90.0%"):
        gated(labels, tmp_path / "a.jsonl", "least_agreement=0.9")
    with pytest.raises(GateRefused, match=r"750 judgements pass; expected 800.*Collect 50 more"):
        gated(labels, tmp_path / "b.jsonl", "least_judgements=800")


def test_the_command_says_who_and_why_and_ends_with_code_10_where_it_refuses(labels, tmp_path, capsys):
    assert call(["gate", str(labels), "--out", str(tmp_path / "c.jsonl")]) == 0
    said = capsys.readouterr().out
    assert "750 of 900 judgements" in said
    assert "annotator-3: 150 judgements, " in said
    assert "(left out)" in said
    assert call(["gate", str(labels), "faulty=refuse", "--out", str(tmp_path / "d.jsonl")]) == 10
    assert call(["gate", str(labels), "--out", str(labels)]) == 2
    assert call(["gate", str(labels), "--out", str(tmp_path / "c.jsonl"), "--force", "--json"]) == 0
    capsys.readouterr()


def test_nothing_is_overwritten(labels, tmp_path):
    gated(labels, tmp_path / "e.jsonl")
    with pytest.raises(UsageError, match="exists already"):
        gated(labels, tmp_path / "e.jsonl")
