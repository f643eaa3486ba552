"""The engine that samples in the training process, with the weights that are being trained.

After `refresh` the fused copy of the weights is made anew, with the adapter merged into it; the base does not change.
Numbers do not depend on the rest of the batch, up to the rounding of matrix products of different widths.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from steersman.errors import ModelError, UsageError
from steersman.models.backbone import Backbone
from steersman.models.heads import ValueHead
from steersman.models.q_heads import Guide, QHeads
from steersman.rollout.batch import Rollout, RolloutBatch
from steersman.rollout.choose import COPYING, PATHS, Path, choose_decoder, decoding, same_logits
from steersman.rollout.decoder import Decoder
from steersman.rollout.engine import OnToken, Sampling, check_request, limit_of, seeds_for
from steersman.rollout.fused import FusedDecoder
from steersman.rollout.generation import Generation
from steersman.rollout.graphed import GraphedDecoder
from steersman.rollout.paged import PAGE
from steersman.rollout.request import Ending, GenerationRequest, Ticket

# The largest number of samples that are generated at once, by device.
ROWS = {"cpu": 64, "mps": 128, "cuda": 256}
# The largest size of keys and values: in bytes on a CPU, as a share of the free memory on a GPU.
_MEMORY_BYTES = 2**30
FREE_SHARE = 0.5
# The copy of the weights and the KV cache stay on the GPU between calls if they take no more than this share of its
# memory: captured CUDA graphs refer to their addresses.
KEPT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """How the engine decodes: by which path, and within which memory.

    `rows` is the largest number of samples at once. `token_budget` is the largest number of tokens in the KV cache,
    prompts included; samples that do not fit wait. `dtype` is that of the fast decoder's copy of the weights, if not
    the model's own.
    """

    path: Path | Literal["auto"] = "auto"
    rows: int | None = None
    token_budget: int | None = None
    dtype: torch.dtype | None = None
    paged: bool = False
    """Keep keys and values in pages, on the graphed path: memory grows by what is answered, and samples share their
    prompt's pages. A row that finds no page begins again later."""
    split: int = 1
    """Among how many programs the attention over a row's past is divided, on the graphed path."""

    def __post_init__(self) -> None:
        if self.split < 1 or self.split & (self.split - 1):
            raise UsageError(f"split is {self.split}; expected a power of two, such as 1, 4 or 8")
        if any(given is not None and given < 1 for given in (self.rows, self.token_budget)):
            raise UsageError(
                f"rows is {self.rows} and token_budget {self.token_budget}; expected 1 or more, or None for a default"
            )


class NativeEngine:
    """An engine in this process. `acting_as` is the adapter that answers, None the model without one.

    `guide` are Q heads with their default weight `q_beta`; they are not copied. With `with_token_info` answers come
    with entropies, and with values by `value_head`, which is on the same trunk, where the fast decoder is used.
    """

    def __init__(
        self,
        backbone: Backbone,
        ending: Ending,
        *,
        acting_as: str | None = None,
        guide: Guide | None = None,
        with_token_info: bool = False,
        value_head: ValueHead | None = None,
        options: DecodingOptions = DecodingOptions(),
    ) -> None:
        self.backbone, self.ending, self.acting_as = backbone, ending, acting_as
        self.guide, self.with_token_info, self.value_head = guide, with_token_info, value_head
        self.options = options
        self.rows = options.rows or ROWS.get(backbone.device.type, 64)
        self.on_answer: Callable[[Rollout], None] | None = None
        self._version = 0
        self._decoder: Decoder | None = None
        self._stale = False
        self._taken: tuple[int, ...] = ()
        self._q_heads: QHeads | None = None
        self.path: Path | None = None
        self.why_slower: str = ""
        self._take_up(None if guide is None else guide.heads)

    @property
    def version(self) -> int:
        return self._version

    def refresh(self, version: int) -> None:
        """Use the model's new weights from now on; answers carry this version."""
        self._version = version
        self._stale = True

    def release(self) -> None:
        """Free the copied weights until the next `generate`, unless they are small: captured CUDA graphs are worth
        more."""
        if isinstance(self._decoder, GraphedDecoder):
            whole = torch.cuda.get_device_properties(self.backbone.device).total_memory
            if self._decoder.bytes <= KEPT_SHARE * whole:
                return
        self._decoder = None

    def load_weights(self, state: Mapping[str, Tensor], version: int) -> None:
        """Copy weights into the model itself (names as in its state_dict; some of them is enough)."""
        own = self.backbone.hf.state_dict()
        for name, tensor in state.items():
            if name not in own or own[name].shape != tensor.shape:
                there = f"the shape {tuple(own[name].shape)}" if name in own else "no such weight"
                raise ModelError(
                    f"cannot load the weight {name!r} of shape {tuple(tensor.shape)}: {self.backbone.name!r} has "
                    f"{there}; give weights of the same model, under the names of its state_dict"
                )
        with torch.no_grad():
            for name, tensor in state.items():
                own[name].copy_(tensor)
        self.refresh(version)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        samples: int = 1,
        seeds: Sequence[int] | int,
        on_token: OnToken | None = None,
    ) -> RolloutBatch:
        context, vocabulary = self.backbone.context_length, self.backbone.vocabulary
        check_request(prompts, samples, vocabulary, context)
        sampling = self.with_beta(sampling)
        tickets = self._tickets(prompts, sampling, samples, seeds_for(seeds, len(prompts), samples))
        request = GenerationRequest(
            prompts,
            tickets,
            sampling,
            self.ending,
            version=self._version,
            on_token=on_token,
            on_answer=self.on_answer,
            with_token_info=self.with_token_info,
        )
        decoder = self._take_up(self.guide.heads if self.guide is not None and sampling.q_beta else None)
        # tokens that were said to a listener cannot be drawn again
        paged = self.options.paged and on_token is None
        if isinstance(decoder, GraphedDecoder):
            decoder.decode_long(paged=paged, split=self.options.split)
        with decoding(self.backbone, fast=decoder.name in COPYING):
            generation = Generation(
                decoder,
                request,
                slots=self._slots(prompts, tickets, decoder),
                vocabulary=self.backbone.hf.get_output_embeddings().weight.shape[0],
                context=context,
                device=self.backbone.device,
            )
            generation.run()
        return generation.batch()

    @property
    def decoder(self) -> Decoder:
        """The decoder of the present weights, for whoever generates row by row (`live`), whose cache is not in pages.
        Q values follow its logits where the model has Q heads."""
        decoder = self._take_up(None if self.guide is None else self.guide.heads)
        if isinstance(decoder, GraphedDecoder):
            decoder.decode_long(paged=False, split=self.options.split)
        return decoder

    @property
    def cache_bytes(self) -> int:
        """Memory of the KV cache that is kept on a GPU."""
        return self._decoder.remembered_bytes if isinstance(self._decoder, GraphedDecoder) else 0

    def with_beta(self, sampling: Sampling) -> Sampling:
        """The settings with the weight of Q that holds for this model."""
        return replace(sampling, q_beta=self._beta(sampling))

    def _beta(self, sampling: Sampling) -> float:
        """The weight of Q in this request."""
        if sampling.q_beta and self.guide is None:
            raise UsageError(
                f"q_beta is {sampling.q_beta}, and {self.backbone.name!r} has no Q heads; leave it out, or give a "
                "model that `steersman ilql` made"
            )
        own = 0.0 if self.guide is None else self.guide.beta
        return own if sampling.q_beta is None else sampling.q_beta

    def _tickets(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, samples: int, seeds: list[int]
    ) -> list[list[Ticket]]:
        context = self.backbone.context_length
        tickets: list[list[Ticket]] = []
        for i, prompt in enumerate(prompts):
            limit = limit_of(context, prompt, sampling)
            tickets.append([Ticket(i, n, seeds[i * samples + n], limit) for n in range(samples)])
        return tickets

    def _slots(self, prompts: Sequence[Sequence[int]], tickets: Sequence[Sequence[Ticket]], decoder: Decoder) -> int:
        """The number of samples at once: bounded by the request, by the token budget and by `rows`."""
        longest = max(len(prompt) + group[0].limit for prompt, group in zip(prompts, tickets, strict=True))
        held = decoder.remembered_bytes if isinstance(decoder, GraphedDecoder) else 0
        budget = self.options.token_budget or default_token_budget(self.backbone, held)
        wanted = min(self.rows, sum(len(group) for group in tickets))
        if isinstance(decoder, GraphedDecoder) and decoder.paged:
            # at least one row of the greatest length, and the page of idle rows
            decoder.most_pages = max(budget, longest) // PAGE + 2
            return wanted
        slots = max(1, min(wanted, budget // longest))
        if isinstance(decoder, GraphedDecoder) and decoder.width(slots) * longest > budget:
            # its cache has as many rows as its step
            slots = max(1, decoder.width(slots) // 2)
        return slots

    def _take_up(self, q_heads: QHeads | None) -> Decoder:
        """The decoder for the present weights, with these Q heads. Weight changes without `refresh` are detected by
        tensor version counters, which count writes in place."""
        heads = [] if self.value_head is None else list(self.value_head.parameters())
        taken = tuple(parameter._version for parameter in [*self.backbone.hf.parameters(), *heads])
        if self._decoder is not None and not self._stale and taken == self._taken and q_heads is self._q_heads:
            return self._decoder
        held = self._decoder if isinstance(self._decoder, GraphedDecoder) and q_heads is self._q_heads else None
        self._decoder = None
        if self.path is None or not self._make_again(self.path, q_heads, held):
            # free it first: choosing another decoder makes a second copy
            held = None
            given = (self.backbone, self.acting_as, q_heads, self.options.path, self.options.dtype)
            self._decoder, self.why_slower = choose_decoder(*given)
            self.path = self._decoder.name
        self._taken, self._q_heads, self._stale = taken, q_heads, False
        assert self._decoder is not None
        if self.value_head is not None and isinstance(self._decoder, FusedDecoder):
            self._decoder.set_value_head(self.value_head)
        return self._decoder

    def _make_again(self, path: Path, q_heads: QHeads | None, held: GraphedDecoder | None) -> bool:
        """Make the same kind of decoder with the new weights, in place if `held` has a copy. Returns whether its logits
        are right.

        A copy with an adapter is checked again: a new adapter changes nothing, so its absence would not have shown when
        the decoder was chosen. In bf16 the check is as coarse as the numbers."""
        with decoding(self.backbone, fast=path in COPYING):
            if held is None:
                made = PATHS[path](self.backbone, self.acting_as, q_heads, self.options.dtype)
            else:
                held.refill(self.acting_as)
                made = held
            checked = path in COPYING and self.acting_as is not None
            if checked and not same_logits(made, self.backbone, self.acting_as, q_heads, steps=0):
                return False
        self._decoder = made
        return True


def default_token_budget(backbone: Backbone, held: int = 0) -> int:
    """The number of tokens whose keys and values fit into the memory for them; `held` bytes are in use already."""
    text: Any = backbone.config.get_text_config()
    # A model without attention heads has no KV cache here; it is counted as if it had one head of full width.
    every = getattr(text, "num_attention_heads", None) or 1
    heads = getattr(text, "num_key_value_heads", None) or every
    width = getattr(text, "head_dim", None) or text.hidden_size // every
    size = 2 * text.num_hidden_layers * heads * width * backbone.dtype.itemsize
    room = _MEMORY_BYTES
    if backbone.device.type == "cuda":
        room = int((torch.cuda.mem_get_info(backbone.device)[0] + held) * FREE_SHARE)
    return max(1, room // size)
