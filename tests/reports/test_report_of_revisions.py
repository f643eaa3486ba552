"""A run of critique and revision as a report: the counts, revised answers with their changes, and what went wrong."""

import json
from pathlib import Path

from plainly import write_rows

from steersman.assemble.report import write_report
from steersman.records import Completion, Critique, Message, Prompt, to_dict
from steersman.reports.critiques import critiques_of, revision_headline
from steersman.reports.facts import commands_of
from steersman.reports.reading import read_run


def row(i: int, **more: object) -> dict:
    prompt = Prompt((Message("user", f"Hello {i}"),))
    given = {"principle": "polite", "model": "runs/sft", "final": True, **more}
    critique = Critique(
        prompt, Completion("Go away."), critique="It is rude.", revision=Completion("Please go."), **given
    )  # pyright: ignore[reportArgumentType]
    return to_dict(critique)


def a_run(tmp_path: Path) -> Path:
    folder = tmp_path / "revised"
    (folder / "critiques").mkdir(parents=True)
    (folder / "stamp.json").write_text(
        json.dumps({"kind": "revise", "command": ["steersman", "constitution", "revise"]})
    )
    (folder / "recipe.toml").write_text('model = "runs/sft"\n')
    (folder / "ending.json").write_text('{"state": "finished", "step": 4, "why": "finished", "time": 1}')
    (folder / "journal.jsonl").write_text('{"step": 4, "time": 1, "rows": 4}\n')
    wrong = [row(2, status="critique: empty", final=False), row(3, status="revision: unchanged", final=False)]
    write_rows(folder / "critiques" / "batch-00000.jsonl", [row(0), row(1)])
    write_rows(folder / "critiques" / "batch-00001.jsonl", [*wrong, {"kind": "unheard of"}])
    return folder


def test_the_page_has_the_counts_the_revisions_and_what_went_wrong(tmp_path):
    folder = a_run(tmp_path)
    run = read_run(folder)
    assert revision_headline(run) == (
        "Critique and revision: 2 of 4 answers have a usable revision; 1 revisions changed nothing, and 1 texts could "
        "not be used."
    )
    counts, revised, wrong = critiques_of(run)
    gauges, facts, bad = counts.parts
    assert [(one.name, one.text) for one in gauges.gauges] == [  # pyright: ignore[reportAttributeAccessIssue]
        ("usable", "2 of 4 (50.0 %)"),
        ("critique: empty", "1 of 4 (25.0 %)"),
        ("revision: unchanged", "1 of 4 (25.0 %)"),
    ]
    assert facts.facts == (("polite", "4 drawn: 2 usable, 1 unchanged, 1 malformed"),)  # pyright: ignore[reportAttributeAccessIssue]
    assert bad.text == "1 lines cannot be read and are left out."  # pyright: ignore[reportAttributeAccessIssue]
    example = revised.parts[0].examples[0]  # pyright: ignore[reportAttributeAccessIssue]
    assert example.why == "polite, round 1. Critique: It is rude."
    new = [piece.text for piece in example.answers[1].text if piece.own]
    assert "Please" in "".join(new)
    assert [one.answers[1].mark.word for one in wrong.parts[0].examples] == [  # pyright: ignore[reportAttributeAccessIssue]
        "critique: empty",
        "revision: unchanged",
    ]


def test_the_report_command_makes_the_page(tmp_path):
    folder = a_run(tmp_path)
    found = write_report([str(folder)], out=None)
    assert found.headline.startswith("Critique and revision: 2 of 4")
    assert "Revised answers" in found.sections
    page = (folder / "report.html").read_text()
    assert "It is rude." in page
    assert ("steersman constitution revise " + str(folder / "recipe.toml")) in commands_of(folder, {"kind": "revise"})[
        0
    ][0]


def test_a_run_without_rows_yet_has_a_page(tmp_path):
    folder = a_run(tmp_path)
    for path in (folder / "critiques").iterdir():
        path.unlink()
    (section,) = critiques_of(read_run(folder))
    assert section.parts[0].text == "There are none yet."  # pyright: ignore[reportAttributeAccessIssue]
