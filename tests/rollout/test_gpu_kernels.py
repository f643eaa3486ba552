"""The kernels of a recorded decoding step, and the step they make, against plain torch: on a GPU, or by Triton's
interpreter (see tests/conftest.py)."""

import copy

import pytest
import torch
from torch.nn import functional

pytest.importorskip("triton", reason="Triton is made for Linux on x86-64 (and comes with torch for CUDA)")

from steersman.models.backbone import nearly_equal
from steersman.rollout import gpu_kernels
from steersman.rollout.choose import same_logits
from steersman.rollout.engine import Sampling
from steersman.rollout.generation import Generation
from steersman.rollout.graphed import GraphedDecoder
from steersman.rollout.native import DecodingOptions, NativeEngine
from steersman.rollout.request import Ending, GenerationRequest, Ticket

pytestmark = pytest.mark.slow
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FAMILIES = ("llama", "qwen3", "gemma3", "mistral", "phi3")


def assert_close(seen, expected):
    torch.testing.assert_close(seen, expected, atol=2e-5, rtol=2e-5)


def test_the_stream_grows_by_the_part_and_is_normed():
    stream, part = torch.randn(5, 96, device=DEVICE), torch.randn(5, 96, device=DEVICE)
    expected = stream + part
    assert_close(
        gpu_kernels.add_norm(stream, part, 1e-5, torch.float32), functional.rms_norm(expected, (96,), None, 1e-5)
    )
    assert_close(stream, expected)
    before = stream.clone()
    gpu_kernels.add_norm(stream, None, 1e-5, torch.float32)
    assert torch.equal(stream, before)


@pytest.mark.parametrize("gelu", [True, False])
def test_gates_open(gelu):
    both = 3 * torch.randn(4, 2 * 50, device=DEVICE)
    gate, up = both.chunk(2, dim=1)
    opened = functional.gelu(gate, approximate="tanh") if gelu else functional.silu(gate)
    assert_close(gpu_kernels.open_gate(both, gelu=gelu), opened * up)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "size", "turned", "window", "normed"),
    [(4, 2, 16, 16, None, False), (4, 4, 24, 16, 7, True), (2, 1, 64, 64, None, True)],
)
def test_queries_turn_and_attend_to_what_is_remembered(heads, kv_heads, size, turned, window, normed):
    rows, capacity = 5, 150
    lengths = torch.tensor([0, 1, 63, 64, 130], device=DEVICE)
    qkv = torch.randn(rows, (heads + 2 * kv_heads) * size, device=DEVICE)
    keys, values = (torch.randn(rows + 1, kv_heads, capacity, size, device=DEVICE) for _ in range(2))
    angles = 6 * torch.rand(capacity, turned // 2, device=DEVICE)
    cosine, sine = torch.cat([angles.cos()] * 2, 1), torch.cat([-angles.sin(), angles.sin()], 1)
    norms = (torch.rand(size, device=DEVICE), torch.rand(size, device=DEVICE))

    parts = qkv.view(rows, -1, size).clone()
    query, key, value = parts.split([heads, kv_heads, kv_heads], dim=1)
    if normed:
        query, key = (functional.rms_norm(x, (size,), w, 1e-6) for x, w in zip((query, key), norms, strict=True))

    def rotate(x):
        part = x[..., :turned]
        rolled = part.roll(turned // 2, -1) * sine[lengths][:, None]
        return torch.cat([part * cosine[lengths][:, None] + rolled, x[..., turned:]], -1)

    query, key = rotate(query), rotate(key)
    remembered = (keys.clone(), values.clone())
    for row in range(rows):
        remembered[0][row, :, lengths[row]], remembered[1][row, :, lengths[row]] = key[row], value[row]
    seen = gpu_kernels.turn_and_remember(
        qkv, keys, values, lengths, (cosine, sine), norms if normed else None, 1e-6, heads
    )
    assert_close(seen, query)
    assert_close(keys, remembered[0])
    assert_close(values, remembered[1])
    found = gpu_kernels.attend_past(seen, keys, values, lengths, window).view(rows, heads, size)
    for row in range(rows):
        last = int(lengths[row]) + 1
        first = 0 if window is None else max(0, last - window)
        k, v = (x[row, :, first:last].repeat_interleave(heads // kv_heads, 0) for x in (keys, values))
        assert_close(found[row], (torch.softmax((query[row, :, None] * k).sum(-1), -1)[:, None] @ v)[:, 0])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_of_every_family_gives_the_models_own_logits(family, tiny):
    backbone = copy.deepcopy(tiny(family)).to(DEVICE)
    with torch.inference_mode():
        assert same_logits(GraphedDecoder(backbone, None), backbone, None, None, steps=3)
        coarse = GraphedDecoder(backbone, None, dtype=torch.bfloat16)
        assert coarse.kept[0].qkv.dtype == torch.bfloat16
        assert same_logits(coarse, backbone, None, None, steps=3)


def test_answers_are_those_of_the_other_ways_while_rows_come_and_go(tiny):
    """The memory is used again by the next generation, as it was left."""
    backbone = copy.deepcopy(tiny("llama")).to(DEVICE)
    prompts = [[5, 6, 7, 8, 9], [20, 21], [30] * 9, [40], [50, 51, 52]]
    expected = NativeEngine(backbone, Ending((0,)), options=DecodingOptions(path="cached", rows=2)).generate(
        prompts, Sampling(9, 1.0), seeds=4
    )
    with torch.inference_mode():
        decoder = GraphedDecoder(backbone, None)
        for limit in (4, 9):
            tickets = [[Ticket(i, 0, one.seed, limit)] for i, one in enumerate(expected)]
            request = GenerationRequest(
                prompts,
                tickets,
                Sampling(9, 1.0),
                Ending((0,)),
                version=0,
                on_token=None,
                on_answer=None,
                with_token_info=False,
            )
            made = Generation(
                decoder,
                request,
                slots=2,
                vocabulary=backbone.vocabulary,
                context=backbone.context_length,
                device=backbone.device,
            )
            made.run()
            assert [one.ids for one in made.batch()] == [one.ids[:limit] for one in expected]


def test_new_weights_take_the_places_of_the_old(fresh):
    backbone = fresh("qwen3").to(DEVICE)
    with torch.inference_mode():
        decoder = GraphedDecoder(backbone, None)
        places = [one.data_ptr() for one in decoder.kept[0].tensors().values()]
    with torch.no_grad():
        for parameter in backbone.hf.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    ids, lengths = torch.tensor([[5, 6, 7]], device=DEVICE), torch.tensor([3], device=DEVICE)
    with torch.inference_mode():
        expected = backbone.hf(input_ids=ids, use_cache=False).logits[:, -1]
        assert not nearly_equal(expected, decoder.prefill(ids, lengths)[1])
        decoder.refill(None)
        assert nearly_equal(expected, decoder.prefill(ids, lengths)[1])
        assert same_logits(decoder, backbone, None, None, steps=2)
    assert places == [one.data_ptr() for one in decoder.kept[0].tensors().values()]
