"""Fine-tuning as a whole: it learns, it computes what it says, and what it leaves behind opens with other people's
tools."""

import json
import math
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from plainly import demonstration, held_out_loss, logits_of, loss_of, write_rows

import steersman.assemble.sft as sft
from steersman.batches import TokenRow
from steersman.execution.learner import collate_rows, learner_of, pack_together
from steersman.methods.sft import NextToken
from steersman.models.loading import load_causal
from steersman.models.tiny import FAMILIES
from steersman.parallel.world import World
from steersman.runs.journal import read_rows
from steersman.settings.parts import OptimiserSettings
from steersman.train.plan import Batching

pytestmark = pytest.mark.slow


def journal(folder: Path | str) -> list[dict]:
    return [row for row in read_rows(Path(folder) / "journal.jsonl")[0] if "notice" not in row]


def notices(folder: Path | str) -> list[str]:
    return [row["notice"] for row in read_rows(Path(folder) / "journal.jsonl")[0] if "notice" in row]


def column(folder: Path | str, name: str) -> dict[int, float]:
    return {row["step"]: row[name] for row in journal(folder) if name in row}


def weights(folder: Path | str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(next((Path(folder) / "model").glob("*.safetensors")))


@pytest.fixture
def trained(monkeypatch) -> list:
    """The models that `run_sft` loads, and has trained when it comes back."""
    found: list = []
    load = sft.load_language_model

    def remember(*arguments):
        found.append(load(*arguments))
        return found[-1]

    monkeypatch.setattr(sft, "load_language_model", remember)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_and_plain_transformers_opens_what_it_learned(family, tune, tiny, trained):
    from transformers import AutoModelForCausalLM

    result = tune(f"model.path={tiny(family)}", "train.steps=24", "optimiser.learning_rate=5e-3")
    loss, held = column(result.out, "loss"), column(result.out, "held-out loss")
    assert loss[24] < 0.8 * loss[1]
    assert held[24] < 0.9 * held[0]
    opened = AutoModelForCausalLM.from_pretrained(result.model)
    assert torch.allclose(logits_of(opened), logits_of(trained[0].backbone.hf), atol=1e-5)
    untouched = AutoModelForCausalLM.from_pretrained(tiny(family))
    assert not torch.allclose(logits_of(opened), logits_of(untouched), atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_a_learned_adapter_is_opened_by_plain_peft(family, tune, tiny, trained):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    result = tune(f"model.path={tiny(family)}", "model.lora.rank=4", "train.steps=24", "optimiser.learning_rate=2e-2")
    assert column(result.out, "loss")[24] < 0.9 * column(result.out, "loss")[1]
    base = AutoModelForCausalLM.from_pretrained(tiny(family))
    before = logits_of(base)
    opened = PeftModel.from_pretrained(base, result.model)
    assert torch.allclose(logits_of(opened), logits_of(trained[0].backbone.hf), atol=1e-5)
    assert not torch.allclose(logits_of(opened), before, atol=0.01)
    assert AutoTokenizer.from_pretrained(result.model).chat_template


@pytest.mark.slow
def test_a_run_with_an_adapter_is_a_model_to_start_from_even_on_one_made_on_the_spot(tune, tmp_path):
    first = tune("model.path=tiny:llama", "model.lora.rank=4", "optimiser.learning_rate=2e-2")
    second = tune(f"model.path={first.out}", f"run.out={tmp_path / 'second'}", "train.steps=1", "train.keep=last")
    assert column(second.out, "held-out loss")[0] == pytest.approx(first.held_out["loss"], rel=1e-5)


def rows_to_learn() -> list[TokenRow]:
    lengths = [5, 19, 8, 30, 11, 2, 23]
    return [TokenRow(torch.randint(5, 300, (n,)), torch.arange(n) >= max(1, n // 3)) for n in lengths]


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_the_plain_ones_for_any_padding_order_micro_batch_and_packing(family, tiny):
    rows = rows_to_learn()
    backbone = load_causal(tiny(family), dtype=torch.float32, device="cpu")
    loss = loss_of(backbone.hf, [(row.ids, row.loss_mask) for row in rows])
    parameters = dict(backbone.named_parameters())
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    expected = {name: torch.zeros(()) if g is None else g for name, g in zip(parameters, found, strict=True)}
    largest = max(float(g.abs().max()) for g in expected.values())
    assert backbone.packing, "all these families can be packed; one that is not any more is not tested here"
    ways = [
        (10**6, 1, False, rows),
        (1, 1, False, rows[::-1]),
        (40, 16, False, rows[3:] + rows[:3]),
        (50, 1, True, rows),
    ]
    for budget, multiple, packed, order in ways:
        seen: dict[str, torch.Tensor] = {}
        cpu = torch.device("cpu")
        padded = partial(collate_rows, pad_id=1, device=cpu, pad_multiple=multiple)
        collate = pack_together(64, pad_id=1, device=cpu) if packed else padded
        learner = learner_of(
            backbone,
            OptimiserSettings(learning_rate=1e-12, max_grad_norm=1e9),
            Batching(collate, budget, packed=packed),
            steps=10,
            world=World.alone(),
            precision="fp32",
            notice=print,
        )
        learner.optimiser.register_step_pre_hook(
            lambda *_, seen=seen: seen.update({n: p.grad.clone() for n, p in parameters.items() if p.grad is not None})
        )
        report = learner.step(order, NextToken())
        assert report.loss == pytest.approx(float(loss.detach()), rel=1e-5)
        for name, gradient in expected.items():
            ours = seen.get(name, torch.zeros(()))
            assert float((ours - gradient).abs().max()) <= 1e-5 * max(1.0, largest), (name, budget, packed)


def test_held_out_loss_and_perplexity_are_what_plain_transformers_computes(tune, held_out, tiny):
    result = tune(f"data.held_out={held_out}", "train.keep=last", "train.tokens_per_micro_batch=70")
    before, after = held_out_loss(tiny("llama"), held_out), held_out_loss(Path(result.model), held_out)
    held, perplexity = column(result.out, "held-out loss"), column(result.out, "held-out perplexity")
    assert held[0] == pytest.approx(before, rel=1e-5)
    assert held[8] == pytest.approx(after, rel=1e-5)
    assert perplexity[8] == pytest.approx(math.exp(after), rel=1e-4)
    assert result.held_out == {"loss": held[8], "perplexity": perplexity[8]}


@pytest.mark.parametrize("more", ["train.packing=true", "train.tokens_per_micro_batch=1", "train.kernels=onednn"])
def test_packing_micro_batches_and_kernels_change_nothing_but_the_last_bits(more, tune, tmp_path):
    usual = tune("train.keep=last")
    other = tune("train.keep=last", more, f"run.out={tmp_path / 'other'}")
    for name, tensor in weights(usual.out).items():
        assert torch.allclose(weights(other.out)[name], tensor, atol=2e-4), name
    assert list(column(other.out, "loss").values()) == pytest.approx(list(column(usual.out, "loss").values()), rel=1e-4)


def test_rows_as_long_as_the_context_are_not_padded_beyond_it(tune, tmp_path):
    from steersman.models.tiny import write_tiny_model

    model = write_tiny_model(tmp_path / "short", "gpt2", context=100)
    rows = write_rows(tmp_path / "long.jsonl", [demonstration(f"{i}", "dog game " * 200) for i in range(10)])
    result = tune(f"model.path={model}", f"data.source={rows}", "train.kernels=onednn", "train.steps=2")
    assert result.ending == "finished"
    assert "cut to the model's context of 100 tokens" in " ".join(notices(result.out))


@pytest.fixture
def over_learned(tune, held_out):
    """A run that learns its rows by heart, so that what is held out gets worse from some step on."""

    def run(*more: str):
        usual = ["optimiser.schedule=constant", "optimiser.learning_rate=2e-2", "train.evaluate_every=2"]
        return tune(f"data.held_out={held_out}", *usual, "run.checkpoint_every=3", "train.steps=150", *more)

    return run


@pytest.mark.slow
def test_early_stopping_ends_the_run_and_the_model_is_the_best_one(over_learned, held_out, tmp_path):
    result = over_learned("train.patience=3")
    held = column(result.out, "held-out loss")
    best = min(held, key=held.__getitem__)
    assert result.ending == "early"
    assert result.step == best + 3 * 2 == max(held)
    assert result.best_step == best
    assert held_out_loss(Path(result.model), held_out) == pytest.approx(held[best], rel=1e-5)
    last = over_learned("train.patience=3", "train.keep=last", f"run.out={tmp_path / 'last'}")
    assert (last.ending, last.step, last.best_step) == ("early", result.step, result.step)
    assert held_out_loss(Path(last.model), held_out) == pytest.approx(held[result.step], rel=1e-5)
    assert held[result.step] > held[best]


@pytest.mark.slow
def test_a_run_killed_between_its_early_end_and_its_model_ends_early_again_with_the_best(over_learned):
    result = over_learned("train.patience=3")
    out, rows, tensors = Path(result.out), journal(result.out), weights(result.out)
    (out / "ending.json").unlink()
    shutil.rmtree(result.model)
    # and the best one's mark too, as if the kill before had come between a checkpoint and its mark
    (out / "checkpoints" / "best.json").unlink()
    again = over_learned("train.patience=3")
    assert (again.ending, again.step, again.best_step) == ("early", result.step, result.best_step)
    assert journal(out) == rows
    assert all(torch.equal(tensors[name], tensor) for name, tensor in weights(out).items())


@pytest.mark.slow
def test_if_the_best_checkpoint_is_damaged_the_last_weights_are_kept_and_that_is_said(over_learned, held_out):
    result = over_learned("train.patience=3")
    out, held = Path(result.out), column(result.out, "held-out loss")
    (out / "ending.json").unlink()
    file = out / "checkpoints" / f"step-{result.best_step:06d}" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"beef")
    again = over_learned("train.patience=3")
    assert again.best_step == again.step == result.step
    assert "cannot be used" in notices(out)[-1]
    assert held_out_loss(Path(again.model), held_out) == pytest.approx(held[result.step], rel=1e-5)


def test_gradient_checkpointing_gives_the_same_model(tune, tmp_path):
    usual = tune()
    sparing = tune("model.gradient_checkpointing=true", f"run.out={tmp_path / 'sparing'}")
    assert all(torch.allclose(weights(sparing.out)[n], t, atol=1e-6) for n, t in weights(usual.out).items())


def test_bf16_learns_nearly_the_same_on_a_processor_and_keeps_its_weights_in_float32(tune, tmp_path):
    usual, half = tune(), tune("train.precision=bf16", f"run.out={tmp_path / 'half'}")
    ours, theirs = column(half.out, "loss"), column(usual.out, "loss")
    assert ours != theirs, "bf16 was not used at all"
    assert list(ours.values()) == pytest.approx(list(theirs.values()), rel=0.02)
    assert {tensor.dtype for tensor in weights(half.out).values()} == {torch.float32}


@pytest.mark.parametrize("family", ["llama"])
def test_running_out_of_memory_makes_micro_batches_smaller_and_the_same_model(family, tune, tmp_path, monkeypatch):
    usual = tune("train.tokens_per_micro_batch=400")
    learn = NextToken.__call__

    def cramped(self, model, batch):
        if batch.real_tokens > 110:
            raise torch.OutOfMemoryError("can't allocate memory")
        return learn(self, model, batch)

    monkeypatch.setattr(NextToken, "__call__", cramped)
    small = tune("train.tokens_per_micro_batch=400", f"run.out={tmp_path / 'small'}")
    said = [words for words in notices(small.out) if "out of memory" in words]
    assert ["200 tokens" in words or "100 tokens" in words for words in said] == [True, True]
    assert all(torch.allclose(weights(small.out)[n], t, atol=2e-5) for n, t in weights(usual.out).items())
    state = json.loads((tmp_path / "small" / "checkpoints" / "step-000008" / "state.json").read_text())
    assert (state["token_budget"], state["wished_budget"]) == (100, 400)
