"""The native engine says what the model says, whatever else is in the batch, and ends where it should."""

import itertools

import pytest
import torch

from steersman.errors import DataError, ModelError, UsageError
from steersman.models.tiny import FAMILIES
from steersman.rollout.batch import Rollout
from steersman.rollout.engine import Engine, Sampling, sample_seed
from steersman.rollout.native import DecodingOptions, NativeEngine, default_token_budget
from steersman.rollout.request import Ending
from steersman.rollout.stops import StopStrings, answer_text

PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14], [20, 21, 22], [30] * 17, [40, 41], list(range(50, 79))]
FUSED = ("llama", "qwen3", "gemma3", "mistral", "phi3")


def assert_log_probs(backbone, rollouts, plain_log_probs, temperature=1.0, atol=1e-4):
    for rollout in rollouts:
        expected = plain_log_probs(backbone, rollout, temperature)
        torch.testing.assert_close(rollout.log_probs, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probs_are_those_of_a_plain_forward_pass(family, tiny, plain_log_probs):
    backbone = tiny(family)
    engine = NativeEngine(backbone, Ending((0,)), options=DecodingOptions(rows=4))
    assert isinstance(engine, Engine)
    assert engine.path == ("fused" if family in FUSED else "cached"), engine.why_slower
    rollouts = engine.generate(PROMPTS, Sampling(24, 0.7), samples=2, seeds=3)
    assert [(r.prompt, r.sample) for r in rollouts] == [(i, n) for i in range(5) for n in range(2)]
    assert [list(r.prompt_ids) for r in rollouts[::2]] == PROMPTS
    assert_log_probs(backbone, rollouts, plain_log_probs, 0.7)
    assert torch.equal(rollouts.log_probs, rollouts.sampling_log_probs)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_is_the_greedy_of_transformers(family, tiny):
    backbone = tiny(family)
    engine = NativeEngine(backbone, Ending((0,)), options=DecodingOptions(rows=3))
    for rollout in engine.generate(PROMPTS, Sampling(20, 0.0), seeds=1):
        ids = torch.tensor([rollout.prompt_ids])
        expected = backbone.hf.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False, eos_token_id=0, pad_token_id=1
        )[0, ids.shape[1] :]
        assert list(rollout.ids) == expected.tolist()
        assert rollout.sampling_log_probs.eq(0).all()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
@pytest.mark.parametrize("path", ["cached", "whole"])
def test_every_path_gives_the_same_samples(family, path, tiny):
    sampling = Sampling(16, 1.0, top_p=0.9, repetition_penalty=1.1)
    expected = NativeEngine(tiny(family), Ending((0,))).generate(PROMPTS, sampling, samples=2, seeds=5)
    seen = NativeEngine(tiny(family), Ending((0,)), options=DecodingOptions(path=path, rows=3)).generate(
        PROMPTS, sampling, samples=2, seeds=5
    )
    for ours, theirs in zip(seen, expected, strict=True):
        assert ours.ids == theirs.ids
        torch.testing.assert_close(ours.log_probs, theirs.log_probs, atol=1e-4, rtol=0)


def test_an_unknown_family_is_decoded_too(plain_log_probs):
    """A state-space model keeps no keys and values, so neither fast way may be taken for it."""
    from transformers import MambaConfig, MambaForCausalLM

    from steersman.models.backbone import Backbone, Readout

    config = MambaConfig(vocab_size=97, hidden_size=16, num_hidden_layers=2, state_size=4)
    backbone = Backbone(MambaForCausalLM(config).eval(), name="mamba", readout=Readout(None, 1.0), packing=None)
    engine = NativeEngine(backbone, Ending((0,)))
    assert engine.path == "whole"
    assert "fused" in engine.why_slower
    assert "cached" in engine.why_slower
    rollouts = engine.generate([[5, 6, 7], [8] * 9], Sampling(6, 1.0), seeds=1)
    assert_log_probs(backbone, rollouts, plain_log_probs)


@pytest.mark.slow
def test_whatever_else_is_in_the_batch_changes_nothing(tiny):
    """2,000 samples in batches of different company: at least 99.9 % the same tokens, log-probabilities within 1e-5."""
    engine = NativeEngine(tiny("llama"), Ending(range(8)), options=DecodingOptions(rows=64))
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(8, 300, (1 + i % 20,), generator=generator).tolist() for i in range(500)]
    sampling = Sampling(10, 1.0)
    seeds = [sample_seed(1, 0, i, n) for i in range(500) for n in range(4)]
    together = engine.generate(prompts, sampling, samples=4, seeds=seeds)
    engine.rows = 24
    order = torch.randperm(2000, generator=generator).tolist()
    apart: dict[int, Rollout] = {}
    for start in range(0, 2000, 250):
        part = order[start : start + 250]
        answers = engine.generate([prompts[i // 4] for i in part], sampling, seeds=[seeds[i] for i in part])
        apart.update(zip(part, answers, strict=True))
    same = [i for i in range(2000) if together[i].ids == apart[i].ids]
    assert len(same) >= 1998
    worst = max(float((together[i].log_probs - apart[i].log_probs).abs().max()) for i in same)
    assert worst < 1e-5
    assert len({len(r.ids) for r in together}) > 5


def test_samples_follow_the_model(tiny):
    """The first token's frequencies over 4,000 seeds against the exact distribution."""
    from scipy.stats import chisquare

    backbone = tiny("llama")
    draws = 4000
    rollouts = NativeEngine(backbone, Ending((0,))).generate([[5, 6, 7]], Sampling(1, 1.0), samples=draws, seeds=11)
    with torch.no_grad():
        expected = backbone.hf(input_ids=torch.tensor([[5, 6, 7]])).logits[0, -1].double().softmax(-1)
    counts = torch.bincount(torch.tensor([r.ids[0] for r in rollouts]), minlength=len(expected)).double()
    often = expected * draws >= 5
    seen = torch.cat([counts[often], counts[~often].sum()[None]])
    wanted = torch.cat([expected[often], expected[~often].sum()[None]]) * draws
    assert chisquare(seen.numpy(), wanted.numpy()).pvalue > 1e-3


def test_a_seed_is_a_sample(tiny):
    engine = NativeEngine(tiny("llama"), Ending((0,)))
    sampling = Sampling(10, 1.0)
    first = engine.generate([[5, 6]], sampling, samples=3, seeds=[1, 2, 1])
    assert first[0].ids == first[2].ids != first[1].ids
    assert [r.seed for r in first] == [1, 2, 1]
    assert engine.generate([[5, 6]], sampling, seeds=[2])[0].ids == first[1].ids
    longer = engine.generate([[5, 6]], Sampling(30, 1.0), seeds=[2])[0]
    assert longer.ids[:10] == first[1].ids


def test_finish_reasons(tiny):
    backbone = tiny("llama")
    free = NativeEngine(backbone, Ending(())).generate([[5, 6, 7]], Sampling(12, 1.0), seeds=[4])[0]
    assert (free.finish_reason, len(free.ids)) == ("length", 12)
    fifth = free.ids[4]
    first = free.ids.index(fifth)
    ended = NativeEngine(backbone, Ending((fifth,))).generate([[5, 6, 7]], Sampling(12, 1.0), seeds=[4])[0]
    assert (ended.finish_reason, ended.ids) == ("end", free.ids[: first + 1])
    stopped = NativeEngine(backbone, Ending(())).generate([[5, 6, 7]], Sampling(12, 1.0, stop_ids=(fifth,)), seeds=[4])[
        0
    ]
    assert (stopped.finish_reason, stopped.ids) == ("stop", free.ids[: first + 1])
    torch.testing.assert_close(ended.log_probs, free.log_probs[: first + 1], atol=1e-5, rtol=0)


def test_the_context_is_the_last_limit(tiny):
    engine = NativeEngine(tiny("llama", context=32), Ending(()))
    rollouts = engine.generate([[5] * 30, [6] * 4, [7] * 31], Sampling(20, 1.0), seeds=1)
    assert [len(r.ids) for r in rollouts] == [2, 20, 1]
    assert {r.finish_reason for r in rollouts} == {"length"}
    with pytest.raises(DataError, match="context of 32"):
        engine.generate([[5] * 32], Sampling(20, 1.0), seeds=1)


def test_fewest_tokens_come_before_any_end(tiny):
    engine = NativeEngine(tiny("llama"), Ending(range(2, 150)))
    short = engine.generate([[5, 6, 7]], Sampling(20, 1.0), samples=40, seeds=2)
    assert min(len(r.ids) for r in short) < 4
    rollouts = engine.generate([[5, 6, 7]], Sampling(20, 1.0, min_new_tokens=6, stop_ids=(200,)), samples=40, seeds=2)
    assert all(len(r.ids) > 6 for r in rollouts)
    assert not any(2 <= token < 150 or token == 200 for r in rollouts for token in r.ids[:6])
    assert any(r.finish_reason == "end" for r in rollouts)
    # Told apart: the distribution that the trainer compares with has the end tokens, the one drawn from had not.
    assert all(bool((r.log_probs[:6] < r.sampling_log_probs[:6]).all()) for r in rollouts)


def test_filters_change_the_draw_and_not_the_reported_log_probs(tiny, plain_log_probs):
    backbone = tiny("llama")
    sampling = Sampling(16, 0.8, top_k=12, top_p=0.9, min_p=0.01, repetition_penalty=1.2)
    rollouts = NativeEngine(backbone, Ending((0,)), options=DecodingOptions(rows=3)).generate(
        PROMPTS, sampling, samples=2, seeds=8
    )
    assert_log_probs(backbone, rollouts, plain_log_probs, 0.8)
    from transformers.generation.logits_process import (
        LogitsProcessorList,
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    processors = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.2),
            TemperatureLogitsWarper(0.8),
            TopKLogitsWarper(12),
            TopPLogitsWarper(0.9),
            MinPLogitsWarper(0.01),
        ]
    )
    for rollout in rollouts:
        ids = torch.tensor([rollout.prompt_ids + rollout.ids])
        with torch.no_grad():
            logits = backbone.hf(input_ids=ids).logits[0]
        for t, token in enumerate(rollout.ids):
            at = len(rollout.prompt_ids) + t
            expected = processors(ids[:, :at], logits[at - 1 : at]).log_softmax(-1)[0, token]
            assert float(rollout.sampling_log_probs[t]) == pytest.approx(float(expected), abs=1e-4)


def test_stop_strings_reach_over_token_boundaries(tiny, tokeniser):
    backbone = tiny("llama")
    free = NativeEngine(backbone, Ending(())).generate([[5, 6, 7]], Sampling(40, 1.0), samples=8, seeds=6)
    engine = NativeEngine(backbone, Ending((), tokeniser=tokeniser))
    checked = 0
    for rollout in free:
        pieces = [tokeniser.decode([token]) for token in rollout.ids]
        joints = [
            i
            for i in range(6, 39)
            if all(len(p) > 1 and "\ufffd" not in p and "<|" not in p for p in pieces[i : i + 2])
        ]
        for i in joints[:2]:
            stop = pieces[i][-1] + pieces[i + 1][0]
            again = engine.generate([[5, 6, 7]], Sampling(40, 1.0, stop=(stop, "never this")), seeds=[rollout.seed])[0]
            n = len(again.ids)
            assert again.finish_reason == "stop"
            assert again.ids == rollout.ids[:n]
            assert stop in tokeniser.decode(again.ids)
            assert stop not in tokeniser.decode(again.ids[:-1])
            text = answer_text(tokeniser, again, (stop,))
            assert stop not in text
            assert tokeniser.decode(again.ids, skip_special_tokens=True).startswith(text + stop)
            checked += 1
    assert checked >= 4


@pytest.mark.parametrize("stop", ["é", "日本", "😀!", "heart and", "<|user|>", " for", "a\nb", "d\n"])
def test_stop_strings_of_any_script_are_found_where_they_end(stop, tokeniser):
    text = f"good for the x{stop} and so on"
    ids = tokeniser(text, add_special_tokens=False)["input_ids"]
    stops = StopStrings(tokeniser, [stop])
    found = [n for n in range(1, len(ids) + 1) if stops.found(ids[:n])]
    expected = min(n for n in range(1, len(ids) + 1) if stop in tokeniser.decode(ids[:n]))
    assert found[0] == expected


def test_stop_strings_wait_for_the_fewest_tokens(tiny, tokeniser):
    engine = NativeEngine(tiny("llama"), Ending((), tokeniser=tokeniser))
    free = engine.generate([[5, 6, 7]], Sampling(40, 1.0), seeds=[3])[0]
    letter = tokeniser.decode(free.ids[1:2])[0]
    early = engine.generate([[5, 6, 7]], Sampling(40, 1.0, stop=(letter,)), seeds=[3])[0]
    late = engine.generate([[5, 6, 7]], Sampling(40, 1.0, stop=(letter,), min_new_tokens=10), seeds=[3])[0]
    assert len(early.ids) <= 2
    assert len(late.ids) >= 10


def test_tokens_are_told_as_they_are_drawn(tiny):
    engine = NativeEngine(tiny("llama"), Ending(range(20)), options=DecodingOptions(rows=4))
    told: list[tuple[int, int, int, float]] = []
    rollouts = engine.generate(
        PROMPTS, Sampling(12, 1.0), samples=3, seeds=2, on_token=lambda *token: told.append(token)
    )
    for rollout in rollouts:
        mine = [(token, log_prob) for i, n, token, log_prob in told if (i, n) == (rollout.prompt, rollout.sample)]
        assert [token for token, _ in mine] == list(rollout.ids)
        assert [log_prob for _, log_prob in mine] == rollout.log_probs.tolist()
    # Several samples at once: they are told side by side and not one after the other.
    runs = [key for key, _ in itertools.groupby((i, n) for i, n, _, _ in told)]
    assert len(runs) > len(rollouts)


@pytest.mark.parametrize(("rows", "budget"), [(1, None), (2, None), (5, 100), (64, 1), (64, None)])
def test_memory_bounds_how_many_are_answered_at_once_and_not_what_is_answered(rows, budget, tiny, plain_log_probs):
    backbone = tiny("llama")
    engine = NativeEngine(backbone, Ending(range(20)), options=DecodingOptions(rows=rows, token_budget=budget))
    rollouts = engine.generate(PROMPTS, Sampling(12, 1.0), samples=3, seeds=2)
    assert len(rollouts) == 15
    assert_log_probs(backbone, rollouts, plain_log_probs)
    assert len({r.ids for r in rollouts}) > 10


def test_the_default_budget_is_a_gibibyte_of_keys_and_values(tiny):
    # 2 layers, 2 key/value heads of width 8, keys and values, 4 bytes: 256 bytes a token; 2^30 / 256 = 2^22.
    assert default_token_budget(tiny("llama")) == 2**22


def test_a_request_needs_what_it_needs(tiny):
    engine = NativeEngine(tiny("llama"), Ending((0,)))
    with pytest.raises(UsageError, match="no tokeniser"):
        engine.generate([[5]], Sampling(4, 1.0, stop=("x",)), seeds=1)
    with pytest.raises(UsageError, match="rows is 0"):
        NativeEngine(tiny("llama"), Ending((0,)), options=DecodingOptions(rows=0))
    with pytest.raises(ModelError, match="cannot be decoded"):
        NativeEngine(tiny("gpt2"), Ending((0,)), options=DecodingOptions(path="fused"))


def test_decoding_leaves_the_model_as_it_was(fresh):
    backbone = fresh("llama")
    backbone.hf.train()
    backbone.use_gradient_checkpointing(True)
    kernels = torch.backends.mkldnn.matmul.fp32_precision  # pyright: ignore[reportAttributeAccessIssue]
    NativeEngine(backbone, Ending((0,)), options=DecodingOptions(path="cached")).generate(
        [[5, 6]], Sampling(4, 1.0), seeds=1
    )
    engine = NativeEngine(backbone, Ending((0,)))
    engine.generate([[5, 6]], Sampling(4, 1.0), seeds=1)
    assert backbone.hf.training
    assert torch.backends.mkldnn.matmul.fp32_precision == kernels  # pyright: ignore[reportAttributeAccessIssue]
    loss = backbone.hf(input_ids=torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss
    loss.backward()
    assert all(p.grad is not None for p in backbone.hf.parameters())


@pytest.fixture
def one_thread():
    """How a product is divided among threads may depend on what else the machine does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_answering_twice_gives_the_same_bits(tiny):
    engine = NativeEngine(tiny("llama"), Ending(range(9)))
    first, second = (engine.generate(PROMPTS, Sampling(16, 1.0), samples=4, seeds=7) for _ in range(2))
    assert first == second
