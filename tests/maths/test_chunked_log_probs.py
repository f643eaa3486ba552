"""Log-probabilities from hidden states against the plain way: values, gradients, types, memory."""

import subprocess
import sys
import textwrap
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from steersman.maths.chunked_log_probs import chosen_log_probs, chunk_for, summed_log_probs
from steersman.maths.tokens import gather_at, gather_before

POSITIONS, VOCAB, HIDDEN = 13, 11, 5
VARIANTS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"softcap": 3.0},
    {"logit_scale": 0.5},
    {"temperature": 1.3, "softcap": 2.0, "logit_scale": 1.7},
]


def plainly(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    temperature: float = 1.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The obvious way, with all logits at once."""
    logits = F.linear(hidden, weight, bias) * logit_scale
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    log_probs = F.log_softmax((logits / temperature).to(torch.promote_types(logits.dtype, torch.float32)), dim=-1)
    return log_probs.gather(1, targets[:, None]).squeeze(1), -(log_probs.exp() * log_probs).sum(-1)


def inputs(
    dtype: torch.dtype = torch.float64, positions: int = POSITIONS, vocab: int = VOCAB, hidden: int = HIDDEN
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(positions, hidden, generator=generator).to(dtype).requires_grad_(),
        (torch.randn(vocab, hidden, generator=generator) / hidden**0.5).to(dtype).requires_grad_(),
        torch.randn(vocab, generator=generator).to(dtype).requires_grad_(),
        torch.randint(vocab, (positions,), generator=generator),
    )


def gradients(log_probs: Tensor, entropies: Tensor | None, leaves: list[Tensor]) -> list[Tensor]:
    """Of a loss in which every position and both outputs weigh differently."""
    slope = torch.linspace(-1, 2, len(log_probs), dtype=log_probs.dtype)
    loss = (slope * log_probs).sum()
    if entropies is not None:
        loss = loss + (slope.flip(0).square() * entropies).sum()
    return list(torch.autograd.grad(loss, leaves))


@pytest.mark.parametrize("chunk", [4, 100])
def test_entropies_that_are_only_looked_at_leave_the_gradient_as_it_is(chunk: int):
    hidden, weight, bias, targets = inputs()
    for variant in VARIANTS:
        seen, _ = chosen_log_probs(hidden, weight, bias, targets, chunk=chunk, with_entropy=True, **variant)
        alone, _ = plainly(hidden, weight, bias, targets, **variant)
        leaves = [hidden, weight, bias]
        for ours, theirs in zip(gradients(seen, None, leaves), gradients(alone, None, leaves), strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("chunk", [1, 4, 13, 100])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("with_entropy", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_values_and_gradients_equal_the_plain_ones(
    chunk: int, with_bias: bool, with_entropy: bool, variant: dict[str, Any]
):
    hidden, weight, bias, targets = inputs()
    used = bias if with_bias else None
    leaves = [hidden, weight, bias] if with_bias else [hidden, weight]
    log_probs, entropies = chosen_log_probs(
        hidden, weight, used, targets, chunk=chunk, with_entropy=with_entropy, **variant
    )
    plain_log_probs, plain_entropies = plainly(hidden, weight, used, targets, **variant)
    torch.testing.assert_close(log_probs, plain_log_probs, rtol=1e-12, atol=1e-12)
    assert (entropies is not None) == with_entropy
    if entropies is not None:
        torch.testing.assert_close(entropies, plain_entropies, rtol=1e-12, atol=1e-12)
    ours = gradients(log_probs, entropies, leaves)
    plain = gradients(plain_log_probs, plain_entropies if with_entropy else None, leaves)
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


def test_golden_two_tokens():
    # hidden 1, weights log 3 and 0: logits log 3, 0, so p = 3/4, 1/4. Entropy = log 4 - 3/4 log 3 = 0.5623351446.
    # At temperature 2 the odds are sqrt 3: p = 0.6339745962, log p = -0.4557463968.
    hidden, weight = torch.ones(1, 1, dtype=torch.float64), torch.tensor([[3.0], [1.0]], dtype=torch.float64).log()
    targets = torch.tensor([0])
    log_probs, entropies = chosen_log_probs(hidden, weight, None, targets, chunk=1, with_entropy=True)
    assert log_probs.exp().item() == pytest.approx(0.75)
    assert entropies is not None
    assert entropies.item() == pytest.approx(0.5623351446)
    warm, _ = chosen_log_probs(hidden, weight, None, targets, temperature=2.0, chunk=1, with_entropy=False)
    assert warm.item() == pytest.approx(-0.4557463968)


def test_the_derivative_is_that_of_finite_differences():
    hidden, weight, bias, targets = inputs(positions=4)

    def both(*leaves: Tensor) -> Tensor:
        log_probs, entropies = chosen_log_probs(
            *leaves,
            targets,  # pyright: ignore[reportCallIssue]
            temperature=0.8,
            softcap=4.0,
            chunk=3,
            with_entropy=True,  # pyright: ignore[reportCallIssue]
        )
        assert entropies is not None
        return torch.stack([log_probs, entropies])

    assert torch.autograd.gradcheck(both, (hidden, weight, bias))


def test_only_one_output_may_be_used():
    hidden, weight, _, targets = inputs()
    log_probs, entropies = chosen_log_probs(hidden, weight, None, targets, chunk=4, with_entropy=True)
    plain_log_probs, plain_entropies = plainly(hidden, weight, None, targets)
    assert entropies is not None
    for one, other in ((log_probs, plain_log_probs), (entropies, plain_entropies)):
        torch.testing.assert_close(
            torch.autograd.grad(one.sum(), [hidden, weight], retain_graph=True),
            torch.autograd.grad(other.sum(), [hidden, weight], retain_graph=True),
        )


@pytest.mark.parametrize("trained", [[0], [1], [2], [0, 2]])
def test_what_is_frozen_gets_no_gradient(trained: list[int]):
    *leaves, targets = inputs()
    leaves = [leaf.detach().requires_grad_(i in trained) for i, leaf in enumerate(leaves)]
    log_probs, _ = chosen_log_probs(leaves[0], leaves[1], leaves[2], targets, chunk=4, with_entropy=False)
    log_probs.sum().backward()
    plain = torch.autograd.grad(plainly(*leaves, targets)[0].sum(), [leaves[i] for i in trained])  # pyright: ignore[reportCallIssue]
    assert [i for i, leaf in enumerate(leaves) if leaf.grad is not None] == trained
    for i, expected in zip(trained, plain, strict=True):
        torch.testing.assert_close(leaves[i].grad, expected)


def test_no_gradient_means_no_graph():
    hidden, weight, _, targets = inputs()
    with torch.no_grad():
        log_probs, _ = chosen_log_probs(hidden, weight, None, targets, chunk=4, with_entropy=False)
    assert not log_probs.requires_grad


@pytest.mark.parametrize("with_entropy", [False, True])
def test_no_targets_give_nothing_and_zero_gradients(with_entropy: bool):
    hidden, weight, bias, targets = inputs(positions=0)
    log_probs, _ = chosen_log_probs(hidden, weight, bias, targets, chunk=4, with_entropy=with_entropy)
    assert log_probs.shape == (0,)
    for gradient in torch.autograd.grad(log_probs.sum(), [hidden, weight, bias]):
        assert not gradient.any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_bfloat16_inputs_give_float32_results_and_bfloat16_gradients(variant: dict[str, Any]):
    hidden, weight, bias, targets = inputs(torch.bfloat16, positions=64, vocab=200, hidden=32)
    log_probs, entropies = chosen_log_probs(hidden, weight, bias, targets, chunk=17, with_entropy=True, **variant)
    exact = [leaf.detach().double().requires_grad_() for leaf in (hidden, weight, bias)]
    exact_log_probs, exact_entropies = plainly(*exact, targets, **variant)  # pyright: ignore[reportCallIssue]
    assert log_probs.dtype == torch.float32
    # A logit between 4 and 8 is rounded by up to 2^-6 in bfloat16, and by as much again at temperature 0.7.
    torch.testing.assert_close(log_probs.double(), exact_log_probs, rtol=0, atol=0.03)
    assert entropies is not None
    torch.testing.assert_close(entropies.double(), exact_entropies, rtol=0, atol=0.03)
    ours = gradients(log_probs, entropies, [hidden, weight, bias])
    for one, other in zip(ours, gradients(exact_log_probs, exact_entropies, exact), strict=True):
        assert one.dtype == torch.bfloat16
        assert (one.double() - other).norm() < 0.02 * other.norm()


def test_autocast_computes_the_product_in_bfloat16_and_returns_gradients_in_the_input_type():
    hidden, weight, bias, targets = inputs(torch.float32, positions=64, vocab=200, hidden=32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        log_probs, entropies = chosen_log_probs(hidden, weight, bias, targets, chunk=17, with_entropy=True)
    exact_log_probs, exact_entropies = plainly(hidden, weight, bias, targets)
    assert log_probs.dtype == torch.float32
    assert not torch.equal(log_probs, exact_log_probs)
    torch.testing.assert_close(log_probs, exact_log_probs, rtol=0, atol=0.03)
    leaves = [hidden, weight, bias]
    for one, other in zip(
        gradients(log_probs, entropies, leaves), gradients(exact_log_probs, exact_entropies, leaves), strict=True
    ):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.02 * other.norm()


def test_a_float32_head_on_bfloat16_hidden_states_computes_in_float32():
    hidden, weight, _, targets = inputs(torch.float32)
    half = hidden.detach().bfloat16().requires_grad_()
    log_probs, _ = chosen_log_probs(half, weight, None, targets, chunk=4, with_entropy=False)
    torch.testing.assert_close(log_probs, plainly(half.float(), weight, None, targets)[0])
    log_probs.sum().backward()
    assert half.grad is not None
    assert weight.grad is not None
    assert (half.grad.dtype, weight.grad.dtype) == (torch.bfloat16, torch.float32)


def test_huge_logits_stay_finite():
    hidden, weight, _, targets = inputs(torch.float32)
    log_probs, entropies = chosen_log_probs(hidden * 1e4, weight, None, targets, chunk=4, with_entropy=True)
    assert log_probs.isfinite().all()
    assert all(g.isfinite().all() for g in gradients(log_probs, entropies, [hidden, weight]))


@pytest.mark.parametrize(("change", "said"), [({"chunk": 0}, "chunk is 0"), ({"temperature": 0.0}, "temperature is")])
def test_impossible_settings_are_refused(change: dict[str, Any], said: str):
    hidden, weight, _, targets = inputs()
    with pytest.raises(ValueError, match=said):
        chosen_log_probs(hidden, weight, None, targets, **{"chunk": 4, "with_entropy": False, **change})


def test_the_chunk_keeps_the_logits_small_but_the_matrix_product_busy():
    assert chunk_for(4096) * 4096 == 8 * 2**20
    assert chunk_for(32000) == 262
    assert chunk_for(256_000) == 128
    assert 4 * chunk_for(4096, "cuda") * 4096 == 256 * 2**20, "bytes of float32"
    assert chunk_for(10**6, "cuda") == 128


class LargestTensor(TorchDispatchMode):
    """Remembers the largest tensor that any operation made or touched."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in torch.utils._pytree.tree_leaves(result):  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(leaf, Tensor):
                self.largest = max(self.largest, leaf.numel(), leaf.untyped_storage().nbytes() // leaf.itemsize)
        return result


def traced(compute: Any) -> tuple[int, int]:
    """Elements of the largest tensor in forward and backward, and elements saved for backward."""
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with LargestTensor() as mode, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        log_probs, entropies = compute()
        (log_probs.sum() + entropies.sum()).backward()
    return mode.largest, sum(tensor.numel() for tensor in saved)


@pytest.mark.parametrize("variant", [{}, {"softcap": 5.0, "temperature": 0.7}])
def test_the_full_logits_never_exist(variant: dict[str, Any]):
    positions, vocab, width, chunk = 600, 500, 8, 50
    hidden, weight, bias, targets = inputs(torch.float32, positions, vocab, width)
    largest, saved = traced(
        lambda: chosen_log_probs(hidden, weight, bias, targets, chunk=chunk, with_entropy=True, **variant)
    )
    assert largest == chunk * vocab
    assert saved <= positions * width + vocab * width + vocab + 2 * positions
    # The same tracer sees the plain way's logits, so it would have seen ours.
    largest, saved = traced(lambda: plainly(hidden, weight, bias, targets, **variant))
    assert largest == positions * vocab
    assert saved >= positions * vocab


@pytest.mark.slow
def test_peak_memory_is_far_below_the_plain_way():
    program = textwrap.dedent(
        """
        import sys
        import torch
        import torch.nn.functional as F
        from steersman.maths.chunked_log_probs import chosen_log_probs, chunk_for

        def peak():
            # not ru_maxrss, which a process inherits from the one that started it
            return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

        torch.set_num_threads(2)
        positions, vocab, width = 4096, 32000, 8
        hidden = torch.randn(positions, width, requires_grad=True)
        weight = torch.randn(vocab, width, requires_grad=True)
        targets = torch.randint(vocab, (positions,))
        before = peak()
        if sys.argv[1] == "ours":
            log_probs, _ = chosen_log_probs(hidden, weight, None, targets, chunk=chunk_for(vocab), with_entropy=False)
            log_probs.sum().backward()
        else:
            F.cross_entropy(F.linear(hidden, weight), targets, reduction="sum").backward()
        print((peak() - before) / 1024)
        """
    )

    def peak(way: str) -> float:
        done = subprocess.run([sys.executable, "-c", program, way], capture_output=True, text=True, check=True)
        return float(done.stdout)

    # One full float32 logits tensor is 4096 * 32000 * 4 bytes = 500 MiB; the plain way holds at least two of them.
    ours, plain = peak("ours"), peak("plain")
    assert plain > 900
    assert ours < 250


def test_shifted_log_probs_equal_cross_entropy_and_padding_changes_nothing():
    ids, states = torch.randint(VOCAB, (2, 6)), torch.randn(2, 6, HIDDEN, dtype=torch.float64)
    weight = inputs()[1]
    mask = torch.tensor([[False, False, True, True, True, True], [False, True, True, True, False, False]])

    def per_token(ids: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        flat, _ = chosen_log_probs(
            gather_before(states, mask), weight, None, gather_at(ids, mask), chunk=3, with_entropy=False
        )
        return torch.zeros(mask.shape, dtype=flat.dtype).masked_scatter(mask, flat)

    logits = F.linear(states, weight)
    expected = -F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    torch.testing.assert_close(per_token(ids, states, mask)[:, 1:], torch.where(mask[:, 1:], expected, 0))
    wide = F.pad(ids, (0, 3)), F.pad(states, (0, 0, 0, 3), value=9.0), F.pad(mask, (0, 3))
    torch.testing.assert_close(per_token(*wide)[:, :6], per_token(ids, states, mask))


@pytest.mark.parametrize("with_entropy", [False, True])
def test_keeping_a_single_chunk_gives_the_gradients_of_making_it_again(with_entropy: bool):
    hidden, weight, bias, targets = inputs()
    found = []
    # one chunk of all positions is kept, two chunks are made again
    for chunk in (len(hidden), len(hidden) - 1):
        log_probs, entropies = chosen_log_probs(hidden, weight, bias, targets, chunk=chunk, with_entropy=with_entropy)
        total = (log_probs * torch.arange(len(log_probs))).sum()
        if entropies is not None:
            total = total + (entropies * 0.3).sum()
        # twice: what was kept must not be used up
        first = torch.autograd.grad(total, [hidden, weight, bias], retain_graph=True)
        again = torch.autograd.grad(total, [hidden, weight, bias])
        torch.testing.assert_close(first, again)
        found.append(first)
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("chunk", [1, 4, 13, 100])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_sum_and_its_gradients_equal_the_plain_ones(chunk: int, with_bias: bool, variant: dict[str, Any]):
    hidden, weight, bias, targets = inputs()
    used = bias if with_bias else None
    leaves = [hidden, weight, bias] if with_bias else [hidden, weight]
    total = summed_log_probs(hidden, weight, used, targets, chunk=chunk, **variant)
    plain = plainly(hidden, weight, used, targets, **variant)[0].sum()
    torch.testing.assert_close(total, plain, rtol=1e-12, atol=1e-12)
    ours = torch.autograd.grad(-0.3 * total, leaves, retain_graph=True)
    theirs = torch.autograd.grad(-0.3 * plain, leaves)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)
    # it is scaled in place, so a second time would be wrong
    with pytest.raises(RuntimeError, match="already taken"):
        torch.autograd.grad(-0.3 * total, leaves)


@pytest.mark.parametrize("trained", [[0], [1], [2], [0, 2], []])
def test_the_sum_gives_what_is_frozen_no_gradient(trained: list[int]):
    leaves = [leaf if i in trained else leaf.detach() for i, leaf in enumerate(inputs()[:3])]
    total = summed_log_probs(*leaves, inputs()[3], chunk=4)  # pyright: ignore[reportCallIssue]
    assert total.requires_grad == bool(trained)
    if trained:
        total.backward()
    assert [i for i, leaf in enumerate(leaves) if leaf.grad is not None] == trained


def test_the_sum_of_bfloat16_inputs_is_float32_with_bfloat16_gradients():
    hidden, weight, bias, targets = inputs(torch.bfloat16)
    total = summed_log_probs(hidden, weight, bias, targets, chunk=4)
    each, _ = chosen_log_probs(hidden, weight, bias, targets, chunk=4, with_entropy=False)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, each.sum())
    ours, theirs = (torch.autograd.grad(made, [hidden, weight, bias]) for made in (total, each.sum()))
    assert all(gradient.dtype == torch.bfloat16 for gradient in ours)
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)


def test_the_sum_never_holds_the_full_logits_either():
    positions, vocab, width, chunk = 600, 500, 8, 50
    hidden, weight, bias, targets = inputs(torch.float32, positions, vocab, width)
    zero = torch.zeros(())
    largest, saved = traced(lambda: (summed_log_probs(hidden, weight, bias, targets, chunk=chunk), zero))
    assert largest == chunk * vocab
    assert saved <= positions * width + vocab * width + vocab


def test_the_sum_over_no_positions_is_zero_with_zero_gradients():
    hidden, weight, bias, targets = inputs(positions=0)
    total = summed_log_probs(hidden, weight, bias, targets, chunk=4)
    total.backward()
    assert total.item() == 0
    assert weight.grad is not None
    assert not weight.grad.any()
