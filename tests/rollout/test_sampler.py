"""The filters keep what transformers' processors keep, and draws follow the probabilities they should."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from steersman.rollout.engine import Sampling
from steersman.rollout.sampler import draw, reshape
from steersman.rollout.uniforms import uniforms

HISTORY = torch.tensor([[3, 5, 5, 11], [0, 1, 2, 3]])


def seen_of(history: torch.Tensor, vocabulary: int) -> torch.Tensor:
    return torch.zeros((len(history), vocabulary), dtype=torch.bool).scatter_(1, history, True)


def theirs(sampling: Sampling, logits: torch.Tensor) -> torch.Tensor:
    processors = LogitsProcessorList()
    if sampling.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    processors.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        processors.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        processors.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        processors.append(MinPLogitsWarper(sampling.min_p))
    return processors(HISTORY, logits)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    vocabulary=st.sampled_from([17, 40, 700]),
    temperature=st.floats(0.3, 2.0),
    top_k=st.sampled_from([0, 1, 5, 200]),
    top_p=st.sampled_from([1.0, 0.99, 0.9, 0.5, 0.01]),
    min_p=st.sampled_from([0.0, 0.02, 0.3]),
    penalty=st.sampled_from([1.0, 1.3, 0.7]),
)
def test_filters_keep_exactly_what_transformers_keeps(seed, vocabulary, temperature, top_k, top_p, min_p, penalty):
    sampling = Sampling(8, temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=penalty)
    logits = 3 * torch.randn((2, vocabulary), generator=torch.Generator().manual_seed(seed))
    ours = reshape(logits, sampling, seen=seen_of(HISTORY, vocabulary), barred=None)
    expected = theirs(sampling, logits)
    assert (ours == -math.inf).equal(expected == -math.inf)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


FILTERS = {
    "none": Sampling(8, 1.0),
    "temperature": Sampling(8, 0.6),
    "top-k": Sampling(8, 1.0, top_k=4),
    "top-p": Sampling(8, 1.0, top_p=0.8),
    "min-p": Sampling(8, 1.3, min_p=0.2),
    "penalty": Sampling(8, 1.0, repetition_penalty=1.5),
    "all": Sampling(8, 0.9, top_k=9, top_p=0.95, min_p=0.02, repetition_penalty=1.2),
}


@pytest.mark.parametrize("sampling", FILTERS.values(), ids=list(FILTERS))
def test_tokens_are_drawn_as_often_as_their_probability(sampling: Sampling):
    draws, vocabulary = 40_000, 16
    logits = 1.5 * torch.randn((2, vocabulary), generator=torch.Generator().manual_seed(4))
    expected = theirs(sampling, logits).softmax(-1)[0]
    rows = logits[:1].expand(draws, -1)
    seen = seen_of(HISTORY[:1], vocabulary).expand(draws, -1)
    numbers = uniforms(list(range(draws // 4)), 4).flatten()
    drawn = draw(rows, numbers, sampling, seen=seen, barred=None)
    counts = torch.bincount(drawn.ids, minlength=vocabulary)
    assert not counts[expected == 0].any()
    possible = expected > 0
    test = chisquare(
        counts[possible].numpy(), (expected[possible].double() / expected[possible].double().sum() * draws).numpy()
    )
    assert test.pvalue > 1e-3
    torch.testing.assert_close(drawn.sampling_log_probs, expected.log()[drawn.ids], atol=1e-5, rtol=1e-5)
    plain = (logits[0] / sampling.temperature).log_softmax(-1)
    torch.testing.assert_close(drawn.log_probs, plain[drawn.ids], atol=1e-5, rtol=1e-5)


def test_inverse_of_the_cumulative_distribution_by_hand():
    # Probabilities 0.5, 0.25, 0, 0.25: the cumulative sums are 0.5, 0.75, 0.75, 1. A number takes the first token whose
    # sum exceeds it, so 0.5 itself is the second token's, and the third is never taken.
    logits = torch.tensor([0.5, 0.25, 0.0, 0.25]).log().expand(6, -1)
    numbers = torch.tensor([0.0, 0.499, 0.5, 0.749, 0.75, 1 - 2**-24])
    drawn = draw(logits, numbers, Sampling(1, 1.0), seen=None, barred=None)
    assert drawn.ids.tolist() == [0, 0, 1, 1, 3, 3]
    assert drawn.log_probs.exp().tolist() == pytest.approx([0.5, 0.5, 0.25, 0.25, 0.25, 0.25])


def test_the_largest_number_never_falls_off_the_end():
    logits = torch.randn((500, 1000), generator=torch.Generator().manual_seed(0))
    logits[:, -3:] = -math.inf
    drawn = draw(logits, torch.full((500,), 1 - 2**-24), Sampling(1, 1.0), seen=None, barred=None)
    assert int(drawn.ids.max()) < 997
    assert drawn.log_probs.isfinite().all()


def test_greedy_takes_the_likeliest_after_the_penalty_and_reports_log_probs_at_temperature_one():
    # Token 0 leads with 2.0, but it was seen: 2.0 / 4 = 0.5 is less than token 1's 1.0.
    logits = torch.tensor([[2.0, 1.0, -1.0]])
    seen = torch.tensor([[True, False, False]])
    sampling = Sampling(1, 0.0, repetition_penalty=4.0)
    drawn = draw(logits, torch.tensor([0.9]), sampling, seen=seen, barred=None)
    assert drawn.ids.tolist() == [1]
    # log softmax of (2, 1, -1) at 1: 1 - log(e^2 + e + e^-1) = 1 - log(10.475217) = -1.349
    assert float(drawn.log_probs) == pytest.approx(1 - math.log(math.e**2 + math.e + math.e**-1), abs=1e-6)
    assert drawn.sampling_log_probs.tolist() == [0.0]


def test_barred_tokens_are_never_drawn():
    logits = torch.tensor([[9.0, 0.0, 0.0]]).expand(64, -1)
    barred = torch.tensor([[True, False, False]]).expand(64, -1)
    drawn = draw(logits, uniforms([7], 64)[0], Sampling(8, 1.0, min_new_tokens=2), seen=None, barred=barred)
    assert set(drawn.ids.tolist()) == {1, 2}
    assert drawn.sampling_log_probs.exp().tolist() == pytest.approx([0.5] * 64)


def test_tied_tokens_are_kept_together():
    logits = torch.tensor([[2.0, 1.0, 1.0, 0.0]])
    for sampling in (Sampling(1, 1.0, top_k=2), Sampling(1, 1.0, top_p=0.7)):
        assert (reshape(logits, sampling, seen=None, barred=None) > -math.inf).tolist() == [[True, True, True, False]]


def test_uniform_numbers_are_a_pure_function_of_seed_and_position():
    numbers = uniforms([5, 6, 5], 40)
    assert numbers[0].equal(numbers[2])
    assert not numbers[0].equal(numbers[1])
    assert uniforms([6], 7)[0].equal(numbers[1, :7])
    assert ((numbers >= 0) & (numbers < 1)).all()
    # The numbers are part of what a seed means, so they may never change: SplitMix64's finaliser, worked once apart
    # from this code in exact integers.
    mask = (1 << 64) - 1

    def mix(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    expected = [(mix((mix((5 + golden) & mask) + t * golden) & mask) >> 40) / 2**24 for t in (1, 2, 3)]
    assert numbers[0, :3].tolist() == expected


def test_neighbouring_seeds_and_positions_are_independent_and_even():
    numbers = uniforms(list(range(2000)), 16)
    counts = torch.histc(numbers, bins=64, min=0, max=1)
    assert chisquare(counts.numpy()).pvalue > 1e-3
    centred = numbers - numbers.mean()
    along_seeds = (centred[1:] * centred[:-1]).mean() / centred.var()
    along_positions = (centred[:, 1:] * centred[:, :-1]).mean() / centred.var()
    # 30,000 products of independent numbers: a standard error of 0.006.
    assert abs(float(along_seeds)) < 0.025
    assert abs(float(along_positions)) < 0.025


@pytest.mark.parametrize("sampling", FILTERS.values(), ids=list(FILTERS))
def test_ids_that_are_never_drawn_leave_the_others_their_shares(sampling: Sampling):
    """The likeliest token and another are never drawn; the rest are drawn by their probabilities without them."""
    draws, vocabulary, never = 40_000, 12, [3, 7]
    logits = torch.randn((1, vocabulary), generator=torch.Generator().manual_seed(4))
    logits[0, 3] = 2.5
    without = logits.clone()
    without[:, never] = -math.inf
    expected = theirs(sampling, without.expand(2, -1)).softmax(-1)[0]
    rows, seen = logits.expand(draws, -1), seen_of(HISTORY[:1], vocabulary).expand(draws, -1)
    numbers = uniforms(list(range(draws // 4)), 4).flatten()
    drawn = draw(rows, numbers, sampling, seen=seen, barred=None, never=torch.tensor(never))
    counts = torch.bincount(drawn.ids, minlength=vocabulary)
    assert not counts[never].any()
    assert not counts[expected == 0].any()
    kept = expected > 0
    shares = (expected[kept].double() / expected[kept].double().sum() * draws).numpy()
    assert chisquare(counts[kept].numpy(), shares).pvalue > 1e-3
    torch.testing.assert_close(drawn.sampling_log_probs, expected.log()[drawn.ids], atol=1e-5, rtol=1e-5)
    own = (logits[0] / sampling.temperature).log_softmax(-1)
    torch.testing.assert_close(drawn.log_probs, own[drawn.ids], atol=1e-5, rtol=1e-5)


def test_draws_of_other_tokens_stay_as_they_were_to_the_last_bit():
    logits = torch.randn((4000, 50), generator=torch.Generator().manual_seed(1))
    numbers = uniforms(list(range(1000)), 4).flatten()
    plain = draw(logits, numbers, Sampling(8, 1.0), seen=None, barred=None, with_entropy=True)
    found = draw(logits, numbers, Sampling(8, 1.0), seen=None, barred=None, never=torch.tensor([9]), with_entropy=True)
    others = plain.ids != 9
    assert 0 < int((~others).sum()) < 400
    assert found.ids[others].equal(plain.ids[others])
    assert found.log_probs[others].equal(plain.log_probs[others])
    assert found.entropies is not None
    assert plain.entropies is not None
    assert found.entropies.equal(plain.entropies)


def test_the_likeliest_token_that_may_be_drawn_is_taken_greedily():
    logits = torch.tensor([[0.0, 3.0, 2.0]])
    drawn = draw(logits, torch.zeros(1), Sampling(8, 0.0), seen=None, barred=None, never=torch.tensor([1]))
    assert drawn.ids.tolist() == [2]
    # log of e^2 / (1 + e^3 + e^2)
    assert drawn.log_probs.tolist() == pytest.approx([2 - math.log(1 + math.exp(3) + math.exp(2))])
