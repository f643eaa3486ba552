"""The published files themselves, where somebody has them: STEERSMAN_SHARED_DATA names the folder that holds them."""

import os
from pathlib import Path

import pytest

from steersman.data.load import ReadReport, load_records

FOLDER = Path(os.environ.get("STEERSMAN_SHARED_DATA", "/nowhere"))
FILES = {
    "hh-rlhf/harmless-base-test.jsonl.gz": ("hh-rlhf", 2312, {"comparison": 2308}, {"empty answer": 4}),
    "llamafactory-demo/alpaca_en_demo.json": ("alpaca", 999, {"demonstration": 999}, {}),
    "llamafactory-demo/dpo_en_demo.json": ("sharegpt-preference", 299, {"comparison": 299}, {}),
    "llamafactory-demo/kto_en_demo.json": ("messages-label", 300, {"label": 300}, {}),
    "llmbar/natural.json": ("llmbar", 100, {"comparison": 100}, {}),
    "llmbar/adversarial_Neighbor.json": ("llmbar", 134, {"comparison": 134}, {}),
    "llmbar/adversarial_GPTInst.json": ("llmbar", 92, {"comparison": 92}, {}),
    "llmbar/adversarial_GPTOut.json": ("llmbar", 47, {"comparison": 47}, {}),
    "llmbar/adversarial_Manual.json": ("llmbar", 46, {"comparison": 46}, {}),
    "mt-bench/question.jsonl": ("mt-bench", 80, {"prompt": 80}, {}),
    "mt-bench/judge_prompts.jsonl": ("judge-prompts", 8, {"prompt": 8}, {}),
    "self-instruct/seed_tasks.jsonl": ("self-instruct", 175, {"demonstration": 175}, {}),
    "self-instruct/user_oriented_instructions.jsonl": ("self-instruct", 252, {"demonstration": 252}, {}),
    "xstest/xstest_prompts.csv": ("xstest", 450, {"prompt": 450}, {}),
    "hate-speech-davidson/labeled_data.csv": ("davidson", 24783, {"classified": 24783}, {}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_loads_without_an_unexplained_row(name):
    if not (FOLDER / name).exists():
        pytest.skip("set STEERSMAN_SHARED_DATA to the folder that holds it")
    form, rows, kinds, reasons = FILES[name]
    report = ReadReport()
    for _ in load_records(str(FOLDER / name), report=report):
        pass
    assert list(report.formats.values()) == [form]
    assert (report.rows, dict(report.kinds), dict(report.reasons), dict(report.left_out)) == (rows, kinds, reasons, {})
