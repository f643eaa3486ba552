"""A run is opened for its report in every layout, with a critic and without: what is measured anew agrees with
itself."""

import json
import re
from pathlib import Path

import pytest
from devtools import browsing
from plainly import write_rows

import steersman
from steersman.assemble.report import write_report

pytestmark = pytest.mark.slow

LAYOUTS = {
    "adapters": {"layout": "adapters", "model.lora": {"rank": 4}},
    "adapters-own-critic": {"layout": "adapters-own-critic", "model.lora": {"rank": 4}},
    "shared": {"layout": "shared"},
    "separate": {"layout": "separate"},
    "rloo": {"layout": "shared", "advantage": {"estimator": "rloo"}},
}


@pytest.fixture
def files(tmp_path) -> Path:
    words = ("What is a dog?", "I like cricket.", "Why is exercise good?", "Hello", "So it is", "Tell me a story.")
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": text} for text in words])
    write_rows(tmp_path / "held-out.jsonl", [{"prompt": f"{text} Or not?"} for text in words])
    (tmp_path / "vowels.py").write_text(
        "def vowels(prompt, answer):\n    return 0.2 * sum(answer.count(letter) for letter in 'aeiou')\n"
    )
    return tmp_path


def run(files: Path, layout: str, **more) -> Path:
    usual = {
        "prompts_per_iteration": 4,
        "sampling": {"max_new_tokens": 6},
        "update": {"epochs": 2, "minibatches": 2},
        "optimiser": {"learning_rate": 1e-3},
        "compute": {"kernels": "default"},
        "run": {"device": "cpu", "threads": 1},
        "prompts.held_out": str(files / "held-out.jsonl"),
    }
    chosen = {**LAYOUTS[layout], **more}
    if layout == "rloo":
        chosen["samples_per_prompt"] = 2
    steersman.ppo(
        model="harbour:base",
        prompts=files / "prompts.jsonl",
        reward=f"{files}/vowels.py:vowels",
        out=files / "run",
        iterations=2,
        quiet=True,
        **{**usual, **chosen},
    )
    return files / "run"


def entries(path: str) -> list[dict]:
    found = re.search(r'<script type="application/json">(.*?)</script>', Path(path).read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_opened_and_measured(files, layout, tmp_path):
    folder = run(files, layout)
    made = write_report([str(folder)], out=None, prompts=["What is a dog?"])
    assert made.sections[0] == "Before and after"
    now = [entry for entry in entries(made.out) if entry["label"].startswith("now")]
    assert now
    for entry in now:
        assert entry["score"] == pytest.approx(0.2 * sum(entry["answer"].count(letter) for letter in "aeiou"))
        assert ("values" in entry["columns"]) == (layout != "rloo")
        # The value head begins at zero: other values are those that the run has learned.
        assert layout == "rloo" or any(value != 0.0 for value in entry["columns"]["values"])
        for place, paths in entry["alternatives"].items():
            taken = next(path for path in paths if path["taken"])
            # Every path's own words are scored by the run's own scorer, from the answer's beginning.
            start = "".join(entry["tokens"][: int(place)])
            for path in paths:
                for one in path["paths"]:
                    text = start + (path["text"] if path["text"] != "∎" else "") + one["text"]
                    assert one["score"] == pytest.approx(0.2 * sum(text.count(letter) for letter in "aeiou"), abs=1e-3)
            after = int(place) + 1
            if layout != "rloo" and after < len(entry["tokens"]):
                assert taken["value"] == pytest.approx(entry["columns"]["values"][after], abs=1e-3)
    with browsing(tmp_path / "browser") as page:
        page.open(Path(made.out))
        assert page.complaints == []
        names = page.ask("[...document.querySelectorAll('.scope input')].map(one => one.value)")
        assert ("values" in names) == (layout != "rloo")
        assert {"rewards", "kl", "advantages", "ratio", "entropies"} <= set(names)
