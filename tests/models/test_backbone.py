"""A backbone gives the model's own numbers, whatever the padding, the packing and the mode."""

import pytest
import torch

from steersman.batches import TokenBatch, pack_rows, pad_rows
from steersman.errors import ModelError
from steersman.models import trials
from steersman.models.backbone import Backbone, Readout, block_mask, nearly_equal, positions_of
from steersman.models.trials import find_packing, find_readout


def plain_log_probs(backbone, row, temperature: float = 1.0):
    """Slow and obvious: all logits of one row without padding."""
    with torch.no_grad():
        logits = backbone.hf(input_ids=row.ids[None], attention_mask=torch.ones(1, len(row.ids))).logits[0]
    table = (logits / temperature).log_softmax(-1)
    return [float(table[t - 1, row.ids[t]]) for t in range(len(row.ids)) if row.loss_mask[t]]


def test_log_probs_are_those_of_the_model(load, family, rows, batch):
    backbone = load(family).train()
    expected = [value for row in rows for value in plain_log_probs(backbone, row, 0.7)]
    found, entropies = backbone.log_probs(batch, temperature=0.7)
    assert entropies is None
    assert torch.allclose(found, torch.tensor(expected), atol=1e-5)


def test_padding_changes_nothing(load, family, rows):
    backbone = load(family)
    wide = pad_rows(rows, pad_id=1, pad_multiple=64)
    other = pad_rows(rows, pad_id=77, pad_multiple=8)
    with torch.no_grad():
        one, two = backbone.hidden(wide), backbone.hidden(other)
        for i, row in enumerate(rows):
            alone = backbone.hidden(pad_rows([row], pad_id=1))[0]
            assert torch.allclose(one[i, : len(row.ids)], alone, atol=1e-5)
            assert torch.allclose(two[i, : len(row.ids)], alone, atol=1e-5)


def test_packing_changes_nothing(load, family, rows):
    backbone = load(family)
    packed = pack_rows(rows, pad_id=1, capacity=40)
    assert packed.segments is not None
    with torch.no_grad():
        together = backbone.hidden(packed)
        expected = {tuple(row.ids.tolist()): backbone.hidden(pad_rows([row], pad_id=1))[0] for row in rows}
    for b in range(len(packed.ids)):
        for segment in range(1, int(packed.segments[b].max()) + 1):
            here = packed.segments[b] == segment
            assert torch.allclose(together[b, here], expected[tuple(packed.ids[b, here].tolist())], atol=1e-5)


def test_rows_laid_into_one_give_the_same(load, rows):
    """The way of flash attention, which has no kernel on a CPU but the same arithmetic."""
    backbone = load("llama")
    packed = pack_rows(rows, pad_id=1, capacity=40)
    expected = backbone.hidden(packed)
    backbone.packing = "flat"
    assert torch.allclose(backbone.hidden(packed)[packed.segments > 0], expected[packed.segments > 0], atol=1e-5)


def test_dropout_is_off_in_training_too(load, family, batch):
    backbone = load(family).train()
    assert backbone.original_dropout, "the tiny models come with dropout"
    assert backbone.hidden(batch).equal(backbone.hidden(batch))


def test_every_weight_learns(load, family, batch):
    """Also the router and the experts of a mixture; an unused expert has a gradient of zero, not none."""
    backbone = load(family).train()
    before, _ = backbone.log_probs(batch)
    (-before.sum()).backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter -= 1e-3 * parameter.grad
    assert backbone.log_probs(batch)[0].sum() > before.sum()


@pytest.mark.parametrize("family", ["gpt2", "qwen3_moe"])
def test_gradient_checkpointing_changes_no_gradient(load, family, batch):
    gradients = []
    for on in (False, True):
        backbone = load(family).train()
        backbone.use_gradient_checkpointing(on)
        backbone.log_probs(batch)[0].sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in backbone.parameters()]))
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-4)


def test_entropies_and_shared_hidden_states(load, batch):
    backbone = load("llama")
    log_probs, entropies = backbone.log_probs(batch, with_entropy=True, temperature=0.9)
    assert entropies is not None
    shared = backbone.hidden(batch, batch.needed_positions)
    again, _ = backbone.log_probs_from(shared, batch, temperature=0.9, with_entropy=True)
    assert log_probs.equal(again)
    # without entropies another formula gives them: the last bit may be another
    alone, _ = backbone.log_probs_from(shared, batch, temperature=0.9)
    assert torch.allclose(log_probs, alone, rtol=1e-6, atol=1e-6)
    backbone.readout = None
    plain, plain_entropies = backbone.log_probs(batch, with_entropy=True, temperature=0.9)
    assert torch.allclose(log_probs, plain, atol=1e-5)
    assert torch.allclose(entropies, plain_entropies, atol=1e-5)
    from_hidden, _ = backbone.log_probs_from(backbone.hidden(batch), batch, temperature=0.9)
    assert torch.allclose(from_hidden, plain, atol=1e-6)


def odd_model(name: str, **settings) -> Backbone:
    """Families whose logits are capped or scaled."""
    import transformers

    small = {"vocab_size": 90, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 1}
    config = getattr(transformers, f"{name}Config")(**small, **heads, **settings)
    model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.normal_(0, 3)
    return Backbone(model, name=name, readout=None, packing=None)


@pytest.mark.parametrize(
    ("name", "settings", "readout"),
    [
        ("Gemma2", {"final_logit_softcapping": 3.0, "head_dim": 8}, Readout(3.0, 1.0)),
        ("Cohere", {"logit_scale": 0.0625}, Readout(None, 0.0625)),
        ("Granite", {"logits_scaling": 4.0}, Readout(None, 0.25)),
    ],
)
def test_capped_and_scaled_logits_are_found(name, settings, readout):
    backbone = odd_model(name, **settings)
    backbone.readout = find_readout(backbone)
    assert backbone.readout == readout
    ids = torch.randint(2, 90, (2, 9))
    batch = TokenBatch(ids, torch.arange(9).expand(2, 9) > 3, torch.tensor([9, 9]), None)
    fast = backbone.log_probs(batch)[0]
    backbone.readout = None
    assert torch.allclose(fast, backbone.log_probs(batch)[0], atol=1e-5)


def test_logits_that_cannot_be_made_from_hidden_states_are_taken_from_the_model(load, batch):
    backbone = load("llama")
    expected = backbone.log_probs(batch)[0]
    head = backbone.hf.lm_head
    head.register_forward_hook(lambda module, seen, out: 2 * out.tanh())
    backbone.config.final_logit_softcapping = 5.0
    assert find_readout(backbone) is None
    backbone.readout = None
    assert not torch.allclose(backbone.log_probs(batch)[0], expected, atol=1e-2)
    with pytest.raises(ModelError, match="cannot be packed"):
        backbone.log_probs(TokenBatch(batch.ids, batch.loss_mask, batch.lengths, torch.ones_like(batch.ids)))


def test_a_model_that_cannot_pack_says_so(load, rows, monkeypatch):
    backbone = load("opt")
    assert backbone.packing == "mask", "OPT builds its mask without looking at position ids"
    monkeypatch.setattr(backbone.config, "sliding_window", 4, raising=False)
    assert find_packing(backbone) is None
    backbone.packing = None
    with pytest.raises(ModelError, match="cannot be packed for a model of the family 'opt'"):
        backbone.hidden(pack_rows(rows, pad_id=1, capacity=40))


def test_flash_attention_is_shown_one_long_row(load, monkeypatch):
    """Its kernels find the borders of sequences only in a batch of one row, and do not run here; only the choice is
    tested."""
    backbone = load("llama")
    monkeypatch.setattr(backbone.config, "_attn_implementation", "flash_attention_2")
    tried = []
    monkeypatch.setattr(trials, "_same_packed", lambda backbone, *_: not tried.append(backbone.packing))
    assert find_packing(backbone) == "flat"
    assert set(tried) == {"flat"}


def test_a_row_longer_than_the_context_is_refused(load):
    backbone = load("gpt2")
    assert backbone.context_length == 128
    ids = torch.zeros((1, 129), dtype=torch.long)
    with pytest.raises(ModelError, match="129 tokens wide"):
        backbone(TokenBatch(ids, ids > 0, torch.tensor([129]), None))


def test_a_model_without_a_language_head_gives_no_log_probs(load, batch):
    backbone = load("gpt2")
    trunk = Backbone(backbone.trunk, name="trunk", readout=None, packing=None)
    real = batch.attention_mask
    assert torch.allclose(trunk.hidden(batch)[real], backbone.hidden(batch)[real], atol=1e-5)
    with pytest.raises(ModelError, match="no language-modelling head"):
        trunk.log_probs(batch)


def test_facts_are_the_models(load, family):
    backbone = load(family)
    assert (backbone.hidden_size, backbone.vocabulary, backbone.context_length) == (32, 320, 128)
    assert backbone.dtype == torch.float32
    assert backbone.device == torch.device("cpu")
    assert backbone.readout == Readout(None, 1.0)


def test_positions_restart_and_masks_are_blocks():
    segments = torch.tensor([[1, 1, 1, 2, 2, 0]])
    assert positions_of(segments).tolist() == [[0, 1, 2, 0, 1, 0]]
    seen = block_mask(segments, torch.float32)[0, 0] == 0
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_agreement_is_measured_against_the_largest_entry():
    one = torch.tensor([100.0, 0.0])
    assert nearly_equal(one, one + 0.005)
    assert not nearly_equal(one, one + 0.05)
    assert nearly_equal(one.bfloat16(), (one + 2).bfloat16())
