"""Checks whether this machine can train. Each check gives facts and a verdict."""

import importlib.metadata as metadata
import os
import platform
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from steersman.errors import UsageError
from steersman.execution.free_memory import free_memory
from steersman.execution.machine import resolve_device
from steersman.extensions import GROUPS, described, extension_names, find_extension, load_extension

NEEDED = ("torch", "transformers", "peft", "safetensors", "tokenizers", "datasets", "pydantic", "numpy")
OPTIONAL = {
    "bitsandbytes": "QLoRA",
    "torchao": "optimiser.states=8bit",
    "tensorboard": "run.journal=tensorboard",
    "wandb": "run.journal=wandb",
    "mlflow-skinny": "run.journal=mlflow",
    "trackio": "run.journal=trackio",
}


@dataclass(frozen=True)
class MachineCheck:
    name: str
    verdict: Literal["good", "note", "bad"]
    words: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(out: Path) -> list[MachineCheck]:
    """All checks of common problems."""
    return [_python(), *_libraries(), *_extensions(), _memory(), _disk(out), _device(), _kernels(), _training()]


def _python() -> MachineCheck:
    return MachineCheck(
        "python",
        "good",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} processors",
    )


def _libraries() -> list[MachineCheck]:
    found = []
    for name in NEEDED:
        try:
            found.append(MachineCheck(name, "good", metadata.version(name)))
        except metadata.PackageNotFoundError:
            found.append(MachineCheck(name, "bad", f"is not installed; pip install {name}"))
    for name, use in OPTIONAL.items():
        try:
            found.append(MachineCheck(name, "good", f"{metadata.version(name)} (for {use})"))
        except metadata.PackageNotFoundError:
            found.append(MachineCheck(name, "note", f"not installed; only needed for {use}"))
    return found


def _extensions() -> list[MachineCheck]:
    found: list[MachineCheck] = []
    for group, what in GROUPS.items():
        for name in extension_names(group):
            try:
                load_extension(name, group)
                words = f"{what}, of {described(find_extension(name, group)[1])}"
                found.append(MachineCheck(f"extension {name}", "good", words))
            except UsageError as error:
                found.append(MachineCheck(f"extension {name}", "bad", str(error)))
    return found


def _memory() -> MachineCheck:
    bytes_free = free_memory()
    if bytes_free is None:
        return MachineCheck("memory", "note", "this system does not say how much is free")
    gigabytes = bytes_free / 2**30
    if gigabytes < 2:
        return MachineCheck(
            "memory",
            "bad",
            f"{gigabytes:.1f} GB free; even a small run wants 2 GB. Close something, or use smaller micro-batches.",
        )
    return MachineCheck("memory", "good", f"{gigabytes:.1f} GB free")


def _disk(out: Path) -> MachineCheck:
    here = next(parent for parent in (out.absolute(), *out.absolute().parents) if parent.exists())
    gigabytes = shutil.disk_usage(here).free / 2**30
    if not os.access(here, os.W_OK):
        return MachineCheck("disk", "bad", f"{here} cannot be written to; choose another run.out")
    if gigabytes < 5:
        return MachineCheck(
            "disk", "note", f"{gigabytes:.1f} GB free at {here}; checkpoints of a 1 B model need about 12 GB each"
        )
    return MachineCheck("disk", "good", f"{gigabytes:.0f} GB free at {here}")


def _device() -> MachineCheck:
    import torch

    device = resolve_device("auto")
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16: float32 will be used"
        why = _no_kernels(device)
        steps = f"answers by ordinary steps, several times slower ({why})" if why else "answers by recorded steps"
        size = f"{properties.total_memory / 2**30:.0f} GB"
        return MachineCheck("device", "note" if why else "good", f"{properties.name}, {size}, {bf16}; {steps}")
    return MachineCheck(
        "device", "good", f"{device.type}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    )


def _no_kernels(device: Any) -> str:
    """Why GPU kernels cannot be built here, or "" if they can. One is built and run."""
    import torch

    try:
        from steersman.rollout.gpu_kernels import add_norm

        add_norm(torch.ones(1, 8, device=device), None, 1e-5, torch.float32)
    # a compiler may fail in any way
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    return ""


def _kernels() -> MachineCheck:
    from steersman.train.kernels import LARGEST_ERROR, gain, relative_error

    error = relative_error("onednn", 512)
    if error > LARGEST_ERROR:
        return MachineCheck(
            "kernels",
            "note",
            f"oneDNN's float32 products err by {error:.0e} here (they round to bfloat16), so they stay off",
        )
    return MachineCheck(
        "kernels",
        "good",
        f"oneDNN's float32 products are exact (error {error:.0e}) and {gain(512):.1f} times as fast as the default at "
        "width 512",
    )


def _training() -> MachineCheck:
    """Train a tiny model for three optimiser steps."""
    from functools import partial

    import torch

    from steersman.batches import TokenRow
    from steersman.execution.learner import collate_rows, learner_of
    from steersman.methods.sft import NextToken
    from steersman.models.loading import load_causal
    from steersman.models.tiny import write_tiny_model
    from steersman.parallel.world import World
    from steersman.settings.parts import OptimiserSettings
    from steersman.train.plan import Batching

    device = resolve_device("auto")
    with tempfile.TemporaryDirectory() as folder:
        backbone = load_causal(write_tiny_model(Path(folder), "llama"), dtype=torch.float32, device=device)
        row = TokenRow(torch.arange(5, 21), torch.arange(16) > 0)
        learner = learner_of(
            backbone,
            OptimiserSettings(learning_rate=0.01),
            Batching(partial(collate_rows, pad_id=0, device=device, pad_multiple=1), token_budget=64),
            steps=3,
            world=World.alone(device),
            precision="fp32",
            notice=print,
        )
        losses = [learner.step([row], NextToken()).loss for _ in range(3)]
    if losses[-1] < losses[0]:
        return MachineCheck(
            "training", "good", f"three steps of a tiny model: loss {losses[0]:.2f} to {losses[-1]:.2f}"
        )
    return MachineCheck("training", "bad", f"three steps of a tiny model did not lower the loss: {losses}")
