"""A folder says what it holds without torch."""

import json
import subprocess
import sys

import pytest

from steersman.errors import ModelError
from steersman.models.files import describe, read_json
from steersman.models.tiny import write_tiny_model


def test_folders_say_what_they_hold(folder_of, tmp_path):
    causal = describe(folder_of("qwen3"))
    assert (causal.kind, causal.family, causal.base, causal.classes) == ("causal", "qwen3", None, ())
    write_tiny_model(tmp_path / "one", "llama", classes=("reward",))
    assert describe(tmp_path / "one").kind == "reward"
    write_tiny_model(tmp_path / "two", "bert", classes=("calm", "toxic"))
    assert (describe(tmp_path / "two").kind, describe(tmp_path / "two").classes) == ("classifier", ("calm", "toxic"))
    write_tiny_model(tmp_path / "unnamed", "bert", classes=("LABEL_0", "LABEL_1"))
    assert describe(tmp_path / "unnamed").classes == ("LABEL_0", "LABEL_1")


def test_adapters_name_their_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/base"}))
    assert (describe(tmp_path).kind, describe(tmp_path).base) == ("adapter", "some/base")


def test_what_is_no_model_folder_is_said(tmp_path):
    with pytest.raises(ModelError, match="there is no folder"):
        describe(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="is no model folder"):
        describe(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"), [("{", "cannot be read"), ("[]", "holds a list"), (b"\xff", "cannot be read")]
)
def test_damaged_json_is_named(tmp_path, text, reason):
    path = tmp_path / "config.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ModelError, match=reason):
        read_json(path)


def test_describing_needs_no_torch():
    code = "import sys, steersman.models.files; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
