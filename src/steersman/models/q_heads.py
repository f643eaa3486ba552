"""The heads of ILQL (arXiv 2206.11871) on a language model: twin Q heads, their target networks, and a V head.

All take the last hidden states, so any backbone will do, fully trained or with an adapter. The minimum of two Qs is
used against overestimation (clipped double Q-learning, arXiv 1802.09477). Each head has one hidden layer of twice the
width, as in trlX. Its last layer starts at zero: before training Q is the same for all tokens and changes no answer.
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
"""The `kind` in steersman.json of a model folder with Q heads."""
_WIDER = 2


class Perceptron(nn.Module):
    """A two-layer perceptron in float32, whatever the trunk's dtype.

    With `learns` False its weights are buffers: no optimiser updates them, and checkpoints contain them.
    """

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
        """The output for one given token per position; other tokens are not computed."""
        return (features * self.outer[tokens].to(features)).sum(-1) + self.outer_bias[tokens].to(features)


class QOutputs(NamedTuple):
    """Outputs for each target of a batch, flat.

    `q_log_probs` are log-probs of the data's tokens under softmax(Q), for the conservative term. `target` is the
    minimum Q of the target heads.
    """

    log_probs: Float[Tensor, " targets"]
    values: Float[Tensor, " targets"]
    q: Float[Tensor, "heads targets"]
    q_log_probs: Float[Tensor, "heads targets"]
    target: Float[Tensor, " targets"]


class QHeads(nn.Module):
    """`q` are the trained Q heads, `target` their Polyak averages (see `update_targets`), `value` is the V head."""

    def __init__(self, hidden_size: int, vocabulary: int) -> None:
        super().__init__()
        self.q = nn.ModuleList(Perceptron(hidden_size, vocabulary, learns=True) for _ in range(2))
        self.target = nn.ModuleList(Perceptron(hidden_size, vocabulary, learns=False) for _ in range(2))
        self.value = Perceptron(hidden_size, 1, learns=True)
        self.update_targets(1.0)

    @property
    def q_heads(self) -> list[Perceptron]:
        return [cast(Perceptron, head) for head in self.q]

    @property
    def target_heads(self) -> list[Perceptron]:
        return [cast(Perceptron, head) for head in self.target]

    @torch.no_grad()
    def update_targets(self, rate: float, whole: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> None:
        """Polyak averaging: move the target heads by this share towards the Q heads.

        `whole` gathers a parameter that is sharded over ranks; each rank holds whole target heads.
        """
        for slow, fast in zip(self.target_heads, self.q_heads, strict=True):
            for name, tensor in slow.named_buffers():
                tensor.lerp_(whole(fast.get_parameter(name)).to(tensor.device), rate)

    @torch.no_grad()
    def min_target_q(self, hidden: Float[Tensor, "row hidden"]) -> Float[Tensor, "row vocab"]:
        """Q of every token, the minimum of the two target heads: used in decoding."""
        with torch.autocast(hidden.device.type, enabled=False):
            first, second = (head(hidden) for head in self.target_heads)
            return torch.minimum(first, second).float()


class QModel(nn.Module):
    """A language model with Q heads; ILQL trains them together."""

    def __init__(self, backbone: Backbone, heads: QHeads) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = heads

    def forward(self, batch: TokenBatch) -> QOutputs:
        return self.outputs(batch)

    def outputs(self, batch: TokenBatch) -> QOutputs:
        hidden = self.backbone.hidden(batch, batch.needed_positions)
        log_probs, _ = self.backbone.log_probs_from(hidden, batch)
        states, tokens = gather_before(hidden, batch.loss_mask), gather_at(batch.ids, batch.loss_mask)
        heads = self.heads
        with torch.autocast(states.device.type, enabled=False):
            with_features = [(head, head.features(states)) for head in heads.q_heads]
            q = torch.stack([head.at(features, tokens) for head, features in with_features])
            with torch.no_grad():
                target = torch.stack([head.at(head.features(states), tokens) for head in heads.target_heads]).amin(0)
            under_q = [
                chosen_log_probs(
                    features,
                    head.outer,
                    head.outer_bias,
                    tokens,
                    chunk=chunk_for(len(head.outer), hidden.device.type),
                    with_entropy=False,
                )[0]
                for head, features in with_features
            ]
            return QOutputs(log_probs, heads.value(states)[:, 0], q, torch.stack(under_q), target)


@dataclass(frozen=True, slots=True)
class Guide:
    """Q heads and beta for decoding: tokens are sampled from policy * exp(beta * (min Q - V)).

    V is the same for all tokens of a state, so it cancels in the softmax.
    """

    heads: QHeads
    beta: float


def heads_for(backbone: Backbone) -> QHeads:
    """New heads for this model."""
    vocabulary = backbone.hf.get_output_embeddings().weight.shape[0]
    return QHeads(backbone.hidden_size, vocabulary).to(backbone.device)


def save_guide(guide: Guide, family: str, folder: str | Path) -> None:
    """Save the heads into the folder of their model."""
    save_heads({KIND: guide.heads}, folder)
    write_notes(folder, {"kind": KIND, "family": family, "beta": guide.beta})


def load_guide(backbone: Backbone, folder: str | Path) -> Guide | None:
    """The heads saved with a model, or None if there are none."""
    folder = Path(folder).expanduser()
    notes: dict[str, Any] = read_json(folder / NOTES) if (folder / NOTES).exists() else {}
    if notes.get("kind") != KIND:
        return None
    beta = notes.get("beta")
    if not isinstance(beta, int | float):
        raise ModelError(
            f"{folder / NOTES} announces Q heads in {HEADS}, with beta {beta!r}; expected a number. Save the model "
            "again"
        )
    heads = heads_for(backbone)
    load_heads({KIND: heads}, folder)
    return Guide(heads.eval().requires_grad_(False), float(beta))
