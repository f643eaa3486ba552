"""Q heads begin at nothing, their targets follow without being learned, and they survive a folder."""

import json

import pytest
import torch

from steersman.errors import ModelError
from steersman.models.files import HEADS, NOTES, describe, save_model
from steersman.models.loading import load_causal
from steersman.models.q_heads import Guide, QHeads, QModel, heads_for, load_guide, save_guide
from steersman.train.checkpoint import weight_tensors
from steersman.train.optim import trainable


def stirred(heads: QHeads) -> QHeads:
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.normal_(0.0, 0.3)
    return heads


def test_before_anything_is_learned_every_token_is_worth_nothing():
    heads = QHeads(8, 20)
    hidden = torch.randn(5, 8)
    assert heads.min_target_q(hidden).tolist() == [[0.0] * 20] * 5
    assert heads.value(hidden).tolist() == [[0.0]] * 5
    heads.q_heads[0](hidden).sum().backward()
    assert heads.q_heads[0].outer.grad is not None
    assert heads.q_heads[0].outer.grad.any()


def test_targets_follow_by_their_rate_and_by_nothing_else():
    heads = stirred(QHeads(8, 20))
    before = [head.outer.clone() for head in heads.target_heads]
    assert not heads.target_heads[0].inner.equal(heads.q_heads[0].inner)
    heads.update_targets(0.25)
    for slow, fast, old in zip(heads.target_heads, heads.q_heads, before, strict=True):
        assert torch.allclose(slow.outer, 0.75 * old + 0.25 * fast.outer)
    heads.update_targets(1.0)
    assert heads.target_heads[1].outer_bias.equal(heads.q_heads[1].outer_bias)
    assert {name.split(".")[0] for name, _ in trainable(heads)} == {"q", "value"}


def test_checkpoints_hold_the_targets_too():
    names = set(weight_tensors(QHeads(8, 20)))
    assert {f"target.{i}.{part}" for i in (0, 1) for part in ("inner", "inner_bias", "outer", "outer_bias")} <= names


def test_the_smaller_target_counts():
    heads = QHeads(4, 3)
    with torch.no_grad():
        heads.target_heads[0].outer_bias.copy_(torch.tensor([1.0, 5.0, -2.0]))
        heads.target_heads[1].outer_bias.copy_(torch.tensor([3.0, 2.0, -1.0]))
    assert heads.min_target_q(torch.zeros(1, 4)).tolist() == [[1.0, 2.0, -2.0]]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_what_is_read_of_a_batch_is_what_a_loop_over_its_tokens_finds(name, load, batch):
    backbone = load(name).double()
    model = QModel(backbone, stirred(heads_for(backbone)).double())
    model.heads.update_targets(0.5)
    reading = model.outputs(batch)
    place = 0
    for row in range(len(batch.ids)):
        seen = backbone.hf(input_ids=batch.ids[row : row + 1], output_hidden_states=True, use_cache=False)
        for time in batch.loss_mask[row].nonzero()[:, 0].tolist():
            token, state = int(batch.ids[row, time]), seen.hidden_states[-1][0, time - 1]
            q = [head(state[None])[0] for head in model.heads.q_heads]
            expected = {
                "log_probs": seen.logits[0, time - 1].log_softmax(-1)[token],
                "values": model.heads.value(state[None])[0, 0],
                "target": min(head(state[None])[0, token] for head in model.heads.target_heads),
            }
            for field, value in expected.items():
                assert getattr(reading, field)[place].item() == pytest.approx(value.item(), abs=1e-6), field
            assert reading.q[:, place].tolist() == pytest.approx([each[token].item() for each in q], abs=1e-6)
            under_q = [each.log_softmax(-1)[token].item() for each in q]
            assert reading.q_log_probs[:, place].tolist() == pytest.approx(under_q, abs=1e-6)
            place += 1
    assert place == len(reading.values)
    assert not reading.target.requires_grad


def test_heads_compute_in_float32_under_autocast(load, batch):
    backbone = load("llama")
    model = QModel(backbone, stirred(heads_for(backbone)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.outputs(batch).q.dtype == model.outputs(batch).values.dtype == torch.float32


def test_heads_survive_the_folder_of_their_model(load, tmp_path):
    backbone = load("llama")
    save_model(backbone, None, tmp_path)
    assert load_guide(backbone, tmp_path) is None
    heads = stirred(heads_for(backbone))
    heads.update_targets(0.3)
    save_guide(Guide(heads, 2.5), backbone.family, tmp_path)
    again = load_guide(load_causal(tmp_path, dtype=torch.float32, device="cpu"), tmp_path)
    assert again is not None
    assert again.beta == 2.5
    for name, tensor in heads.state_dict().items():
        assert again.heads.state_dict()[name].equal(tensor), name
    assert describe(tmp_path).kind == "causal"


def test_a_folder_that_lost_its_heads_or_its_beta_is_said(load, tmp_path):
    backbone = load("llama")
    save_guide(Guide(heads_for(backbone), 1.0), backbone.family, tmp_path)
    (tmp_path / NOTES).write_text(json.dumps({"kind": "ilql"}))
    with pytest.raises(ModelError, match="expected a number"):
        load_guide(backbone, tmp_path)
    (tmp_path / NOTES).write_text(json.dumps({"kind": "ilql", "beta": 1.0}))
    (tmp_path / HEADS).unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_guide(backbone, tmp_path)
