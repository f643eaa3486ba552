"""Layers that compute as one step give what transformers' own give: values, gradients, saved folders; or step aside."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from steersman.batches import TokenBatch, TokenRow, pad_rows
from steersman.models import fused, row_attention
from steersman.models.acting import acting_as
from steersman.models.adapters import add_lora
from steersman.models.files import save_model
from steersman.models.fused_layer import LayerShape, Weights, layer
from steersman.models.loading import load_causal
from steersman.models.reward_model import trunk_of
from steersman.models.tiny import tiny_tokeniser, write_tiny_model
from steersman.models.trials import find_unpadded

FUSED = ("llama", "mistral", "qwen3", "qwen2")


@pytest.fixture
def load_kind(load, tmp_path_factory):
    """The tiny models, and Qwen 2, whose queries, keys and values have biases."""

    def load_one(kind: str):
        if kind != "qwen2":
            return load(kind)
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 320}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
        model = Qwen2ForCausalLM(Qwen2Config(**sizes, **heads, bos_token_id=0, eos_token_id=0, pad_token_id=1))
        for parameter in model.parameters():
            parameter.data.normal_(0.0, 0.2)
        folder = tmp_path_factory.mktemp("qwen2")
        model.save_pretrained(folder)
        return load_causal(folder, dtype=torch.float32, device="cpu")

    return load_one


def some_rows(lengths=(3, 8, 1, 5)) -> TokenBatch:
    """Rows of at most 8 tokens: the tiny models with a sliding window have one of 8."""
    generator = torch.Generator().manual_seed(5)
    rows = [TokenRow(torch.randint(2, 300, (n,), generator=generator), torch.arange(n) > 0) for n in lengths]
    return pad_rows(rows, pad_id=1)


def learned(backbone, batch: TokenBatch):
    """Log-probabilities, and the gradient of an uneven sum of them."""
    backbone.zero_grad()
    chosen, _ = backbone.log_probs(batch)
    (chosen * torch.arange(1.0, len(chosen) + 1)).sum().backward()
    return chosen.detach(), {name: p.grad.clone() for name, p in backbone.named_parameters() if p.grad is not None}


def plain(backbone):
    """The same model, padded and with transformers' own layers."""
    other = copy.deepcopy(backbone)
    fused.unfuse(other.trunk)
    other.unpadded, other.fused = 0, False
    return other


def same(ours, theirs) -> None:
    (chosen, gradients), (expected, expected_gradients) = ours, theirs
    assert torch.allclose(chosen, expected, atol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    largest = max(float(g.abs().max()) for g in expected_gradients.values())
    for name, gradient in expected_gradients.items():
        assert torch.allclose(gradients[name], gradient, atol=1e-5 * largest), name


@pytest.fixture
def steps(monkeypatch) -> list[int]:
    """The number of tokens of each layer that was computed as one step."""
    seen: list[int] = []

    def watched(hidden, **rest):
        seen.append(len(hidden))
        return layer(hidden, **rest)

    monkeypatch.setattr(fused, "layer", watched)
    return seen


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("lengths", [(3, 8, 1, 5), (8, 8)], ids=["padding", "none"])
def test_values_and_gradients_are_those_of_transformers(load_kind, steps, kind, lengths):
    backbone, batch = load_kind(kind).train(), some_rows(lengths)
    steps.clear()
    ours = learned(backbone, batch)
    assert steps == [32 if len(lengths) == 4 else 16] * 2, "both layers, over real tokens rounded up"
    same(ours, learned(plain(backbone), batch))
    with torch.no_grad():
        assert torch.allclose(backbone.log_probs(batch)[0], ours[0], atol=1e-6)


def test_rows_too_long_for_whole_probabilities_give_the_same(load, steps, monkeypatch):
    monkeypatch.setattr(row_attention, "SHORT", 4)
    backbone, batch = load("llama"), some_rows((3, 30, 4, 5))
    steps.clear()
    same(learned(backbone, batch), learned(plain(backbone), batch))
    assert steps == [48, 48]


@pytest.mark.parametrize("kind", [*FUSED, "llama with adapters"])
@pytest.mark.parametrize("short", [4, 160], ids=["long rows", "short rows"])
def test_what_is_read_at_the_end_of_rows_is_what_it_is_when_all_is_read(load_kind, monkeypatch, kind, short):
    monkeypatch.setattr(row_attention, "SHORT", short)
    backbone = load_kind(kind.split()[0]).train()
    if kind == "llama with adapters":
        backbone = copy.deepcopy(backbone)
        add_lora(backbone, "policy", rank=2, alpha=32)
    batch = some_rows()
    read = torch.tensor([1, 3, 1, 5])
    last = torch.arange(8) >= (batch.lengths - read)[:, None]
    wanted = last & batch.attention_mask

    def read_and_learned(*more: torch.Tensor):
        backbone.zero_grad()
        hidden = backbone.hidden(batch, *more)[wanted]
        (hidden * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
        return hidden.detach(), {n: p.grad.clone() for n, p in backbone.named_parameters() if p.grad is not None}

    ours = read_and_learned(read)
    assert len(ours[0]) == int(read.sum()) == 10
    same(ours, read_and_learned())


def test_layers_before_the_last_compute_all_tokens_and_the_last_what_is_read(load, steps, monkeypatch):
    backbone = load("llama")
    results: list[int] = []
    compute = fused.layer

    def counted(hidden, **rest):
        found = compute(hidden, **rest)
        results.append(len(found))
        return found

    monkeypatch.setattr(fused, "layer", counted)
    rows = [TokenRow(torch.arange(2, 2 + n), torch.arange(n) >= n - 2) for n in (5, 8, 3)]
    backbone.log_probs(pad_rows(rows, pad_id=1))
    assert results == [16, 9], "two targets a row, the first of which is foreseen by the token before it"


@pytest.mark.parametrize("read", [None, (1, 1, 2), (2, 1, 0)], ids=["all", "most", "few"])
@pytest.mark.parametrize("kind", ["grouped", "head norms", "biases"])
def test_the_gradient_written_by_hand_is_that_of_finite_differences(kind, read):
    generator = torch.Generator().manual_seed(1)

    def some(*shape: int) -> torch.Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64) * 0.4
        return values.requires_grad_(True)

    hidden, heads, key_heads, size, inner = 6, 4, 2, 4, 5
    rows = row_attention.RowLayout((3, 1, 2), ((0, 0), (0, 2), (2, 0)), (3, 1, 2), None)
    if read is not None:
        places = [place for n, end in zip(read, (3, 4, 6), strict=True) for place in range(end - n, end)]
        rows = rows._replace(query_counts=read, query_positions=torch.tensor(places))
    shape = LayerShape(heads, key_heads, size, 0.5, 1e-6, rows)
    weights = Weights(
        before=some(hidden),
        query=some(heads * size, hidden),
        key=some(key_heads * size, hidden),
        value=some(key_heads * size, hidden),
        output=some(hidden, heads * size),
        between=some(hidden),
        gate=some(inner, hidden),
        up=some(inner, hidden),
        down=some(hidden, inner),
        query_norm=some(size) if kind == "head norms" else None,
        key_norm=some(size) if kind == "head norms" else None,
        query_bias=some(heads * size) if kind == "biases" else None,
        key_bias=some(key_heads * size) if kind == "biases" else None,
        value_bias=some(key_heads * size) if kind == "biases" else None,
    )
    angle = torch.rand(6, 1, size // 2, generator=generator, dtype=torch.float64)
    turn = torch.complex(angle.cos(), angle.sin())
    there = [weight for weight in weights if weight is not None]

    def compute(inputs, *values):
        rest = iter(values)
        return layer(inputs, turn, shape, Weights(*(None if weight is None else next(rest) for weight in weights)))

    assert torch.autograd.gradcheck(compute, (some(6, hidden), *there), fast_mode=True)


def test_gradient_checkpointing_computes_the_step_twice(load, steps):
    backbone, batch = load("llama").train(), some_rows()
    steps.clear()
    ours = learned(backbone, batch)
    backbone.use_gradient_checkpointing(True)
    same(learned(backbone, batch), ours)
    assert len(steps) == 2 + 4


def test_adapters_autocast_hooks_and_frozen_parts_are_left_to_transformers(load, steps):
    backbone, batch = load("llama").train(), some_rows()
    expected = learned(plain(backbone), batch)
    steps.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, _ = learned(backbone, batch)
    assert torch.allclose(rough.float(), expected[0], atol=0.1, rtol=0.1)
    seen = []
    hook = backbone.trunk.layers[0].mlp.gate_proj.register_forward_hook(lambda *_: seen.append("gate"))
    same(learned(backbone, batch), expected)
    assert (seen, len(steps)) == (["gate"], 1), "the other layer goes on as one step"
    hook.remove()
    backbone.trunk.layers[1].mlp.up_proj.weight.requires_grad_(False)
    _, gradients = learned(backbone, batch)
    assert len(steps) == 2
    assert "hf.model.layers.1.mlp.up_proj.weight" not in gradients
    backbone.trunk.layers.requires_grad_(False)
    learned(backbone, batch)
    assert len(steps) == 2, "only the embeddings are trained, and their gradient passes through"
    backbone.requires_grad_(False)
    assert torch.allclose(backbone.log_probs(batch)[0], expected[0], atol=1e-5)
    assert len(steps) == 4, "where nothing is trained, the step serves"


def with_adapters(backbone, *names: str, targets="all-linear") -> None:
    for name in names:
        add_lora(backbone, name, rank=4, alpha=8, targets=targets)
    for name, parameter in backbone.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0.0, 0.1)


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "down_proj")], ids=["everywhere", "on two products"])
@pytest.mark.parametrize("kind", FUSED)
def test_an_adapter_learns_in_one_step_what_it_learns_in_peft_layers(load_kind, steps, kind, targets):
    backbone, batch = load_kind(kind), some_rows()
    with torch.no_grad():
        before = backbone.hidden(batch)
    with_adapters(backbone, "policy", targets=targets)
    steps.clear()
    ours = learned(backbone, batch)
    assert steps == [32, 32]
    assert len(ours[1]) == 2 * 2 * (7 if targets == "all-linear" else 2)
    with torch.no_grad(), acting_as(backbone, None):
        assert torch.equal(backbone.hidden(batch), before), "the base alone is computed as it was without adapters"
    fused.unfuse(backbone.trunk)
    backbone.unpadded, backbone.fused = 0, False
    same(ours, learned(backbone, batch))


def test_of_two_adapters_the_active_one_learns(load, steps):
    backbone, batch = load("llama"), some_rows()
    with_adapters(backbone, "policy", "value")
    for name in ("policy", "value"):
        with acting_as(backbone, name):
            steps.clear()
            chosen, gradients = learned(backbone, batch)
            assert steps == [32, 32]
        assert gradients
        assert all(f".{name}." in parameter for parameter in gradients), name
        with acting_as(backbone, name):
            backbone.use_gradient_checkpointing(True)
            backbone.train()
            same(learned(backbone, batch), (chosen, gradients))
            backbone.use_gradient_checkpointing(False)


def test_what_is_no_ordinary_adapter_is_left_to_peft(load, steps):
    backbone, batch = load("llama"), some_rows()
    with_adapters(backbone, "policy")
    expected = learned(backbone, batch)
    layer = backbone.trunk.layers[0]
    steps.clear()
    layer.self_attn.q_proj.lora_A["policy"].weight.requires_grad_(False)
    _, gradients = learned(backbone, batch)
    assert steps == [32], "one of its parts is frozen"
    assert len(gradients) == len(expected[1]) - 1
    layer.self_attn.q_proj.lora_A["policy"].weight.requires_grad_(True)
    steps.clear()
    layer.mlp.up_proj.lora_dropout["policy"] = torch.nn.Dropout(0.0)
    same(learned(backbone, batch), expected)
    assert steps == [32], "dropout is peft's to compute"


def test_a_trained_model_opens_in_plain_transformers(load, tmp_path):
    backbone, batch = load("llama").train(), some_rows((8, 8))
    names = list(plain(backbone).state_dict())
    learned(backbone, batch)
    torch.optim.SGD(backbone.parameters(), lr=1e-3).step()
    assert list(backbone.state_dict()) == names
    save_model(backbone, tiny_tokeniser(), tmp_path / "saved")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    with torch.no_grad():
        expected = theirs(input_ids=batch.ids).logits.log_softmax(-1)[:, :-1].gather(2, batch.ids[:, 1:, None])
        ours, _ = backbone.log_probs(batch)
    assert torch.allclose(ours, expected.flatten(), atol=1e-5)


def test_copies_and_trunks_keep_the_step_and_generation_goes_by_it(load, steps):
    backbone, batch = load("llama"), some_rows()
    steps.clear()
    other = copy.deepcopy(backbone)
    other.trunk.layers[0].mlp.down_proj.weight.data.zero_()
    with torch.no_grad():
        assert not torch.allclose(other.hidden(batch), backbone.hidden(batch)), "a copy computes with its own weights"
        assert len(steps) == 4
        assert torch.equal(trunk_of(backbone).hidden(batch), backbone.hidden(batch))
        steps.clear()
        answer = backbone.hf.generate(batch.ids[1:2], max_new_tokens=3, do_sample=False)
    assert answer.shape == (1, 11)
    assert steps == []


def test_other_families_keep_their_own_layers(load):
    for family in ("gpt2", "gemma3", "phi3", "qwen3_moe"):
        backbone = load(family)
        assert not backbone.fused
        assert fused.fuse(backbone.trunk) == 0
        assert not any("forward" in module.__dict__ for module in backbone.trunk.modules())


def test_a_layer_that_computes_something_else_is_found_out(tmp_path, monkeypatch):
    backbone = load_causal(write_tiny_model(tmp_path / "model"), dtype=torch.float32, device="cpu")
    assert backbone.fused
    fused.unfuse(backbone.trunk)
    usual = type(backbone.trunk.layers[0].mlp).forward
    monkeypatch.setattr(type(backbone.trunk.layers[0].mlp), "forward", lambda self, x: 2 * usual(self, x))
    backbone.fused = False
    assert find_unpadded(backbone) > 0
    assert not backbone.fused
    assert not any("forward" in module.__dict__ for module in backbone.trunk.modules())


def test_half_precision_models_keep_their_own_layers(folder_of, steps):
    backbone = load_causal(folder_of("llama"), dtype=torch.bfloat16, device="cpu")
    with torch.no_grad():
        backbone.hidden(some_rows())
    assert steps == []
