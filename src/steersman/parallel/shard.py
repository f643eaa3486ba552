"""Sharding with FSDP2, and conversion between full and sharded tensors. With one rank these functions change nothing.

FSDP2 averages gradients over ranks. To get their sum, multiply the loss by the number of ranks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from steersman.parallel.world import World


def shard(model: nn.Module, layers: Sequence[nn.Module], entrances: Sequence[str], world: World) -> None:
    """Shard a model in place: each layer separately, the rest (embeddings, norms, heads) with the root module.

    `entrances` are the methods besides `forward` that run the model; each all-gathers the root's parameters.
    """
    if world.mesh is None:
        return
    for layer in layers:
        fully_shard(layer, mesh=world.mesh)
    fully_shard(model, mesh=world.mesh)
    for name in entrances:
        register_fsdp_forward_method(model, name)


def gathered(tensor: Tensor) -> Tensor:
    """The full tensor, on the device of its shards. A collective: all ranks must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The full tensor, in CPU memory. A collective: all ranks must call it."""
    return gathered(tensor).detach().to("cpu", copy=True)


def own_part(tensor: Tensor) -> Tensor:
    """This rank's shard of a tensor, or all of one that is not sharded. No collective."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def part_like(full: Tensor, like: Tensor) -> Tensor:
    """This rank's shard of a full tensor, with the device and placement of `like`."""
    if isinstance(like, DTensor):
        return distribute_tensor(full.to(like.device), like.device_mesh, like.placements)
    return full.to(like.device)


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The total norm of the gradients, over all ranks; it stays on the device."""
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float, norm: Tensor) -> float:
    """Scale the gradients, whose norm is `norm`, down to `max_norm`. Returns the norm before.

    If the norm is not finite, the gradients are not changed, and the caller must not step.
    """
    if bool(torch.isfinite(norm)):
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return float(norm)
