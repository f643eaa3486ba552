"""What a user may give by mistake, or find damaged, ends in one message: never in a traceback."""

import json
import os

import pytest
from commandline import call

from steersman.models.tiny import write_tiny_model

SFT = ["sft", "model.path=tiny:llama", "data.source=rows.jsonl", "train.epochs=1", "run.device=cpu"]


def write_rows(folder):
    rows = [{"prompt": f"question {i}", "completion": f"answer {i}"} for i in range(20)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(capfd):
    """The message of a command that fails, and its exit code is the one expected."""

    def run(code: int, *words: str) -> str:
        assert call(list(words)) == code
        said = capfd.readouterr().err
        assert "Traceback" not in said
        return said

    return run


def test_an_oasst_message_whose_ids_are_lists_is_a_malformed_row(here, capfd):
    row = {"message_id": "a", "parent_id": None, "text": "Hi", "role": "prompter", "message_tree_id": "a"}
    odd = [{key: ["x"]} for key in ("message_id", "message_tree_id", "parent_id")] + [{"message_tree_id": {"x": 1}}]
    answers = [{"parent_id": "a", "role": "assistant", "message_id": f"b{i}", "rank": 10**400} for i in range(2)]
    rows = [row, *(row | fault for fault in [*answers, *odd])]
    (here / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert call(["data", "inspect", "a.jsonl", "--json"]) == 0
    assert "'message_id' should be an identifier: seen list" in (said := capfd.readouterr().out)
    assert "unexpected shape" in said or "'rank' should be a finite number" in said


def test_a_parquet_file_with_a_flipped_bit_is_a_malformed_row_or_one_message(here, capfd):
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [f"question {i} and more words" for i in range(200)]
    pq.write_table(pa.table({"prompt": texts, "completion": [str(i) for i in range(200)]}), here / "a.parquet")
    whole = (here / "a.parquet").read_bytes()
    said = ""
    for at in range(4, len(whole), 40):
        damaged = bytearray(whole)
        damaged[at] ^= 16
        (here / "a.parquet").write_bytes(damaged)
        assert call(["data", "inspect", "a.parquet"]) in (0, 3)
        said += capfd.readouterr().out
    assert "damaged Parquet file" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("count=abc", "count is a whole number"),
        ("count=-4", "count is a whole number"),
        ("count=" + "9" * 5000, "count is a whole number"),
        ("seed=x", "seed is a whole number"),
        ("conut=4", "no option 'conut'; expected count, seed"),
    ],
)
def test_options_of_a_named_source_are_checked(refused, options, message):
    assert message in refused(2, "data", "inspect", f"harbour:prompts?{options}")


RECIPES = {
    "latin-1": "[model]\npath = 'é'\n".encode("latin-1"),
    "binary": bytes(range(128, 256)),
    "nested": b"a = " + b"[" * 5000 + b"]" * 5000,
    "digits": b"a = " + b"9" * 5000,
    "NUL": b'data.source = "a\\u0000b"',
    "huge": b"run.seed = 99999999999999999999",
}


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("command", [["sft"], ["chat", "--recipe"]])
def test_a_recipe_that_cannot_be_read_is_named(here, refused, kind, command):
    (here / "recipe.toml").write_bytes(RECIPES[kind])
    said = refused(2, *command, "recipe.toml")
    assert said.startswith("steersman: ")
    assert len(said) < 400


@pytest.mark.parametrize("recipe", ["x" * 300, "x" * 5000 + ".toml"])
def test_a_name_that_no_file_can_have_is_no_recipe(refused, recipe):
    assert "no recipe" in refused(2, "sft", recipe)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ('data.source="a\\u0000b"', "holds a NUL character"),
        ("run.out=" + os.fsdecode(b"o\xff"), "bytes that are not UTF-8"),
        ("run.seed=99999999999999999999", "beyond 64 bits"),
        ("model.path=" + "[" * 5000, "missing"),
    ],
)
def test_values_that_no_setting_can_have_are_refused(refused, override, message):
    assert message in refused(2, "sft", override)


def test_a_kept_recipe_that_was_damaged_is_named_on_resume(here, refused):
    write_rows(here)
    assert call([*SFT, "run.out=run"]) == 0
    for damage in (b"\xdd", b"\x00", b"[" * 3000):
        kept = here / "run" / "recipe.toml"
        whole = kept.read_bytes()
        kept.write_bytes(whole + damage)
        assert "put it back as it was" in refused(2, *SFT, "run.out=run", "train.epochs=2")
        kept.write_bytes(whole)


PPO = ["ppo", "model.path=tiny:llama", "prompts.source=rows.jsonl", "iterations=2", "run.device=cpu"]
PPO += ["prompts_per_iteration=4", "sampling.max_new_tokens=4"]


@pytest.mark.parametrize("device", ["meta", "xla", "hpu", "cpu:7", "cuda:99", "nonsense"])
def test_a_device_that_nothing_runs_on_is_refused(here, refused, device):
    write_rows(here)
    assert "device" in refused(2, *SFT, "run.out=run", f"run.device={device}")


@pytest.mark.parametrize("command", [["chat", "tiny:llama"], ["sample", "rows.jsonl", "--model", "tiny:llama"]])
def test_a_temperature_that_overflows_is_refused(here, refused, command):
    write_rows(here)
    out = ["--out", "answers.jsonl"] if command[0] == "sample" else []
    assert "0 (greedy) or at least 0.0001" in refused(2, *command, *out, "--temperature", "1e-300")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://[::1", "is no address"),
        ("http://localhost/a b", "holds ' '; write it as %20"),
        ("http://a..b/", "has no usable host"),
        ("http://" + "é" * 80 + ".org/", "has no usable host"),
    ],
)
def test_an_address_that_cannot_be_asked_is_refused_at_once(here, refused, address, message):
    write_rows(here)
    assert message in refused(2, *PPO, "run.out=run", f"scorer.path={address}")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 10**400", "returned an integer of 1329 bits"),
        ("return 10**5000", "bits"),
        ("sys.exit(0)", "raised SystemExit: 0 (reward.py, line 3)"),
        ("raise GeneratorExit", "raised GeneratorExit"),
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_reward_function_never_ends_a_run_as_if_it_had_finished(here, refused, body, message, kind):
    write_rows(here)
    (here / "reward.py").write_text(f"import sys\n{kind} reward(prompt, answer):\n    {body}\n")
    words = [*PPO, "run.out=run", "scorer.path=reward.py:reward"]
    assert message in refused(3 if "return" in body else 1, *words)


def test_a_reward_file_that_exits_is_no_success(here, refused):
    write_rows(here)
    (here / "reward.py").write_text("import sys\nsys.exit(0)\n")
    assert "SystemExit" in refused(2, *PPO, "run.out=run", "scorer.path=reward.py:reward")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data", "inspect", "x" * 5000], "File name too long"),
        (["data", "convert", "rows.jsonl", "x" * 300 + ".jsonl"], "File name too long"),
        (["runs", "show", "x" * 300], "File name too long"),
        (["report", "x" * 300], "File name too long"),
        ([*SFT, "run.out=" + "x" * 300], "File name too long"),
        ([*SFT, "run.out=rows.jsonl/run"], "rows.jsonl"),
    ],
)
def test_what_the_file_system_refuses_is_a_message(here, refused, words, message):
    write_rows(here)
    assert message in refused(2, *words)


def test_a_toxicity_classifier_that_is_not_there_is_named(here, refused):
    write_rows(here)
    words = ["evaluate", "models.a=tiny:llama", "prompts.source=rows.jsonl", "drawing.max_new_tokens=2", "run.out=new"]
    assert "no model 'a' was found" in refused(4, *words, "prompts.limit=2", "--toxicity", "a")


def test_layers_that_are_no_regular_expression_are_named(here, refused):
    write_rows(here)
    assert "no adapter fits" in refused(4, *SFT, "run.out=run", 'model.lora.targets="["')


def test_a_damaged_adapter_is_named(here, refused):
    write_rows(here)
    write_tiny_model(here / "small", "llama")
    assert call([*SFT, "run.out=run", "model.path=small", "model.lora.rank=2"]) == 0
    config = next((here / "run" / "model").rglob("adapter_config.json"))
    whole = config.read_bytes()
    for damaged in (b"\xff", whole[:-20], whole.replace(b'"r": 2', b'"r": "x"'), whole.replace(b'"r": 2', b'"r": 3')):
        config.write_bytes(damaged)
        assert "adapter" in refused(4, "chat", "run", "--no-verify")
