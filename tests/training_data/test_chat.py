"""How prompts reach a model is decided once, said with an example, and saved with the model."""

import json
import re
from pathlib import Path

import pytest
from forked import run_command
from transformers import AutoTokenizer

from steersman.execution.recorded import as_recorded
from steersman.models.tiny import tiny_tokeniser, write_tiny_model
from steersman.records import Completion, Demonstration, Document, Message, Prompt
from steersman.runs.folder import RunFolder
from steersman.runs.manifest import MANIFEST
from steersman.settings.base import load_settings
from steersman.settings.sft import SftSettings
from steersman.text.plain_template import PLAIN_TEMPLATE
from steersman.training_data.chat import settle_template

PLAIN, ASKED = Prompt(text="Hi"), Prompt(messages=(Message("user", "Hi"),))
SAID = [
    (True, "auto", PLAIN, "user messages in the chat template (template=none", r"'<|user|>Hi\n<|assistant|>'"),
    (True, "chat", PLAIN, "user messages in the chat template (template=none", r"'<|user|>Hi\n<|assistant|>'"),
    (True, "none", Prompt(text="Hi", continued=True), "as they are, without the chat template", "'Hi'"),
    (True, "auto", Prompt(text="<|user|>Hi"), "begin with a control token", "'<|user|>Hi'"),
    (True, "auto", ASKED, "prompts are messages in the chat template.", r"'<|user|>Hi\n<|assistant|>'"),
    (False, "auto", PLAIN, "continued as they are: the model has no chat template.", "'Hi'"),
    (False, "chat", PLAIN, "gets Steersman's, which is saved with it", r"'Human: Hi\n\nAssistant:'"),
    (False, "auto", ASKED, "gets Steersman's, which is saved with it", r"'Human: Hi\n\nAssistant:'"),
    (
        False,
        "auto",
        Demonstration(ASKED, Completion("Yes.")),
        "gets Steersman's, which is saved with it",
        r"'Human: Hi\n\nAssistant: Yes.<|end|>'",
    ),
    (True, "auto", Document("A dog."), "texts are learned whole", "'A dog.<|end|>'"),
]


@pytest.mark.parametrize(("chat", "template", "record", "words", "example"), SAID)
def test_a_run_says_how_its_prompts_are_read_and_shows_one(chat, template, record, words, example):
    said: list[str] = []
    tokeniser = tiny_tokeniser(chat=chat)
    settle_template(template, tokeniser, [record, ASKED], said.append)
    (one,) = said
    assert words in one
    assert one.endswith(f"The first, as the model reads it: {example}")
    assert (tokeniser.chat_template == PLAIN_TEMPLATE) == ("Steersman's" in one)


def test_a_long_example_is_shortened_in_the_middle():
    said: list[str] = []
    settle_template("auto", tiny_tokeniser(), [Prompt(text="long " * 1000)], said.append)
    assert len(said[0]) < 600
    assert " … " in said[0]


def test_nothing_is_said_of_no_rows():
    settle_template("auto", tiny_tokeniser(), [], pytest.fail)


def settings(*more: str) -> SftSettings:
    return load_settings(SftSettings, None, ["model.path=m", "data.source=d", "run.out=o", *more])


def test_a_run_begun_before_the_setting_keeps_what_it_did(tmp_path):
    def begun(text: str, *more: str) -> str:
        (tmp_path / "recipe.toml").write_text(text)
        return as_recorded(settings(*more), RunFolder(tmp_path)).data.template

    assert as_recorded(settings(), RunFolder(tmp_path)).data.template == "auto"  # a new folder
    assert begun('[data]\nsource = "d"\n') == "none"
    assert begun('[data]\nsource = "d"\n', "data.template=chat") == "chat"  # refused later, by its name
    assert begun('[data]\nsource = "d"\ntemplate = "auto"\n') == "auto"


def write_rows(path: Path) -> Path:
    rows = [{"prompt": f"What is {n} and {n}?", "completion": f"It is {2 * n}."} for n in range(24)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.slow
def test_sft_of_a_chat_model_on_plain_rows_goes_through_its_template(tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl")
    words = ["sft", "--model", "tiny:llama", "--data", str(rows), "--out", "run", "--device", "cpu", "train.steps=1"]
    ended = run_command(words, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("The first, as the model reads it") == 1
    assert re.search(r"'<\|user\|>What is (\d+) and \1\?\\n<\|assistant\|>It is \d+\.<\|end\|>'", ended.stderr)
    recipe = tmp_path / "run" / "recipe.toml"
    assert 'template = "auto"' in recipe.read_text()
    # The folder of a run of before the setting: its rows were continued, and the same command goes on with that.
    recipe.write_text(recipe.read_text().replace('template = "auto"\n', ""))
    (tmp_path / "run" / "ending.json").unlink()
    again = run_command(words, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert re.search(r"'What is (\d+) and \1\?It is \d+\.<\|end\|>'", again.stderr)
    assert 'template = "none"' in recipe.read_text()


@pytest.mark.slow
def test_a_model_without_a_template_is_saved_with_ours(tmp_path):
    base = write_tiny_model(tmp_path / "base", "llama", chat=False)
    rows = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "Yes."}]}
        for n in range(24)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["--model", str(base), "--data", "rows.jsonl", "--device", "cpu", "train.steps=1"]
    ended = run_command(["sft", *given, "--out", "run"], cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "gets Steersman's, which is saved with it" in ended.stderr
    saved = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert saved.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    ) == ("Human: Hi\n\nAssistant:")


@pytest.mark.slow
def test_a_reward_model_scores_plain_prompts_as_it_was_trained(tmp_path):
    from steersman.reward.model import open_reward_scorer

    rows = [{"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "Go away."} for n in range(24)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = {}
    for template in ("auto", "none"):
        words = ["reward", "--model", "tiny:llama", "--data", "rows.jsonl", "--out", template, "--device", "cpu"]
        ended = run_command([*words, "train.steps=1", f"data.template={template}"], cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        scorer = open_reward_scorer(tmp_path / template / "model")
        bare, rendered, asked = (
            Prompt(text="What?"),
            Prompt(text="What?", continued=True),
            Prompt((Message("user", "What?"),)),
        )
        scores[template] = [score.value for score in scorer.score([(one, "Yes.") for one in (bare, rendered, asked)])]
    notes = tmp_path / "none" / "model" / "steersman.json"
    plain, continued, asked = scores["auto"]
    assert plain == pytest.approx(asked, abs=1e-4)
    assert plain != pytest.approx(continued, abs=1e-4)
    plain, continued, asked = scores["none"]
    assert plain == pytest.approx(continued, abs=1e-4)
    # A reward model of before the note continued plain prompts, and had no manifest.
    (notes.parent / MANIFEST).unlink()
    notes.write_text(json.dumps({k: v for k, v in json.loads(notes.read_text()).items() if k != "plain_prompts"}))
    old = open_reward_scorer(tmp_path / "none" / "model").score([(Prompt(text="What?"), "Yes.")])
    assert old[0].value == pytest.approx(continued, abs=1e-4)
