"""Memory that really runs out (a limit on the process's address space) is answered by smaller micro-batches."""

import json

import pytest
import torch
from killing import Forked, wait
from safetensors.torch import load_file

# From the first micro-batch on the process may have only so much more than it had until then.
LIMIT = """
import resource
from pathlib import Path
from steersman.methods.sft import NextToken
learn = NextToken.__call__
def limited(self, model, batch):
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + {bytes}, resource.RLIM_INFINITY))
    return learn(self, model, batch)
NextToken.__call__ = limited
"""


@pytest.mark.slow
def test_a_process_short_of_memory_learns_the_same_with_smaller_micro_batches(tiny_llama, tmp_path):
    rows = [{"prompt": f"Tell me {i}.", "completion": "dog game heart mind " * 12} for i in range(128)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def words(out):
        return [
            *(
                "steersman",
                "sft",
                "--model",
                str(tiny_llama),
                "--data",
                str(data),
                "--out",
                str(out),
                "--device",
                "cpu",
            ),
            *("run.threads=1", "train.kernels=default", "train.steps=1", "train.batch_size=128", "data.held_out=none"),
            "train.tokens_per_micro_batch=20000",
        ]

    assert wait(Forked(words(tmp_path / "roomy"), tmp_path / "roomy.txt")) == 0
    log = tmp_path / "tight.txt"
    assert wait(Forked(words(tmp_path / "tight"), log, LIMIT.format(bytes=24 << 20))) == 0, log.read_text()[-3000:]
    assert "out of memory: micro-batches now hold 10000 tokens" in log.read_text()
    state = json.loads((tmp_path / "tight" / "checkpoints" / "step-000001" / "state.json").read_text())
    assert state["token_budget"] <= 10000
    roomy, tight = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("roomy", "tight"))
    assert all(torch.allclose(tight[name], tensor, atol=2e-5) for name, tensor in roomy.items())
