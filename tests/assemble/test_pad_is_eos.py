"""A base whose PAD is its EOS, or has a row of its own: nothing is added, EOS is learned, PAD is never drawn."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from forked import run_command
from plainly import demonstrations, held_out_loss, write_rows
from safetensors.torch import load_file

from steersman.batches import TokenRow, pad_rows
from steersman.loading.engines import native_engine
from steersman.loading.language_model import load_language_model
from steersman.loading.saved import open_any_model
from steersman.models.tiny import END, tiny_tokeniser, write_tiny_model
from steersman.rollout.engine import Sampling
from steersman.runs.journal import read_rows
from steersman.settings.parts import ModelSettings

ROWS = 320


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = write_tiny_model(tmp_path_factory.mktemp("base") / "model", "llama")
    tiny_tokeniser(pad=END).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": config["eos_token_id"]}))
    return folder


def rows_in(folder: Path) -> set[int]:
    tensors = load_file(folder / "model.safetensors")
    return {tensors[name].shape[0] for name in tensors if "embed_tokens" in name or "lm_head" in name}


@pytest.mark.slow
def test_nothing_is_added_and_the_loss_is_that_of_plain_transformers(base, tmp_path):
    rows, held_out = (write_rows(tmp_path / f"{n}.jsonl", demonstrations(20, n)) for n in (1, 2))
    words = ["sft", f"model.path={base}", f"data.source={rows}", f"data.held_out={held_out}", "train.steps=3"]
    ended = run_command([*words, f"run.out={tmp_path / 'run'}", "--json"])
    assert ended.returncode == 0, ended.stderr
    assert "the tokeniser's PAD is '<|end|>', which has another meaning; no token is added" in ended.stderr
    model = tmp_path / "run" / "model"
    assert rows_in(model) == {ROWS}
    assert json.loads((model / "config.json").read_text())["vocab_size"] == ROWS
    # plain transformers, one row at a time, with EOS among the targets
    assert json.loads(ended.stdout)["held_out"]["loss"] == pytest.approx(held_out_loss(model, held_out), rel=1e-4)


@pytest.mark.slow
def test_ppo_adds_nothing_either_and_engine_and_trainer_agree(base, tmp_path):
    prompts = write_rows(tmp_path / "prompts.jsonl", demonstrations(8, 1))
    (tmp_path / "scorer.py").write_text("def short(prompt, answer):\n    return -len(answer) / 100\n")
    words = ["ppo", f"model.path={base}", f"prompts.source={prompts}", f"scorer.path={tmp_path / 'scorer.py'}:short"]
    words += ["iterations=2", "prompts_per_iteration=4", "sampling.max_new_tokens=8", "prompts.held_out=none"]
    ended = run_command([*words, f"run.out={tmp_path / 'run'}"])
    assert ended.returncode == 0, ended.stderr
    assert rows_in(tmp_path / "run" / "model") == {ROWS}
    rows = [row for row in read_rows(tmp_path / "run" / "journal.jsonl")[0] if "engine mismatch" in row]
    assert rows
    assert all(abs(row["engine mismatch"]) < 1e-4 for row in rows)


def test_the_embedding_of_eos_learns(base):
    model = load_language_model(ModelSettings(path=str(base)), torch.device("cpu"))
    eos = model.tokeniser.eos_token_id
    row = TokenRow(torch.tensor([9, eos, 12, 13, eos]), torch.tensor([False, True, True, True, True]))
    (-model.backbone.log_probs(pad_rows([row], pad_id=model.pad_id))[0].sum()).backward()
    gradient = model.backbone.hf.get_input_embeddings().weight.grad
    assert gradient is not None
    assert gradient[eos].abs().sum() > 0


@pytest.mark.parametrize("sampling", [Sampling(40, 1.0), Sampling(40, 1.0, top_k=300), Sampling(40, 0.0)])
def test_a_pad_row_of_the_base_is_never_drawn_and_log_probs_are_those_of_plain_transformers(sampling):
    model = load_language_model(ModelSettings(path="tiny:llama"), torch.device("cpu"))
    pad = model.tokeniser.pad_token_id
    with torch.no_grad():
        # PAD is made as likely as all others together
        head = model.backbone.hf.get_output_embeddings()
        head.weight[pad] = 0
    engine = native_engine((model.backbone, None), model.tokeniser)
    batch = engine.generate([[5, 6, 7], [8, 9]], sampling, samples=12, seeds=3)
    for number, rollout in enumerate(batch):
        assert pad not in rollout.ids
        prompt = [[5, 6, 7], [8, 9]][number // 12]
        ids, drawn = torch.tensor([*prompt, *rollout.ids]), torch.tensor(rollout.ids)
        with torch.no_grad():
            logits = model.backbone.hf(input_ids=ids[None]).logits[0, len(prompt) - 1 : -1].float()
        expected = logits.log_softmax(-1).gather(1, drawn[:, None])[:, 0]
        torch.testing.assert_close(torch.as_tensor(rollout.log_probs), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_run_begun_with_a_pad_of_its_own_keeps_it(base, tmp_path):
    """Version 0.2 added a row, and its recipes do not say so."""
    rows, out = write_rows(tmp_path / "rows.jsonl", demonstrations(20, 1)), tmp_path / "run"
    words = ["sft", f"model.path={base}", f"data.source={rows}", f"run.out={out}", "train.steps=4"]
    words += ["run.checkpoint_every=2", "train.keep=last"]
    ended = run_command([*words, "model.own_pad=true"])
    assert ended.returncode == 0, ended.stderr
    assert rows_in(out / "model") == {ROWS + 1}
    first = load_file(out / "model" / "model.safetensors")
    recipe = out / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("own_pad = true\n", ""))
    assert run_command(words).returncode == 0, "it had finished before"
    (out / "ending.json").unlink()
    shutil.rmtree(out / "model")
    shutil.rmtree(out / "checkpoints" / "step-000004")
    recipe.write_text(recipe.read_text().replace("own_pad = true\n", ""))
    assert open_any_model(str(out / "checkpoints" / "step-000002"), device="cpu").backbone.vocabulary == ROWS + 1
    ended = run_command(words)
    assert ended.returncode == 0, ended.stderr
    assert "model.own_pad=True is kept from this run's beginning" in ended.stderr
    again = load_file(out / "model" / "model.safetensors")
    assert all(first[name].equal(again[name]) for name in first)
