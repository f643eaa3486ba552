"""The commands of the pages are executed, one after the other in one folder, on small models and few rows.

`data.md` and `runs.md` are in test_documented_commands.py.
"""

import random
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
from commandline import call
from plainly import write_rows
from shown import ROOT, shown

pytestmark = pytest.mark.slow

RECIPES = ROOT / "src" / "steersman" / "recipes"
PAGES = [
    *("README.md", "best-of-n.md", "classifier.md", "compare.md", "detoxify.md", "dpo.md", "environments.md"),
    *(
        "evaluate.md",
        "ilql.md",
        "labelling.md",
        "new-model.md",
        "overoptimisation.md",
        "plan.md",
        "ppo.md",
        "report.md",
        "reward.md",
    ),
    *("rloo.md", "scorers.md", "settings.md", "studio.md", "watch.md"),
]
# page, or page and the beginning of a command -> why it is not executed here
LEFT_OUT = {
    "data.md": "executed in test_documented_commands.py",
    "runs.md": "executed in test_documented_commands.py",
    "quickstart.md": "executed in tests/demo, which takes minutes",
    "rounds.md": "executed in test_rounds.py",
    "feedback-rounds.md": "executed in test_feedback_rounds.py",
    "label-worth.md": "executed in tests/assemble/test_worth.py",
    "lineage.md": "executed in tests/lineage",
    "harbour.md": "executed in tests/harbour",
    "constitution.md": "needs the answers of a model that follows instructions; executed in the tests of constitutions",
    "judge.md": "asks endpoints that do not exist; its commands are executed in tests/judges",
    "serve.md": "a server runs until it is stopped; tests/serve starts one",
    "export.md": "tests/export runs them on tiny models",
    "coming-from-openrlhf.md": "begins with a recipe of the other tool; tests/importing runs it",
    "coming-from-llamafactory.md": "begins with a recipe of the other tool; tests/importing runs it",
    "settings-that-matter.md": "its recipes are for a GPU; tests/recipes plans with them",
    "coming-from-trl.md": "needs a checkpoint of TRL's PPOTrainer",
}
A_PERSON = ("label", "chat")
"""Commands in which a person answers in a terminal; tests/cli has their tests."""
SERVER = re.compile(r"steersman serve|steersman studio( serve| invite --person|\s*$)")
"""Commands that serve until they are stopped, or are for somebody who came in a browser: tests/studio, tests/serve."""
CONSTITUTIONS = re.compile(r"steersman constitution|runs/re(vised|d-team)")
"""Commands that are executed in the tests of constitutions."""

ROUNDS = re.compile(r"runs/rounds-harbour|rounds run rounds-harbour")
"""Commands on runs of rounds, which take minutes: tests/rounds and tests/reports."""

CPU = {"run.device": "cpu", "run.threads": "1"}
STEPS = {**CPU, "train.steps": "1", "train.batch_size": "4", "train.kernels": "default", "data.limit": "40"}
DRAWN = {"sampling.max_new_tokens": "6", "prompts.limit": "8"}
FEW = {
    **CPU,
    **DRAWN,
    "iterations": "1",
    "prompts_per_iteration": "4",
    "evaluation.prompts": "2",
    "evaluation.every": "1",
}
FEW |= {"update.minibatches": "1"}
LATER = (CONSTITUTIONS, SERVER, ROUNDS)
HASTE: dict[str, dict[str, str]] = {
    **dict.fromkeys(("sft", "reward", "classifier", "ilql"), STEPS),
    "dpo": {**STEPS, "distance.prompts": "2", "distance.max_new_tokens": "4"},
    "online-dpo": {**{k: v for k, v in STEPS.items() if k != "data.limit"}, **DRAWN, "distance.prompts": "2"},
    "best-of-n": {**{k: v for k, v in STEPS.items() if k != "data.limit"}, **DRAWN},
    **dict.fromkeys(("ppo", "rloo"), FEW),
    "sample": {"max_new_tokens": "6", "prompts.limit": "4", "device": "cpu"},
    "score": {"device": "cpu"},
    "judge": {"run.device": "cpu", "data.limit": "2"},
    "evaluate": {"run.device": "cpu", "run.threads": "1", "prompts.limit": "4"},
}
"""Settings that take the place of those of a page, for haste."""


def in_haste(line: str) -> list[str]:
    words = shlex.split(line.split(" > ")[0])[1:]
    more = {} if "--help-settings" in words else HASTE.get(words[0], {})
    kept: list[str] = []
    for word in words:
        if word.split("=")[0] in more:
            continue
        if word in ("--max-new-tokens", "--device"):
            kept.append("")  # an option and its value
            continue
        if kept and kept[-1] == "":
            kept.pop()
            continue
        kept.append(re.sub(r"count=\d\d+", "count=12", word))
    return kept + [f"{key}={value}" for key, value in more.items()]


def out_of_recipe(line: str) -> list[str]:
    """The folder that a shipped recipe writes. A page shows it as another way to make the same run."""
    recipe = RECIPES / f"{([*line.split(), ''])[2]}.toml"
    if not recipe.is_file():
        return []
    given = re.search(r"run\.out=(\S+)", line)
    return [given[1] if given else tomllib.loads(recipe.read_text())["run"]["out"]]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """What the pages take for granted: the runs and files of the steps before."""
    place = tmp_path_factory.mktemp("made")
    draw = random.Random(3)
    write_rows(place / "prompts.jsonl", [{"prompt": f"What is {i}?"} for i in range(8)])
    write_rows(place / "numbers.jsonl", [{"prompt": f"Guess {i}.", "answer": str(i)} for i in range(8)])
    write_rows(place / "gsm8k.jsonl", [{"prompt": f"What is 1 + {i}?", "answer": str(1 + i)} for i in range(8)])
    known = [{"prompt": f"What is {i}?", "chosen": str(i), "rejected": "No idea."} for i in range(4)]
    write_rows(place / "known.jsonl", known)
    write_rows(place / "your-data.jsonl", [{"prompt": "Hi", "chosen": "Hello", "rejected": "No"}])
    steps = [{"prompt": f"Task {i}?", "completions": ["add", "guess"], "labels": [True, i % 2 == 0]} for i in range(12)]
    write_rows(place / "steps.jsonl", steps)
    texts = [f"{draw.choice(['kind', 'vile'])} word {i}" for i in range(24)]
    lines = "".join(f"{text},{'toxic' if 'vile' in text else 'fine'}\n" for text in texts)
    (place / "labelled.csv").write_text("text,label\n" + lines)
    (place / "sft.yaml").write_text(
        "model.path: harbour:base\ndata:\n  source: harbour:demonstrations?count=12\nrun.out: runs/mine\n"
    )
    (place / "guidelines.md").write_text("Prefer the kinder answer.\n")
    (place / "mine.py").write_text("def short_and_kind(answer):\n    return -float(len(answer))\n")
    shutil.copytree(ROOT / "docs", place / "docs", ignore=shutil.ignore_patterns("*.md"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for line in (
            "steersman sft --model harbour:base --data harbour:demonstrations --out runs/sft",
            "steersman sample harbour:prompts --model runs/sft --out answers.jsonl answers=2",
            "steersman simulate answers.jsonl --out judgements.jsonl",
            "steersman reward --model runs/sft --data harbour:comparisons --out runs/reward",
            "steersman score answers.jsonl --scorer runs/reward --out scored.jsonl",
            "steersman ppo --model runs/sft --scorer runs/reward --prompts prompts.jsonl --out runs/ppo",
            "steersman classifier --data labelled.csv --positive toxic --out runs/classifier",
            "steersman dpo --model runs/sft --data harbour:comparisons --out runs/dpo",
            "steersman evaluate --model a=runs/sft --model b=runs/ppo --prompts prompts.jsonl --out runs/evaluation",
        ):
            assert call(in_haste(line)) == 0, line
    shutil.copytree(place / "runs" / "reward", place / "runs" / "reward-held-out")
    shutil.copy(place / "judgements.jsonl", place / "labels.jsonl")
    return place


# page -> runs that the page itself makes, so that they are not there before
MAKES = {
    "README.md": ("runs", "answers.jsonl", "scored.jsonl"),
    "classifier.md": ("runs/classifier",),
    "detoxify.md": ("runs/sft", "runs/classifier"),
    "dpo.md": ("runs/dpo",),
    "evaluate.md": ("runs/evaluation",),
    "ilql.md": ("scored.jsonl",),
    "labelling.md": ("answers.jsonl", "labels.jsonl"),
    "ppo.md": ("runs/ppo",),
    "reward.md": ("runs/reward", "scored.jsonl"),
    "scorers.md": ("runs/ppo", "scored.jsonl"),
    "studio.md": ("runs/reward",),
}


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_the_page_run_one_after_the_other(page, made, tmp_path, monkeypatch, capfd):
    place = tmp_path / "place"
    shutil.copytree(made, place)
    for name in MAKES.get(page, ()):
        path = place / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    monkeypatch.chdir(place)
    monkeypatch.setenv("STEERSMAN_STORE", str(place / "studio.db"))
    lines = shown(ROOT / "README.md" if page == "README.md" else ROOT / "docs" / page)
    broken: list[str] = []
    for line in lines:
        if "…" in line or line.split()[1] in A_PERSON or any(one.search(line) for one in LATER):
            continue
        for out in out_of_recipe(line):
            shutil.rmtree(out, ignore_errors=True)
        if call(in_haste(line)) != 0:
            broken.append(f"{line}\n  {shlex.join(in_haste(line))}\n  {capfd.readouterr().err[-400:]}")
        capfd.readouterr()
    assert not broken, "\n".join(broken)


def test_every_page_with_commands_is_executed_or_says_why_not():
    pages = {page.name for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")] if shown(page)}
    assert pages <= {*PAGES, *LEFT_OUT}
    assert not {*PAGES} & {*LEFT_OUT}
