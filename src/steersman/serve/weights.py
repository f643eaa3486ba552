"""New weights for a served model: collected between /start_weight_update and /finish_weight_update, then taken up at
once, between two steps. Nothing changes if they do not fit.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor

from steersman.errors import ModelError, SteersmanError
from steersman.rollout.native import NativeEngine
from steersman.serve.problems import ApiError, bad_request


@dataclass(slots=True)
class WeightUpdates:
    """The updates of one engine."""

    engine: NativeEngine
    version: str | None = None
    """What the last update said its version is; None before the first."""
    _collected: dict[str, Tensor] | None = field(default=None)

    def start(self) -> None:
        if self._collected is not None:
            raise ApiError(409, "an update has begun already; finish it first", code="update_begun")
        if self.engine.acting_as is not None:
            raise bad_request(
                "the model is an adapter on a shared base, whose weights are not updated; serve it merged"
            )
        self._collected = {}

    def take(self, data: bytes | Path) -> int:
        """Keep some tensors, from safetensors as bytes or in a file. Returns how many."""
        if self._collected is None:
            raise ApiError(409, "no update has begun; ask /start_weight_update first", code="no_update")
        try:
            found = load_file(data) if isinstance(data, Path) else load(data)
        except (SafetensorError, OSError, ValueError) as error:
            raise bad_request(f"the weights are no safetensors that can be read: {error}", "update_info") from error
        self._check(found)
        self._collected |= found
        return len(found)

    def _check(self, found: dict[str, Tensor]) -> None:
        own = self.engine.backbone.hf.state_dict()
        for name, tensor in found.items():
            if name not in own or own[name].shape != tensor.shape:
                there = (
                    f"it has the shape {list(own[name].shape)} here" if name in own else "there is none of that name"
                )
                raise bad_request(
                    f"the weight {name[:120]!r} has the shape {list(tensor.shape)}; {there}", "update_info"
                )
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise bad_request(f"the weight {name[:120]!r} is not finite", "update_info")

    def finish(self, version: str | None) -> int:
        """Take up what was collected. Call it in the worker's thread. Returns the engine's number of the weights."""
        if self._collected is None:
            raise ApiError(409, "no update has begun; ask /start_weight_update first", code="no_update")
        collected, self._collected = self._collected, None
        number = self.engine.version + 1
        if version is not None and version.isdigit():
            number = int(version)
        try:
            self.engine.load_weights(collected, number)
        except (ModelError, RuntimeError) as error:
            raise _failed(error) from error
        self.version = version if version is not None else str(number)
        return number

    def abandon(self) -> None:
        self._collected = None

    def checksums(self) -> dict[str, str]:
        """A SHA-256 of each weight, as it is in memory."""
        found: dict[str, str] = {}
        for name, tensor in self.engine.backbone.hf.state_dict().items():
            plain = tensor.detach().cpu().contiguous()
            found[name] = hashlib.sha256(
                plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""
            ).hexdigest()
        return found


def _failed(error: Exception) -> Exception:
    return error if isinstance(error, SteersmanError) else ApiError(500, f"the weights were not taken up: {error}")


def file_in(folder: Path | None, info: Any) -> Path:
    """The file that an update names, which must lie in the folder that the server was given."""
    name = info.get("path") if isinstance(info, dict) else None
    if not isinstance(name, str):
        raise bad_request(
            "update_info names no path; expected {'path': FILE}, or send the safetensors themselves as "
            "application/octet-stream",
            "update_info",
        )
    if folder is None:
        raise bad_request("weights come as bytes here; --weights-folder lets them be read from files", "update_info")
    found = (folder / name).resolve()
    if not found.is_relative_to(folder.resolve()):
        raise ApiError(403, "update_info.path leads out of the folder for weights", param="update_info", code="path")
    return found
