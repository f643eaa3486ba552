"""Models that no command may train, through the command line: pickles, and models that read both ways."""

import shutil
import sys

import pytest
import torch
from bert import write_bert
from safetensors.torch import load_file

from steersman.cli.main import main

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["pickle", "bert"])
def test_it_is_refused_and_nothing_is_left_behind(kind, tiny, data, tmp_path, monkeypatch, capsys):
    model = tmp_path / "model"
    if kind == "pickle":
        shutil.copytree(tiny("llama"), model)
        torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
        (model / "model.safetensors").unlink()
    else:
        write_bert(model)
    out = tmp_path / "run"
    monkeypatch.setattr(
        sys, "argv", ["steersman", "sft", f"model.path={model}", f"data.source={data}", f"run.out={out}"]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 4
    said = capsys.readouterr().err
    assert ("convert it once: python -c" if kind == "pickle" else "is no causal language model") in said
    assert not out.exists()
