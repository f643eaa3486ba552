"""Rows that join and leave: each gives what `generate` gives for its prompt, settings and seed, whatever else runs."""

import random

import pytest
import torch

from steersman.errors import DataError, UsageError
from steersman.rollout.engine import Sampling
from steersman.rollout.live import LiveRows, live_rows
from steersman.rollout.live_row import LiveRow
from steersman.rollout.native import DecodingOptions, NativeEngine
from steersman.rollout.request import Ending

SETTINGS = [
    Sampling(12, 1.0),
    Sampling(20, 0.0),
    Sampling(9, 0.7, top_k=5),
    Sampling(16, 1.3, top_p=0.8, repetition_penalty=1.2),
    Sampling(14, 1.0, min_new_tokens=14, stop_ids=(7, 8, 9)),
    Sampling(18, 1.0, stop_ids=tuple(range(0, 400, 3))),
    Sampling(15, 1.0, min_p=0.01, stop=("e", " th")),
]


def row_of(i: int, **more) -> LiveRow:
    prompt = tuple((7 * i + 3 * k) % 300 + 5 for k in range(1 + i % 11))
    return LiveRow(prompt, SETTINGS[i % len(SETTINGS)], seed=1000 + i, **more)


def finish(live: LiveRows) -> None:
    while live.waiting or live.running:
        live.step()


def expected(engine: NativeEngine, row: LiveRow):
    return engine.generate([row.prompt], row.sampling, seeds=[row.seed])[0]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_a_row_gives_what_generate_gives_while_others_come_and_go(family, tiny, tokeniser):
    engine = NativeEngine(tiny(family), Ending((0,), tokeniser=tokeniser))
    live = live_rows(engine, rows=5, length=40)
    rows, order = [row_of(i) for i in range(30)], random.Random(0)
    for row in rows:
        live.add(row)
        for _ in range(order.randrange(3)):
            live.step()
    finish(live)
    for row in rows:
        alone = expected(engine, row)
        assert (row.ids, row.ended) == (list(alone.ids), alone.finish_reason)
        torch.testing.assert_close(torch.tensor([t.log_prob for t in row.tokens]), alone.log_probs, atol=1e-4, rtol=0)
        sampling = torch.tensor([t.sampling_log_prob for t in row.tokens])
        torch.testing.assert_close(sampling, alone.sampling_log_probs, atol=1e-4, rtol=0)


def test_a_cancelled_row_leaves_and_the_next_one_takes_its_slot(tiny):
    engine = NativeEngine(tiny("llama"), Ending(()))
    live = live_rows(engine, rows=1, length=60)
    first, second, third = (LiveRow((5, 6), Sampling(50, 1.0), seed=i) for i in range(3))
    for row in (first, second, third):
        live.add(row)
    live.step()
    assert (live.running, list(live.waiting)) == (1, [second, third])
    first.cancelled = second.cancelled = True
    changed = live.step()
    assert {first.ended, second.ended} == {"cancelled"}
    assert changed[:2] == [second, first]
    assert len(third.tokens) == 2
    finish(live)
    assert third.ids == list(expected(engine, third).ids)


def test_new_weights_hold_from_the_next_token_on(fresh, tiny):
    backbone = fresh("llama")
    engine = NativeEngine(backbone, Ending(()))
    live = live_rows(engine, rows=2, length=60)
    row = LiveRow((5, 6, 7), Sampling(20, 1.0), seed=1)
    live.add(row)
    live.step()
    other = {name: value + 0.05 for name, value in backbone.hf.state_dict().items() if "layernorm" in name}
    engine.load_weights(other, 4)
    before = len(row.tokens)
    late = LiveRow((9, 8), Sampling(20, 1.0), seed=2)
    live.add(late)
    finish(live)
    assert [t.version for t in row.tokens] == [0] * before + [4] * (20 - before)
    assert late.ids == list(expected(engine, late).ids)


def test_rows_are_prefilled_again_for_a_decoder_that_cannot_read_their_cache(tiny):
    """As after an update whose fused copy is not exact: the engine falls back to another decoder."""
    engine = NativeEngine(tiny("llama"), Ending(()), options=DecodingOptions(path="cached"))
    live = live_rows(engine, rows=3, length=60)
    rows = [row_of(i) for i in (0, 1, 3)]
    for row in rows:
        live.add(row)
    live.step()
    engine.options, engine.path = DecodingOptions(path="fused"), None
    engine.refresh(1)
    live.step()
    assert live._decoder is not None
    assert live._decoder.name == "fused"
    finish(live)
    for row in rows:
        assert row.ids == list(expected(engine, row).ids)


def test_alternatives_are_of_the_plain_distribution(tiny, plain_log_probs):
    engine = NativeEngine(tiny("llama"), Ending(()))
    live = live_rows(engine, rows=3, length=60)
    rows = [LiveRow((5, 6), Sampling(6, 0.5, top_k=3), seed=i, alternatives=count) for i, count in enumerate((4, 0))]
    plain = LiveRow((5, 6), Sampling(6, 0.5, top_k=3), seed=9)
    for row in (*rows, plain):
        live.add(row)
    finish(live)
    for row in rows:
        found = plain_log_probs(engine.backbone, expected(engine, row))
        torch.testing.assert_close(torch.tensor([t.plain_log_prob for t in row.tokens]), found, atol=1e-4, rtol=0)
    assert [len(t.alternatives) for t in rows[0].tokens] == [4] * 6
    for token in rows[0].tokens:
        values = [value for _, value in token.alternatives]
        assert values == sorted(values, reverse=True)
        # top_k is 3, so the sampled token is among them
        assert dict(token.alternatives)[token.id] == pytest.approx(token.plain_log_prob, abs=1e-5)
    assert {t.alternatives for t in [*rows[1].tokens, *plain.tokens]} == {()}
    assert all(t.plain_log_prob != t.plain_log_prob for t in plain.tokens)


def test_eos_can_be_ignored(tiny):
    engine = NativeEngine(tiny("llama"), Ending(tuple(range(300))))
    live = live_rows(engine, rows=2, length=60)
    short, long = (LiveRow((5,), Sampling(12, 1.0), seed=3, ignore_end=ignore) for ignore in (False, True))
    live.add(short)
    live.add(long)
    finish(live)
    assert (short.ended, len(long.tokens), long.ended) == ("end", 12, "length")


def test_what_never_fits_is_refused(tiny):
    live = live_rows(NativeEngine(tiny("llama"), Ending((0,))), rows=2, length=10)
    with pytest.raises(DataError, match="a row has room for 10"):
        live.add(LiveRow((5,) * 6, Sampling(5, 1.0), seed=0))
    with pytest.raises(DataError, match="has no tokens"):
        live.add(LiveRow((), Sampling(5, 1.0), seed=0))
    with pytest.raises(UsageError, match="the model's context is"):
        live_rows(live.engine, length=10**9)
    with pytest.raises(UsageError, match="expected 2 or more"):
        live_rows(live.engine, length=1)
    assert live.step() == []


def test_after_a_failure_rows_begin_anew(tiny):
    engine = NativeEngine(tiny("llama"), Ending(()))
    live = live_rows(engine, rows=1, length=30)
    rows = [LiveRow((5,), Sampling(4, 1.0), seed=i) for i in range(2)]
    for row in rows:
        live.add(row)
    live.step()
    assert live.fail() == [rows[1], rows[0]]
    again = LiveRow((5,), Sampling(4, 1.0), seed=1)
    live.add(again)
    finish(live)
    assert again.ids == list(expected(engine, again).ids)


def test_memory_limits_rows(tiny):
    engine = NativeEngine(tiny("llama"), Ending((0,)), options=DecodingOptions(token_budget=1000))
    live = live_rows(engine)
    assert (live.slots, live.capacity) == (1000 // min(125, engine.backbone.context_length or 125), 125)
