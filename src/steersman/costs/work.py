"""Floating-point operations of forward and backward passes: matrix products, attention, and the output layer.

A token times a matrix of N weights is 2 N operations. The backward pass needs 2 N for the input's gradient, and 2 N
more for the weight's if it is trained. Unused results are not counted: for tokens whose output is not used, the last
layer computes only keys and values. Attention is causal, half of a square. Norms, rotary embeddings and sampling are
left out.
"""

from collections.abc import Sequence

from steersman.costs.shape import Shape


def forward_operations(shape: Shape, lengths: Sequence[int], read: Sequence[int], *, logits: bool) -> float:
    """Operations of a forward pass over rows of these `lengths`. Of each row the outputs of the last `read` tokens are
    used."""
    tokens, used = float(sum(lengths)), float(sum(read))
    per_layer = shape.attention + shape.feed_forward
    operations = 2 * tokens * per_layer * (shape.layers - 1)
    operations += 2 * tokens * shape.keys_and_values + 2 * used * (per_layer - shape.keys_and_values)
    width = 2 * shape.heads * shape.size
    squares = float(sum(length * length for length in lengths))
    last = float(sum(length * length - (length - few) ** 2 for length, few in zip(lengths, read, strict=True)))
    operations += width * (squares * (shape.layers - 1) + last)
    return operations + (2 * used * shape.embedding if logits else 0.0)


def training_operations(
    shape: Shape, lengths: Sequence[int], read: Sequence[int], *, logits: bool, rank: int | None
) -> float:
    """Operations of a forward and a backward pass. With LoRA of rank `rank` the frozen base has no weight gradients,
    and the adapters' own products are few."""
    forward = forward_operations(shape, lengths, read, logits=logits)
    if rank is None:
        return 3 * forward
    return 2 * forward + 6.0 * sum(lengths) * rank * shape.lora_parameters


def iteration_operations(
    shape: Shape,
    *,
    layout: str,
    epochs: int,
    prompts: Sequence[int],
    answers: Sequence[int],
    scorer: Shape | None = None,
    rank: int | None = None,
) -> float:
    """Operations of a PPO iteration over prompts and answers of these lengths: generation, reference, scorer, a
    separate critic if there is one, and the update. The scorer is a reward model of the policy's shape unless given."""
    parts = iteration_parts(
        shape, layout=layout, epochs=epochs, prompts=prompts, answers=answers, scorer=scorer or shape, rank=rank
    )
    return sum(parts.values())


def iteration_parts(
    shape: Shape,
    *,
    layout: str,
    epochs: int,
    prompts: Sequence[int],
    answers: Sequence[int],
    scorer: Shape | None,
    rank: int | None,
) -> dict[str, float]:
    """The operations of `iteration_operations` by stage. `scorer=None` is a scorer without cost, such as a function."""
    whole = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    own_critic = layout in ("separate", "adapters-own-critic")
    rank = (rank or 16) if layout.startswith("adapters") else None
    update = training_operations(shape, whole, answers, logits=True, rank=rank)
    score = forward_operations(shape, whole, answers, logits=True)
    if scorer is not None:
        score += forward_operations(scorer, whole, [1] * len(whole), logits=False)
    if own_critic:
        update += training_operations(shape, whole, answers, logits=False, rank=rank)
        score += forward_operations(shape, whole, answers, logits=False)
    return {
        "collect": forward_operations(shape, [length - 1 for length in whole], answers, logits=True),
        "score": score,
        "update": epochs * update,
    }
