"""Any Hugging Face causal language model, seen as what training needs: hidden states, and log-probabilities of targets.

Rows are padded on the right and no attention mask is passed: under causal attention padding after the end changes
nothing, and without a mask the fast kernels stay in use. Full logits are never made (see `maths/chunked_log_probs.py`). Dropout is
off from loading on, in training too: a ratio of two probabilities must not hold the noise of two dropout masks.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from steersman.batches import TokenBatch
from steersman.errors import ModelError
from steersman.maths.chunked_log_probs import chosen_log_probs, chunk_for, summed_log_probs
from steersman.maths.kl import full_kl, top_k_kl
from steersman.maths.tokens import gather_at, gather_before
from steersman.models.acting import acting_as
from steersman.models.packed_attention import packed
from steersman.models.unpadded import Layout, lay_out, spread

# How a packed row is shown to a model: by restarting position ids (transformers makes the mask, windows included), the
# same with all rows laid into one (flash attention), or by positions and a mask of our own.
Packing = Literal["positions", "flat", "mask"]

# Below this share of padding a batch goes through the model as it is, unless its layers are fused.
LITTLE_PADDING = 0.03


@dataclass(frozen=True, slots=True)
class Readout:
    """What stands between the output layer's product and the logits: logits = cap(scale * (hidden @ weight.T + bias))."""

    softcap: float | None
    scale: float


class Backbone(nn.Module):
    """A Hugging Face model and what is known about it. `hf` is the model itself, for generation and saving.

    `readout` None means that the model's logits could not be made from its hidden states: then log-probabilities are
    taken from the logits of the whole model, which needs memory for batch x time x vocabulary.
    `packing` None means that packed rows would see one another, so they are refused.
    """

    def __init__(self, hf: nn.Module, *, name: str, readout: Readout | None, packing: Packing | None) -> None:
        super().__init__()
        self.hf: Any = hf
        self.name = name
        self.readout = readout
        self.packing: Packing | None = packing
        # How long the rows may be that go through the trunk without their padding (see unpadded.py); 0 where none do. It is
        # found by trial when the model is loaded.
        self.unpadded = 0
        # Whether its layers compute as one step where there is no padding (see fused.py), found by the same trial.
        self.fused = False
        # The dropout settings that were switched off, so that saving can write them back.
        self.silenced: dict[str, float] = {}
        # A peft.PeftModel around `hf`, once there are adapters (see adapters.py). It is a tool for saving and loading
        # and must not be registered as a submodule: every parameter would then be counted twice.
        self.__dict__["peft"] = None
        # The layers that adapters stand in: each is told when another adapter becomes active, several times an iteration.
        self.adapted: list[Any] = []
        self.adapter: str | None = None

    @property
    def peft(self) -> Any:
        return self.__dict__["peft"]

    @property
    def config(self) -> Any:
        return self.hf.config

    @property
    def trunk(self) -> Any:
        return self.hf.base_model

    @property
    def family(self) -> str:
        return self.config.model_type

    @property
    def hidden_size(self) -> int:
        """Width of the final hidden states (OPT-350m projects them down from the width inside)."""
        text = self.config.get_text_config()
        return getattr(text, "word_embed_proj_dim", None) or text.hidden_size

    @property
    def vocabulary(self) -> int:
        return self.hf.get_input_embeddings().weight.shape[0]

    @property
    def context_length(self) -> int | None:
        return getattr(self.config.get_text_config(), "max_position_embeddings", None)

    @property
    def device(self) -> torch.device:
        return next(self.hf.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(p.dtype for p in self.hf.parameters() if p.is_floating_point())

    def forward(self, batch: TokenBatch) -> Float[Tensor, "batch time hidden"]:
        return self.hidden(batch)

    def hidden(
        self, batch: TokenBatch, read: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch time hidden"]:
        """Hidden states after the final norm; what stands on padding is meaningless. `read` says how many tokens at the end of each
        row are read, if not all: what stands before them may then be meaningless too."""
        self._check_length(batch)
        worth_it = self.fused or batch.padding_share > LITTLE_PADDING
        half = self.dtype != torch.float32 or torch.is_autocast_enabled("cuda")
        if self.computes_no_padding(half=half) and batch.segments is None and worth_it:
            # what rows have in common is laid out once by our own attention only
            layout = lay_out(batch.ids, batch.attention_mask, None if self._on_gpu else read, cut=self.fused)
            if layout.longest <= self.unpadded:
                return self._hidden_unpadded(batch, layout)
        if batch.segments is None:
            return self.trunk(input_ids=batch.ids, use_cache=False).last_hidden_state
        positions = positions_of(batch.segments)
        if self.packing == "positions":
            seen = self.trunk(input_ids=batch.ids, position_ids=positions, use_cache=False)
        elif self.packing == "flat":
            rows = {"input_ids": batch.ids.reshape(1, -1), "position_ids": positions.reshape(1, -1)}
            return self.trunk(**rows, use_cache=False).last_hidden_state.reshape(*batch.ids.shape, -1)
        elif self.packing == "mask":
            mask = block_mask(batch.segments, self.dtype)
            seen = self.trunk(input_ids=batch.ids, position_ids=positions, attention_mask=mask, use_cache=False)
        else:
            raise ModelError(
                f"rows cannot be packed for a model of the family {self.family!r}: sequences in one row would see "
                "one another. Switch packing off; rows are then padded, with the same results"
            )
        return seen.last_hidden_state

    def computes_no_padding(self, *, half: bool) -> bool:
        """`half`: whether it computes in half precision, which on a GPU is what packs rows (packed_attention.py)."""
        return self.unpadded > 0 and (self.device.type == "cpu" or (self._on_gpu and half))

    @property
    def _on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def _hidden_unpadded(self, batch: TokenBatch, layout: Layout) -> Float[Tensor, "batch time hidden"]:
        seen = self.trunk(
            input_ids=layout.ids,
            position_ids=layout.positions,
            # transformers takes a mask of four axes as it is; without one it would make a mask of all tokens by all tokens
            attention_mask=torch.zeros(1, 1, 1, 1, dtype=self.dtype, device=batch.ids.device),
            rows=packed(layout.rows.lengths, batch.ids.device) if self._on_gpu else layout.rows,
            use_cache=False,
        )
        return spread(seen.last_hidden_state[0], layout, *batch.ids.shape)

    def log_probs(
        self, batch: TokenBatch, *, temperature: float = 1.0, with_entropy: bool = False
    ) -> tuple[Float[Tensor, " targets"], Float[Tensor, " targets"] | None]:
        """Log-probability of each target of the batch, flat and row by row, with the entropies if they are wanted."""
        if not self._reads_hidden():
            return self._log_probs_from_logits(batch, temperature, with_entropy)
        hidden = self.hidden(batch, batch.needed_positions)
        return self.log_probs_from(hidden, batch, temperature=temperature, with_entropy=with_entropy)

    def log_probs_from(
        self,
        hidden: Float[Tensor, "batch time hidden"],
        batch: TokenBatch,
        *,
        temperature: float = 1.0,
        with_entropy: bool = False,
    ) -> tuple[Float[Tensor, " targets"], Float[Tensor, " targets"] | None]:
        """The same from hidden states that are at hand, e.g. because a value head reads them too."""
        if not self._reads_hidden():
            return self._log_probs_from_logits(batch, temperature, with_entropy)
        words = self._predicted(hidden, batch)
        return chosen_log_probs(*words, **self._how_logits(), temperature=temperature, with_entropy=with_entropy)

    def log_prob_sum(self, batch: TokenBatch) -> Float[Tensor, ""]:
        """The sum of `log_probs`, for a loss in which every target counts alike: it costs less than adding them up."""
        if not self._reads_hidden():
            return self._log_probs_from_logits(batch, 1.0, False)[0].sum()
        return summed_log_probs(
            *self._predicted(self.hidden(batch, batch.needed_positions), batch), **self._how_logits()
        )

    def _predicted(self, hidden: Tensor, batch: TokenBatch) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """The hidden states that predict the targets, the output layer's weight and bias, and the targets."""
        head = self.hf.get_output_embeddings()
        before, targets = gather_before(hidden, batch.loss_mask), gather_at(batch.ids, batch.loss_mask)
        return before, head.weight, getattr(head, "bias", None), targets

    def _how_logits(self) -> dict[str, Any]:
        readout = self.readout or Readout(None, 1.0)
        chunk = chunk_for(self.hf.get_output_embeddings().weight.shape[0], self.device.type)
        return {"softcap": readout.softcap, "logit_scale": readout.scale, "chunk": chunk}

    def kl_from(
        self,
        hidden: Float[Tensor, "batch time hidden"],
        other: "Backbone",
        other_hidden: Float[Tensor, "batch time other_hidden"],
        batch: TokenBatch,
        *,
        temperature: float,
        top_k: int | None,
    ) -> Float[Tensor, " targets"]:
        """The exact KL of this model's distribution from another's at each target, in chunks: over the whole vocabulary, or
        over the other's `top_k` likeliest tokens with all others as one bin."""
        here, there = gather_before(hidden, batch.loss_mask), gather_before(other_hidden, batch.loss_mask)
        step = chunk_for(self.vocabulary, self.device.type)
        parts = [here.new_zeros(0).float()]
        for start in range(0, len(here), step):
            logits = self.logits_of(here[start : start + step]) / temperature
            other_logits = other.logits_of(there[start : start + step]) / temperature
            parts.append(full_kl(logits, other_logits) if top_k is None else top_k_kl(logits, other_logits, top_k))
        return torch.cat(parts)

    def logits_of(self, hidden: Float[Tensor, "positions hidden"]) -> Float[Tensor, "positions vocab"]:
        """The logits of some final hidden states, in float32: only ever of a few positions at a time."""
        if self.readout is None:
            raise ModelError(
                f"the logits of {self.name!r} do not follow from its last hidden states, so the exact KL cannot be taken in "
                "chunks; use kl.estimator=k1"
            )
        logits = self.hf.get_output_embeddings()(hidden).float() * self.readout.scale
        cap = self.readout.softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def _reads_hidden(self) -> bool:
        """Whether logits are a plain product with the output layer's weight (not where an adapter or 4 bits are in it)."""
        head = self.hf.get_output_embeddings()
        if head is None:
            raise ModelError(
                f"{self.name!r} has no language-modelling head (it was loaded as {type(self.hf).__name__}), so it gives "
                "no log-probabilities; load a causal language model for this"
            )
        return self.readout is not None and isinstance(head, nn.Linear) and head.weight.is_floating_point()

    def _log_probs_from_logits(
        self, batch: TokenBatch, temperature: float, with_entropy: bool
    ) -> tuple[Float[Tensor, " targets"], Float[Tensor, " targets"] | None]:
        if batch.segments is not None:
            raise ModelError(
                f"the logits of {self.name!r} come from the whole model, which cannot pack; switch packing off"
            )
        self._check_length(batch)
        logits = self.hf(input_ids=batch.ids, use_cache=False).logits
        all_log_probs = (gather_before(logits, batch.loss_mask).float() / temperature).log_softmax(-1)
        chosen = all_log_probs.gather(1, gather_at(batch.ids, batch.loss_mask)[:, None]).squeeze(1)
        entropies = -(all_log_probs.exp() * all_log_probs).sum(-1) if with_entropy else None
        return chosen, entropies

    def _check_length(self, batch: TokenBatch) -> None:
        limit = self.context_length
        time = batch.ids.shape[1]
        if limit is not None and batch.segments is None and time > limit:
            raise ModelError(
                f"a batch is {time} tokens wide, and {self.name!r} was made for at most {limit}; "
                "cut the rows (max_length), or choose a model with a longer context"
            )

    def use_gradient_checkpointing(self, on: bool) -> None:
        """Keep only each layer's input and compute the layer again in the backward pass: less memory, a third more time."""
        if on:
            how = {"use_reentrant": False, "context_fn": self._as_in_forward}
            self.hf.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)
        else:
            self.hf.gradient_checkpointing_disable()

    def _as_in_forward(self) -> tuple[Any, Any]:
        """For checkpointing: by the time a layer is computed again another adapter may be active, so go back to this one."""
        return nullcontext(), acting_as(self, self.adapter)


def layers_of(model: Any) -> list[nn.Module]:
    """The layers of a backbone or a classifier: the largest list in it."""
    lists = [module for module in model.hf.modules() if isinstance(module, nn.ModuleList)]
    return list(max(lists, key=lambda found: sum(p.numel() for p in found.parameters()), default=[]))


def positions_of(segments: Int[Tensor, "batch time"]) -> Int[Tensor, "batch time"]:
    """Position ids that restart at 0 with each segment (padding counts as one)."""
    index = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    starts = torch.ones_like(segments, dtype=torch.bool)
    starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return index - torch.where(starts, index, 0).cummax(dim=1).values


def block_mask(segments: Int[Tensor, "batch time"], dtype: torch.dtype) -> Float[Tensor, "batch 1 time time"]:
    """What is added to attention scores so that a token sees only its own segment, and nothing after itself."""
    time = segments.shape[1]
    causal = torch.ones((time, time), dtype=torch.bool, device=segments.device).tril()
    seen = (segments[:, :, None] == segments[:, None, :]) & causal
    mask = torch.zeros(seen.shape, dtype=dtype, device=segments.device)
    return mask.masked_fill(~seen, torch.finfo(dtype).min)[:, None]


def agree(first: Shaped[Tensor, "*shape"], second: Shaped[Tensor, "*shape"]) -> bool:
    """Equal up to rounding: 1e-4 of the largest entry in float32, what the fewer digits allow in half precision."""
    tolerance = {torch.float16: 1e-2, torch.bfloat16: 5e-2}.get(first.dtype, 1e-4)
    size = max(1.0, float(first.abs().max()))
    return float((first.float() - second.float()).abs().max()) <= tolerance * size
