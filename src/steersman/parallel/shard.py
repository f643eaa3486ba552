"""Sharding with FSDP2, and whole tensors out of sharded ones and back. With one process nothing happens.

FSDP2 averages gradients over processes; whoever wants their sum multiplies the loss by the number of processes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from steersman.parallel.world import World


def shard(model: nn.Module, layers: Sequence[nn.Module], entrances: Sequence[str], world: World) -> None:
    """Shard a model in place: each layer by itself, the rest (embeddings, norms, heads) with the root.

    `entrances` are the methods by which the model is called besides `forward`; each gathers what the root holds.
    """
    if world.mesh is None:
        return
    for layer in layers:
        fully_shard(layer, mesh=world.mesh)
    fully_shard(model, mesh=world.mesh)
    for name in entrances:
        register_fsdp_forward_method(model, name)


def gathered(tensor: Tensor) -> Tensor:
    """The full tensor where its parts are. All processes must call this together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The full tensor on the processor's memory. All processes must call this together."""
    return gathered(tensor).detach().to("cpu", copy=True)


def part_like(full: Tensor, like: Tensor) -> Tensor:
    """This process's part of a full tensor, placed as `like` is."""
    if isinstance(like, DTensor):
        return distribute_tensor(full.to(like.device), like.device_mesh, like.placements)
    return full.to(like.device)


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float) -> float:
    """Scale all gradients so that their common norm is at most `max_norm`; the norm before, over all processes.

    A norm that is not finite leaves the gradients as they are: the caller must not step.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    if bool(torch.isfinite(norm)):
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return float(norm)
