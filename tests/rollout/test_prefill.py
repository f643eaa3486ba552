"""A long prompt is read in chunks, with the numbers of one pass."""

import pytest
import torch

from steersman.models.heads import ValueHead
from steersman.rollout import fused
from steersman.rollout.engine import Sampling
from steersman.rollout.fused import FusedDecoder
from steersman.rollout.native import NativeEngine
from steersman.rollout.request import Ending

FAMILIES = ("llama", "qwen3", "gemma3", "mistral", "phi3")
LENGTHS = torch.tensor([41, 80, 3, 64])


@pytest.fixture
def sizes(monkeypatch):
    """The sizes of all passes of prefills."""
    seen: list[int] = []
    read = FusedDecoder._read_chunk

    def counted(self, ids, counts, memory, start):
        seen.append(ids.numel())
        return read(self, ids, counts, memory, start)

    monkeypatch.setattr(FusedDecoder, "_read_chunk", counted)
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_chunks_give_the_numbers_of_one_pass(family, tiny, sizes, monkeypatch):
    backbone = tiny(family)
    ids = torch.randint(2, backbone.vocabulary, (4, 80), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    head = ValueHead(backbone.hidden_size)
    torch.nn.init.normal_(head.weight)
    with torch.inference_mode():
        decoder = FusedDecoder(backbone, None)
        decoder.set_value_head(head)
        memory, logits = decoder.prefill(ids, LENGTHS)
        values = decoder.values
        assert sizes == [4 * 80]
        monkeypatch.setattr(fused, "CHUNK", 4 * 16)
        chunked, found = decoder.prefill(ids, LENGTHS)
        assert sizes[1:] == [4 * 16] * 5
        torch.testing.assert_close(found, logits, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(decoder.values, values, atol=1e-5, rtol=1e-5)
        assert torch.equal(chunked.lengths, memory.lengths)
        for ours, theirs in zip(chunked.tensors, memory.tensors, strict=True):
            for row, length in enumerate(LENGTHS.tolist()):
                torch.testing.assert_close(ours[row, :, :length], theirs[row, :, :length], atol=1e-5, rtol=1e-5)


def test_a_chunk_without_a_real_token_is_left_out(tiny, sizes, monkeypatch):
    backbone = tiny("llama")
    ids = torch.randint(2, backbone.vocabulary, (2, 64))
    lengths = torch.tensor([20, 9])
    with torch.inference_mode():
        decoder = FusedDecoder(backbone, None)
        expected = decoder.prefill(ids, lengths)[1]
        monkeypatch.setattr(fused, "CHUNK", 32)
        torch.testing.assert_close(decoder.prefill(ids, lengths)[1], expected, atol=1e-5, rtol=1e-5)


def test_answers_to_long_prompts_are_the_same(tiny, sizes, monkeypatch):
    prompts = [list(range(5, 75)), [9] * 33]
    plain, chunked = [], []
    for found, chunk in ((plain, fused.CHUNK), (chunked, 32)):
        monkeypatch.setattr(fused, "CHUNK", chunk)
        engine = NativeEngine(tiny("qwen3"), Ending((0,)))
        found += engine.generate(prompts, Sampling(12, 1.0), samples=2, seeds=4)
    assert max(sizes) > 32 >= sizes[-1]
    assert [one.ids for one in plain] == [one.ids for one in chunked]
    for one, other in zip(plain, chunked, strict=True):
        torch.testing.assert_close(one.log_probs, other.log_probs, atol=1e-5, rtol=1e-5)
