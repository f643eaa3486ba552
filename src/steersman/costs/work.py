"""How many floating-point operations a piece of work needs: products with weights, attention, and the output layer.

A product of a token with a matrix of N weights is 2 N operations; its backward pass is as many again by the input, and by the
weight if that learns. What nobody reads is not counted: of tokens whose result is not read the last layer needs keys and
values only. Attention is counted as causal, half of a square. Norms, rotations and samplers are left out.
"""

from collections.abc import Sequence

from steersman.costs.shape import Shape


def forward_operations(shape: Shape, lengths: Sequence[int], read: Sequence[int], *, logits: bool) -> float:
    """Rows of these lengths through the model, of which so many tokens at the end are read."""
    tokens, asking = float(sum(lengths)), float(sum(read))
    per_layer = shape.attention + shape.feed_forward
    found = 2 * tokens * per_layer * (shape.layers - 1)
    found += 2 * tokens * shape.keys_and_values + 2 * asking * (per_layer - shape.keys_and_values)
    width = 2 * shape.heads * shape.size
    squares = float(sum(length * length for length in lengths))
    cut = float(sum(length * length - (length - few) ** 2 for length, few in zip(lengths, read, strict=True)))
    found += width * (squares * (shape.layers - 1) + cut)
    return found + (2 * asking * shape.embedding if logits else 0.0)


def training_operations(
    shape: Shape, lengths: Sequence[int], read: Sequence[int], *, logits: bool, rank: int | None
) -> float:
    """Forward and backward; with adapters of a rank the base has no gradient of its own, and the adapters' products are small."""
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
    """An iteration of PPO over these prompts and answers: answering, the reference, the scorer (a reward model of the policy's
    shape unless another is given), a critic with weights of its own, and the update."""
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
    """The same by stage; `scorer` None is one that costs nothing, such as a function."""
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
