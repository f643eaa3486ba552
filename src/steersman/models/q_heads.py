"""What Q-learning adds to a language model (ILQL, arXiv 2206.11871): twin Q heads, their slowly following targets, and a V head.

All read the last hidden states, so any backbone will do, whole or with an adapter. Two Qs, of which the smaller counts, since one
alone believes its own mistakes (arXiv 1802.09477). Each head has one hidden layer of twice the width, as in trlX; its last
layer begins at zero, so that before anything is learned every token is worth the same and leaning on Q changes no answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from steersman.batches import TokenBatch
from steersman.errors import ModelError
from steersman.maths.chunked_log_probs import chosen_log_probs, chunk_for
from steersman.maths.tokens import gather_at, gather_before
from steersman.models.backbone import Backbone
from steersman.models.files import HEADS, NOTES, read_json, write_notes
from steersman.models.heads import load_heads, save_heads

KIND = "ilql"
"""What a model's folder calls itself in steersman.json if it has Q heads."""
_WIDER = 2


class Perceptron(nn.Module):
    """Two layers, in float32 whatever the trunk is in. One that does not learn has buffers for parameters: no optimiser sees them,
    and checkpoints hold them."""

    inner: Tensor
    inner_bias: Tensor
    outer: Tensor
    outer_bias: Tensor

    def __init__(self, hidden_size: int, out: int, *, learns: bool) -> None:
        super().__init__()
        width = _WIDER * hidden_size
        start = {
            "inner": torch.randn(width, hidden_size) / hidden_size**0.5,
            "inner_bias": torch.zeros(width),
            "outer": torch.zeros(out, width),
            "outer_bias": torch.zeros(out),
        }
        for name, tensor in start.items():
            if learns:
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)

    def features(self, hidden: Float[Tensor, "positions hidden"]) -> Float[Tensor, "positions width"]:
        kind = torch.promote_types(hidden.dtype, self.inner.dtype)
        return nn.functional.linear(hidden.to(kind), self.inner.to(kind), self.inner_bias.to(kind)).relu()

    def forward(self, hidden: Float[Tensor, "positions hidden"]) -> Float[Tensor, "positions out"]:
        return self.outer_of(self.features(hidden))

    def outer_of(self, features: Float[Tensor, "positions width"]) -> Float[Tensor, "positions out"]:
        return nn.functional.linear(features, self.outer.to(features), self.outer_bias.to(features))

    def at(
        self, features: Float[Tensor, "positions width"], tokens: Int[Tensor, " positions"]
    ) -> Float[Tensor, " positions"]:
        """What the head says of one token a position; no other is computed."""
        return (features * self.outer[tokens].to(features)).sum(-1) + self.outer_bias[tokens].to(features)


class QReading(NamedTuple):
    """What is known of each target of a batch, flat. `q_log_probs` are those of the token taken under softmax(Q), for the
    conservative term."""

    log_probs: Float[Tensor, " targets"]
    values: Float[Tensor, " targets"]
    q: Float[Tensor, "heads targets"]
    q_log_probs: Float[Tensor, "heads targets"]
    target: Float[Tensor, " targets"]


class QHeads(nn.Module):
    """`q` learns, `target` follows it (see `follow`), `value` is V."""

    def __init__(self, hidden_size: int, vocabulary: int) -> None:
        super().__init__()
        self.q = nn.ModuleList(Perceptron(hidden_size, vocabulary, learns=True) for _ in range(2))
        self.target = nn.ModuleList(Perceptron(hidden_size, vocabulary, learns=False) for _ in range(2))
        self.value = Perceptron(hidden_size, 1, learns=True)
        self.follow(1.0)

    @property
    def learning(self) -> list[Perceptron]:
        return [cast(Perceptron, head) for head in self.q]

    @property
    def following(self) -> list[Perceptron]:
        return [cast(Perceptron, head) for head in self.target]

    @torch.no_grad()
    def follow(self, rate: float, whole: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> None:
        """Move the targets this share of the way to the heads that learn (Polyak averaging). `whole` gathers what was shared out over
        processes; the targets are on each of them."""
        for slow, fast in zip(self.following, self.learning, strict=True):
            for name, tensor in slow.named_buffers():
                tensor.lerp_(whole(fast.get_parameter(name)).to(tensor.device), rate)

    @torch.no_grad()
    def least(self, hidden: Float[Tensor, "row hidden"]) -> Float[Tensor, "row vocab"]:
        """Q of every token, by the smaller of the targets: what answers lean on."""
        with torch.autocast(hidden.device.type, enabled=False):
            first, second = (head(hidden) for head in self.following)
            return torch.minimum(first, second).float()


class QModel(nn.Module):
    """A language model with Q heads on it, as Q-learning trains them together."""

    def __init__(self, backbone: Backbone, heads: QHeads) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = heads

    def forward(self, batch: TokenBatch) -> QReading:
        return self.read(batch)

    def read(self, batch: TokenBatch) -> QReading:
        hidden = self.backbone.hidden(batch, batch.needed_positions)
        log_probs, _ = self.backbone.log_probs_from(hidden, batch)
        states, tokens = gather_before(hidden, batch.loss_mask), gather_at(batch.ids, batch.loss_mask)
        heads = self.heads
        with torch.autocast(states.device.type, enabled=False):
            known = [(head, head.features(states)) for head in heads.learning]
            q = torch.stack([head.at(features, tokens) for head, features in known])
            with torch.no_grad():
                target = torch.stack([head.at(head.features(states), tokens) for head in heads.following]).amin(0)
            under_q = [
                chosen_log_probs(
                    features,
                    head.outer,
                    head.outer_bias,
                    tokens,
                    chunk=chunk_for(len(head.outer), hidden.device.type),
                    with_entropy=False,
                )[0]
                for head, features in known
            ]
            return QReading(log_probs, heads.value(states)[:, 0], q, torch.stack(under_q), target)


@dataclass(frozen=True, slots=True)
class Guide:
    """What answers lean on: tokens are drawn from policy * exp(beta * (min Q - V)). V is the same for all tokens of a state, so it
    drops out of the draw."""

    heads: QHeads
    beta: float


def heads_for(backbone: Backbone) -> QHeads:
    """New heads for this model."""
    vocabulary = backbone.hf.get_output_embeddings().weight.shape[0]
    return QHeads(backbone.hidden_size, vocabulary).to(backbone.device)


def save_guide(guide: Guide, family: str, folder: str | Path) -> None:
    """The heads beside the model that was saved to this folder."""
    save_heads({KIND: guide.heads}, folder)
    write_notes(folder, {"kind": KIND, "family": family, "beta": guide.beta})


def load_guide(backbone: Backbone, folder: str | Path) -> Guide | None:
    """The heads that stand beside a model, or None where there are none."""
    folder = Path(folder).expanduser()
    notes: dict[str, Any] = read_json(folder / NOTES) if (folder / NOTES).exists() else {}
    if notes.get("kind") != KIND:
        return None
    beta = notes.get("beta")
    if not isinstance(beta, int | float):
        raise ModelError(
            f"{folder / NOTES} says that Q heads stand in {HEADS}, and as beta {beta!r}; expected a number. Save the model again"
        )
    heads = heads_for(backbone)
    load_heads({KIND: heads}, folder)
    return Guide(heads.eval().requires_grad_(False), float(beta))
