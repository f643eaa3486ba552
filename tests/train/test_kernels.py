"""The choice of kernels is checked for exactness, remembered, and undone after use."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from steersman.train import kernels


def test_both_kernels_are_float32_exact_or_not_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "relative_error", lambda *_: 4e-3)
    monkeypatch.setattr(kernels, "gain", lambda *_: 5.0)
    assert kernels.choose_kernels(64, tmp_path / "k.json") == "default"


def test_the_choice_is_measured_once_and_remembered(tmp_path, monkeypatch):
    calls: list[int] = []
    monkeypatch.setattr(kernels, "relative_error", lambda *_: 1e-6)
    monkeypatch.setattr(kernels, "gain", lambda *_: calls.append(1) or 1.6)
    assert [kernels.choose_kernels(64, tmp_path / "k.json") for _ in range(3)] == ["onednn"] * 3
    assert len(calls) == 1


def test_a_damaged_memory_is_measured_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "relative_error", lambda *_: 1e-6)
    monkeypatch.setattr(kernels, "gain", lambda *_: 1.0)
    (tmp_path / "k.json").write_text("{")
    assert kernels.choose_kernels(64, tmp_path / "k.json") == "default"


def test_a_real_measurement_ends_in_a_number_and_default_kernels_are_exact():
    assert kernels.relative_error("default", 64) < kernels.LARGEST_ERROR
    assert kernels.gain(32, rows=16, repeats=2) > 0


def test_the_setting_is_put_back():
    before = torch.backends.mkldnn.matmul.fp32_precision  # pyright: ignore[reportAttributeAccessIssue]
    with kernels.using("onednn"):
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"  # pyright: ignore[reportAttributeAccessIssue]
    assert torch.backends.mkldnn.matmul.fp32_precision == before  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("error", "gained", "chosen"),
    [(0.9e-5, 1.26, "onednn"), (1e-5, 1.26, "default"), (0.9e-5, 1.25, "default"), (4e-3, 9.0, "default")],
)
def test_faster_kernels_are_chosen_where_they_are_as_exact_and_worth_their_memory(
    tmp_path, monkeypatch, error, gained, chosen
):
    monkeypatch.setattr(kernels, "relative_error", lambda *_: error)
    monkeypatch.setattr(kernels, "gain", lambda *_: gained)
    assert kernels.choose_kernels(64, tmp_path / "deep" / "k.json") == chosen
    (key,) = json.loads((tmp_path / "deep" / "k.json").read_text())
    assert key.endswith(f"threads {torch.get_num_threads()} width 64")


def test_what_is_remembered_of_another_width_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "relative_error", lambda *_: 1e-6)
    monkeypatch.setattr(kernels, "gain", lambda width, *_: 2.0 if width == 64 else 1.0)
    found = [kernels.choose_kernels(width, tmp_path / "k.json") for width in (64, 128, 64)]
    assert found == ["onednn", "default", "onednn"]
    assert len(json.loads((tmp_path / "k.json").read_text())) == 2


@pytest.mark.parametrize("memory", [None, "/dev/null/home/k.json", "/proc/k.json"])
def test_a_choice_that_cannot_be_remembered_is_made_all_the_same(memory, monkeypatch):
    monkeypatch.setattr(kernels, "relative_error", lambda *_: 1e-6)
    monkeypatch.setattr(kernels, "gain", lambda *_: 2.0)
    assert kernels.choose_kernels(64, None if memory is None else Path(memory)) == "onednn"


def test_a_memory_that_is_no_object_is_measured_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "relative_error", lambda *_: 1e-6)
    monkeypatch.setattr(kernels, "gain", lambda *_: 2.0)
    (tmp_path / "k.json").write_text("[1]")
    assert kernels.choose_kernels(64, tmp_path / "k.json") == "onednn"


def test_the_error_is_a_share_of_the_largest_element(monkeypatch):
    # kernels that are 1 % off everywhere
    def off(kind):
        return nullcontext()

    plain = torch.Tensor.__matmul__
    monkeypatch.setattr(kernels, "using", off)
    monkeypatch.setattr(
        torch.Tensor, "__matmul__", lambda a, b: plain(a, b) * (1.01 if a.dtype == torch.float32 else 1.0)
    )
    assert kernels.relative_error("onednn", 32) == pytest.approx(0.01, rel=1e-3)


def test_the_gain_is_the_default_s_best_time_over_the_other_s(monkeypatch):
    # twice to warm up, then three pairs of times: the best are 4 and 2
    clock = map(float, [0, 50, 0, 50, 0, 6, 0, 2, 0, 4, 0, 3, 0, 5, 0, 9])
    monkeypatch.setattr(kernels.time, "perf_counter", lambda: next(clock))
    assert kernels.gain(8, rows=4, repeats=3) == 2.0


def test_default_kernels_may_be_asked_for_within_others():
    settings = torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue]
    with kernels.using("onednn"):
        with kernels.using("default"):
            assert settings.fp32_precision == "none"
        assert settings.fp32_precision == "bf16"


def test_the_gain_is_of_the_three_products_of_a_layer(monkeypatch):
    seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    product = torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b: seen.append((tuple(a.shape), tuple(b.shape))) or product(a, b))
    kernels.gain(8, rows=4, repeats=2)
    # forward, and the gradients of input and weight; for both kernels, once to warm up and twice to measure
    assert seen == [((4, 8), (8, 24)), ((4, 24), (24, 8)), ((24, 4), (4, 8))] * 2 * 3
