"""The choice of kernels is checked for exactness, remembered, and undone after use."""

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
    before = torch.backends.mkldnn.matmul.fp32_precision
    with kernels.using("onednn"):
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    assert torch.backends.mkldnn.matmul.fp32_precision == before
