"""A cache in pages gives the answers of a whole one, shares prompts, and holds what was answered; on a GPU, or by
Triton's interpreter."""

import pytest
import torch

pytest.importorskip("triton", reason="Triton is made for Linux on x86-64 (and comes with torch for CUDA)")

from steersman.errors import UsageError
from steersman.rollout import gpu_attention, gpu_kernels
from steersman.rollout.engine import Sampling
from steersman.rollout.memory import RowMemory
from steersman.rollout.native import DecodingOptions, NativeEngine
from steersman.rollout.paged import AHEAD, PAGE, PagedMemory
from steersman.rollout.request import Ending

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def prefilled(lengths, *, tensors=2, lanes=2, width=4) -> RowMemory:
    memory = RowMemory(len(lengths), max(lengths), torch.device(DEVICE))
    for index in range(tensors):
        memory.write_start(index, torch.randn(len(lengths), lanes, max(lengths), width, device=DEVICE))
    memory.lengths.copy_(torch.tensor(lengths))
    return memory


def read(memory: PagedMemory, slot: int, length: int) -> torch.Tensor:
    """What a row holds, as [tensors, lanes, length, width]."""
    pages = memory.pool[:, memory.table[slot].long()]
    return pages.transpose(1, 2).flatten(2, 3)[:, :, :length]


def cache(slots=4, capacity=4 * PAGE, most_pages=None) -> PagedMemory:
    return PagedMemory.empty((2, 2, 4), slots, capacity, most_pages, torch.zeros(1, device=DEVICE))


def test_samples_share_the_whole_pages_of_their_prompt_and_nothing_else():
    source, memory = prefilled([PAGE + 5, 3]), cache()
    memory.take(source, [0, 0, 1], [0, 2, 3])
    held = [tensor for tensor in source.tensors if tensor is not None]
    for slot, row, length in ((0, 0, PAGE + 5), (2, 0, PAGE + 5), (3, 1, 3)):
        expected = torch.stack([tensor[row, :, :length] for tensor in held])
        assert torch.equal(read(memory, slot, length), expected)
    table = memory.table.tolist()
    assert table[0][0] == table[2][0] != table[3][0]
    assert len({table[0][1], table[2][1], table[3][0], table[0][0], 0}) == 5, "what is written has a page of its own"
    assert memory.pages_used == 4
    memory.release([0])
    assert memory.pages_used == 3, "the prompt's page is still read"
    assert torch.equal(read(memory, 2, PAGE), torch.stack([tensor[0, :, :PAGE] for tensor in held]))
    memory.move([3], [1])
    assert torch.equal(read(memory, 1, 3), torch.stack([tensor[1, :, :3] for tensor in held]))
    assert memory.lengths.tolist() == [0, 3, PAGE + 5, 0]
    memory.forget()
    assert memory.pages_used == 0
    assert not memory.table.any()


def test_rows_get_pages_as_they_grow_and_the_pool_doubles_with_what_is_in_it():
    memory = cache(slots=1000, capacity=5000)
    memory.take(prefilled([5, 2]), [0, 1], [0, 1])
    before = read(memory, 0, 5)
    first = memory.pool.shape[1]
    for _ in range(4500):
        assert memory.room_for_step([0]) == []
    assert memory.grown == 1
    assert memory.pool.shape[1] == 2 * first
    assert memory.pages_used - 1 == -(-(4505 + AHEAD) // PAGE)
    assert torch.equal(read(memory, 0, 5), before)


def test_a_row_without_a_page_is_named_and_the_others_go_on():
    memory = cache(slots=2, most_pages=6)
    memory.take(prefilled([PAGE - 1, PAGE - 1]), [0, 1], [0, 1])
    gone: list[int] = []
    for _ in range(3 * PAGE):
        gone += memory.room_for_step([slot for slot in (0, 1) if slot not in gone])
        for slot in gone:
            memory.release([slot])
    assert gone == [1], "the later one"
    assert memory.pool.shape[1] <= 6


@pytest.mark.parametrize("paged", [False, True])
@pytest.mark.parametrize("split", [1, 4])
@pytest.mark.parametrize("window", [None, 70])
def test_attention_in_parts_over_pages_is_that_over_the_whole_past(paged, split, window):
    rows, heads, kv_heads, size, capacity = 4, 4, 2, 16, 3 * PAGE
    lengths = torch.tensor([0, 1, PAGE, 130], device=DEVICE)
    keys, values = (torch.randn(rows, kv_heads, capacity, size, device=DEVICE) for _ in range(2))
    queries = torch.randn(rows, heads, size, device=DEVICE)
    expected = gpu_kernels.attend_past(queries, keys, values, lengths, window)
    table = None
    if paged:
        order = torch.randperm(3 * rows)
        table = (1 + order.view(rows, 3)).to(torch.int32).to(DEVICE)
        pools = []
        for whole in (keys, values):
            pool = torch.randn(3 * rows + 1, kv_heads, PAGE, size, device=DEVICE)
            pool[table.flatten().long()] = whole.unflatten(2, (3, PAGE)).transpose(1, 2).flatten(0, 1)
            pools.append(pool)
        keys, values = pools
    seen = gpu_attention.attend_parts(queries, keys, values, lengths, window, table=table, split=split)
    torch.testing.assert_close(seen, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"paged": True}, {"paged": True, "split": 2}, {"split": 4}, {"paged": True, "token_budget": 150}]
)
def test_answers_are_those_of_a_whole_cache(tiny, options):
    backbone = tiny("llama").to(DEVICE)
    prompts = [list(range(5, 5 + n)) for n in (PAGE + 3, 4)]
    given = Sampling(max_new_tokens=12, temperature=1.0)
    whole, paged = (
        NativeEngine(backbone, Ending((7, 9, 30)), options=DecodingOptions(path="graphed", **one))
        for one in ({}, options)
    )
    expected = whole.generate(prompts, given, samples=2, seeds=3)
    seen = paged.generate(prompts, given, samples=2, seeds=3)
    assert [one.ids for one in seen] == [one.ids for one in expected]
    for one, other in zip(seen, expected, strict=True):
        torch.testing.assert_close(one.log_probs, other.log_probs, atol=1e-4, rtol=1e-4)
    if "paged" in options:
        again = paged.generate(prompts, given, samples=2, seeds=3)
        assert [one.ids for one in again] == [one.ids for one in expected]


def test_a_split_is_a_power_of_two():
    with pytest.raises(UsageError, match="power of two"):
        DecodingOptions(split=3)
