"""A Hugging Face causal language model with the outputs that training needs: hidden states and log-probs of targets.

Rows are padded on the right and no attention mask is passed: under causal attention padding after the end changes
nothing, and without a mask the fast kernels stay in use. Full logits are never computed (see
`maths/chunked_log_probs.py`). Dropout is off from loading on, in training too: a probability ratio must not contain the
noise of two dropout masks.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from steersman.batches import PackedRows, TokenBatch, pack_tokens, packs_on
from steersman.errors import ModelError
from steersman.maths.chunked_log_probs import chosen_log_probs, chunk_for, summed_log_probs
from steersman.maths.kl import full_kl, top_k_kl
from steersman.maths.tokens import gather_at, gather_before
from steersman.models.acting import acting_as
from steersman.models.packed_attention import Packed
from steersman.models.segments import block_mask, positions_of
from steersman.models.unpadded import Layout, lay_out, to_batch_shape

# How sequences of a packed row are kept apart: by position ids that restart (transformers makes the mask, sliding
# windows included), the same with all rows joined into one (flash attention), or by position ids and our own mask.
Packing = Literal["positions", "flat", "mask"]

# Below this share of padding a batch is computed with its padding, unless the layers are fused.
LITTLE_PADDING = 0.03


@dataclass(frozen=True, slots=True)
class Readout:
    """From the output layer's product to logits: logits = cap(scale * (hidden @ weight.T + bias))."""

    softcap: float | None
    scale: float


class Backbone(nn.Module):
    """A Hugging Face model and what was found out about it. `hf` is the model itself, for generation and saving.

    `readout` None means that the model's logits do not follow from its hidden states. Log-probs then come from the full
    logits, which need memory for batch x time x vocabulary.
    `packing` None means that packed sequences would attend to one another, so packed rows are refused.
    """

    def __init__(self, hf: nn.Module, *, name: str, readout: Readout | None, packing: Packing | None) -> None:
        super().__init__()
        self.hf: Any = hf
        self.name = name
        self.readout = readout
        self.packing: Packing | None = packing
        # Longest rows that the trunk computes without padding (see unpadded.py); 0 if it cannot. A trial at loading
        # decides.
        self.unpadded = 0
        # Whether packed rows attend by torch's public interface (see packed_attention.py).
        self.public_attention = False
        # Whether its layers run fused where there is no padding (see fused.py); decided by the same trial.
        self.fused = False
        # The dropout values of the config that were set to 0, so that saving can write them back.
        self.original_dropout: dict[str, float] = {}
        # A peft.PeftModel around `hf`, once there are adapters (see adapters.py). It is used for saving and loading,
        # and must not be registered as a submodule: every parameter would then be counted twice.
        self.__dict__["peft"] = None
        # The layers with adapters. Switching the active adapter, several times per iteration, sets a flag in each.
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
        """Width of the final hidden states (OPT-350m projects them down from its inner width)."""
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
        """Hidden states after the final norm; those at padding are meaningless.

        `read` gives the number of positions at the end of each row that are needed (None: all). The hidden states
        before them may then be meaningless too.
        """
        self._check_length(batch)
        rows = self._packed(batch)
        if rows is not None:
            return to_batch_shape(self._hidden_packed(rows), rows.places, *batch.ids.shape)
        worth_it = self.fused or batch.padding_share > LITTLE_PADDING
        if self.unpadded and self.device.type == "cpu" and batch.segments is None and worth_it:
            # prompts shared by several rows are computed once
            layout = lay_out(batch.ids, batch.attention_mask, read, cut=self.fused)
            if layout.longest <= self.unpadded:
                return self._hidden_unpadded(batch, layout)
        if batch.segments is None:
            return self.trunk(input_ids=batch.ids, use_cache=False).last_hidden_state
        positions = positions_of(batch.segments)
        if self.packing == "positions":
            output = self.trunk(input_ids=batch.ids, position_ids=positions, use_cache=False)
        elif self.packing == "flat":
            rows = {"input_ids": batch.ids.reshape(1, -1), "position_ids": positions.reshape(1, -1)}
            return self.trunk(**rows, use_cache=False).last_hidden_state.reshape(*batch.ids.shape, -1)
        elif self.packing == "mask":
            mask = block_mask(batch.segments, self.dtype)
            output = self.trunk(input_ids=batch.ids, position_ids=positions, attention_mask=mask, use_cache=False)
        else:
            raise ModelError(
                f"rows cannot be packed for a model of the family {self.family!r}: sequences in one row would attend "
                "to one another. Switch packing off; rows are then padded, with the same results"
            )
        return output.last_hidden_state

    def target_states(self, batch: TokenBatch) -> Float[Tensor, "targets hidden"]:
        """The hidden state before each target, flat and row by row: it predicts the target.

        Where rows are packed, the targets that fill up to a bucket have one too.
        """
        rows = self._packed(batch)
        if rows is None:
            return gather_before(self.hidden(batch, batch.needed_positions), batch.loss_mask)
        self._check_length(batch)
        return self._hidden_packed(rows).index_select(0, rows.before)

    def skips_padding(self, *, half: bool) -> bool:
        """Whether batches are computed without padding. On a GPU this needs half precision (packed_attention.py)."""
        return self.unpadded > 0 and (self.device.type == "cpu" or (packs_on(self.device) and half))

    def _packed(self, batch: TokenBatch) -> PackedRows | None:
        """The batch's rows packed, where that is how they are computed: on a GPU in half precision."""
        device = self.device.type
        half = device == "cpu" or self.dtype != torch.float32 or torch.is_autocast_enabled(device)
        if not (self.unpadded and half and packs_on(device)) or batch.segments is not None:
            return None
        # a batch that was moved to the GPU has them already
        rows = batch.packed or pack_tokens(batch.to("cpu")).to(self.device)
        return rows if rows.longest <= self.unpadded else None

    def _hidden_packed(self, rows: PackedRows) -> Float[Tensor, "total hidden"]:
        output = self.trunk(
            input_ids=rows.ids[None],
            position_ids=rows.positions[None],
            # transformers uses a 4-D mask as it is; without one it would build a mask of all tokens by all tokens
            attention_mask=torch.zeros(1, 1, 1, 1, dtype=self.dtype, device=rows.ids.device),
            rows=Packed(rows.starts, rows.bound, self.public_attention),
            use_cache=False,
        )
        return output.last_hidden_state[0]

    def _hidden_unpadded(self, batch: TokenBatch, layout: Layout) -> Float[Tensor, "batch time hidden"]:
        output = self.trunk(
            input_ids=layout.ids,
            position_ids=layout.positions,
            attention_mask=torch.zeros(1, 1, 1, 1, dtype=self.dtype, device=batch.ids.device),
            rows=layout.rows,
            use_cache=False,
        )
        return to_batch_shape(output.last_hidden_state[0], layout.batch_index, *batch.ids.shape)

    def log_probs(
        self, batch: TokenBatch, *, temperature: float = 1.0, with_entropy: bool = False
    ) -> tuple[Float[Tensor, " targets"], Float[Tensor, " targets"] | None]:
        """Log-prob of each target of the batch, flat and row by row, and on request the entropies."""
        if not self._has_plain_output_layer():
            return self._log_probs_from_logits(batch, temperature, with_entropy)
        states = self.target_states(batch)
        return self.log_probs_of(states, batch, temperature=temperature, with_entropy=with_entropy)

    def log_probs_of(
        self,
        states: Float[Tensor, "targets hidden"],
        batch: TokenBatch,
        *,
        temperature: float = 1.0,
        with_entropy: bool = False,
    ) -> tuple[Float[Tensor, " targets"], Float[Tensor, " targets"] | None]:
        """`log_probs` from `target_states` computed before, e.g. because a value head uses them too."""
        if not self._has_plain_output_layer():
            return self._log_probs_from_logits(batch, temperature, with_entropy)
        given = (*self._output_layer_inputs(states), self._targets(batch))
        return chosen_log_probs(*given, **self._logit_settings(), temperature=temperature, with_entropy=with_entropy)

    def log_probs_from(
        self,
        hidden: Float[Tensor, "batch time hidden"],
        batch: TokenBatch,
        *,
        temperature: float = 1.0,
        with_entropy: bool = False,
    ) -> tuple[Float[Tensor, " targets"], Float[Tensor, " targets"] | None]:
        """`log_probs` from the hidden states of all positions, computed before."""
        if not self._has_plain_output_layer():
            return self._log_probs_from_logits(batch, temperature, with_entropy)
        states, targets = gather_before(hidden, batch.loss_mask), gather_at(batch.ids, batch.loss_mask)
        given = (*self._output_layer_inputs(states), targets)
        return chosen_log_probs(*given, **self._logit_settings(), temperature=temperature, with_entropy=with_entropy)

    def log_prob_sum(self, batch: TokenBatch) -> Float[Tensor, ""]:
        """The sum of `log_probs`, for a loss with equal weights: cheaper than summing them afterwards."""
        if not self._has_plain_output_layer():
            return self._log_probs_from_logits(batch, 1.0, False)[0].sum()
        given = (*self._output_layer_inputs(self.target_states(batch)), self._targets(batch))
        return summed_log_probs(*given, **self._logit_settings())

    def _output_layer_inputs(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The hidden states that predict the targets, and the output layer's weight and bias."""
        head = self.hf.get_output_embeddings()
        return states, head.weight, getattr(head, "bias", None)

    def _targets(self, batch: TokenBatch) -> Int[Tensor, " targets"]:
        rows = self._packed(batch)
        return gather_at(batch.ids, batch.loss_mask) if rows is None else rows.targets

    def _logit_settings(self) -> dict[str, Any]:
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
        """The exact KL of this model from another at each target, computed in chunks.

        It is over the whole vocabulary, or over the other model's `top_k` likeliest tokens with the rest as one bin.
        """
        states, other_states = gather_before(hidden, batch.loss_mask), gather_before(other_hidden, batch.loss_mask)
        step = chunk_for(self.vocabulary, self.device.type)
        parts = [states.new_zeros(0).float()]
        for start in range(0, len(states), step):
            logits = self.logits_of(states[start : start + step]) / temperature
            other_logits = other.logits_of(other_states[start : start + step]) / temperature
            parts.append(full_kl(logits, other_logits) if top_k is None else top_k_kl(logits, other_logits, top_k))
        return torch.cat(parts)

    def logits_of(self, hidden: Float[Tensor, "positions hidden"]) -> Float[Tensor, "positions vocab"]:
        """Logits of some final hidden states, in float32. Callers pass a few positions at a time."""
        if self.readout is None:
            raise ModelError(
                f"the logits of {self.name!r} do not follow from its last hidden states, so the exact KL cannot be "
                "computed in chunks; use kl.estimator=k1"
            )
        logits = self.hf.get_output_embeddings()(hidden).float() * self.readout.scale
        cap = self.readout.softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def _has_plain_output_layer(self) -> bool:
        """Whether logits are a plain product with the output layer's weight (without an adapter or quantisation)."""
        head = self.hf.get_output_embeddings()
        if head is None:
            raise ModelError(
                f"{self.name!r} has no language-modelling head (it was loaded as {type(self.hf).__name__}), so it has "
                "no log-probs; load a causal language model"
            )
        return self.readout is not None and isinstance(head, nn.Linear) and head.weight.is_floating_point()

    def _log_probs_from_logits(
        self, batch: TokenBatch, temperature: float, with_entropy: bool
    ) -> tuple[Float[Tensor, " targets"], Float[Tensor, " targets"] | None]:
        if batch.segments is not None:
            raise ModelError(
                f"log-probs of {self.name!r} come from the logits of the whole model, which cannot be packed; "
                "switch packing off"
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
                f"a batch is {time} tokens wide, and {self.name!r} has a context of {limit}; "
                "cut the rows (max_length), or choose a model with a longer context"
            )

    def use_gradient_checkpointing(self, on: bool) -> None:
        """Save only each layer's input and recompute the layer in the backward pass: less memory, a third more time."""
        if on:
            options = {"use_reentrant": False, "context_fn": self._recompute_contexts}
            self.hf.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
        else:
            self.hf.gradient_checkpointing_disable()

    def _recompute_contexts(self) -> tuple[Any, Any]:
        """Contexts of the forward pass and of the recomputation, which must use the adapter active now."""
        return nullcontext(), acting_as(self, self.adapter)


def layers_of(model: Any) -> list[nn.Module]:
    """The layers of a backbone or a classifier: its ModuleList with the most parameters."""
    lists = [module for module in model.hf.modules() if isinstance(module, nn.ModuleList)]
    return list(max(lists, key=lambda layers: sum(p.numel() for p in layers.parameters()), default=[]))


def nearly_equal(first: Shaped[Tensor, "*shape"], second: Shaped[Tensor, "*shape"]) -> bool:
    """Whether tensors are equal up to rounding: within 1e-4 of the largest entry in float32, more in half precision."""
    tolerance = {torch.float16: 1e-2, torch.bfloat16: 5e-2}.get(first.dtype, 1e-4)
    size = max(1.0, float(first.abs().max()))
    return float((first.float() - second.float()).abs().max()) <= tolerance * size
