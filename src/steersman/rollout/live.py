"""Rows that a server generates for as long as it runs: each has its own settings, and joins or leaves between steps.

`Generation` answers one call of `generate`, whose samples share their settings and are known from the start. Here rows
come one by one. A row's tokens are those that `generate` gives for its prompt, settings and seed, up to the rounding of
matrix products of different widths. The cache is allocated once: `slots` rows of `capacity` tokens.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from steersman.errors import DataError, UsageError
from steersman.rollout.choose import COPYING, decoding
from steersman.rollout.decoder import Decoder
from steersman.rollout.engine import Sampling, check_request
from steersman.rollout.live_row import LiveRow, LiveToken
from steersman.rollout.memory import RowMemory
from steersman.rollout.native import NativeEngine, default_token_budget
from steersman.rollout.products import width_for
from steersman.rollout.sampler import Drawn, draw
from steersman.rollout.stops import StopStrings
from steersman.rollout.uniforms import uniforms

# Padded tokens of the prompts that one step prefills: the rows that are being generated wait for it.
_PREFILL_TOKENS = 4096
_PREFILL_MULTIPLE = 16
# A long context is shared out over at least this many rows, unless the caller wants longer rows.
_LEAST_ROWS = 8


@dataclass(slots=True)
class _Seated:
    """What a row keeps while it has a slot."""

    row: LiveRow
    law: Sampling
    uniforms: list[float]
    stops: StopStrings | None
    seen: Bool[Tensor, " vocab"] | None
    ids: list[int]


class LiveRows:
    """The rows of one engine. Not for several threads at once, `LiveRow.cancelled` aside."""

    def __init__(self, engine: NativeEngine, *, slots: int, capacity: int) -> None:
        self.engine, self.slots, self.capacity = engine, slots, capacity
        backbone = engine.backbone
        self.device = backbone.device
        self.vocabulary: int = backbone.hf.get_output_embeddings().weight.shape[0]
        self.waiting: deque[LiveRow] = deque()
        self._seats: list[_Seated | None] = [None] * slots
        self._decoder: Decoder | None = None
        self._memory: RowMemory | None = None
        ending = engine.ending
        self._ends = frozenset(ending.end_ids)
        never = [token for token in ending.never_ids if 0 <= token < self.vocabulary]
        self._never = torch.tensor(never, dtype=torch.long, device=self.device) if never else None

    @property
    def running(self) -> int:
        return sum(seat is not None for seat in self._seats)

    def add(self, row: LiveRow) -> None:
        """Let a row join as soon as there is a slot. Raises if it never could."""
        check_request([row.prompt], 1, self.engine.backbone.vocabulary, None)
        if len(row.prompt) + row.sampling.max_new_tokens > self.capacity:
            raise DataError(
                f"the prompt has {len(row.prompt)} tokens and up to {row.sampling.max_new_tokens} were asked for; "
                f"a row has room for {self.capacity}. Shorten the prompt, or ask for fewer tokens"
            )
        self.waiting.append(row)

    def step(self) -> list[LiveRow]:
        """Let rows leave and join, and generate a token for each that has a slot. Returns the rows that changed."""
        if not self.waiting and not self.running:
            return []
        decoder = self._take_up()
        with decoding(self.engine.backbone, fast=decoder.name in COPYING):
            changed = self._drop_cancelled()
            changed += self._admit(decoder)
            seated = [slot for slot, seat in enumerate(self._seats) if seat is not None]
            if seated:
                changed += self._decode(decoder, seated)
        return list(dict.fromkeys(changed))

    def fail(self) -> list[LiveRow]:
        """Let all rows go after an error in `step`, and begin anew. Returns them."""
        gone = [*self.waiting, *(seat.row for seat in self._seats if seat is not None)]
        self.waiting.clear()
        self._seats = [None] * self.slots
        self._memory = self._decoder = None
        return gone

    def _take_up(self) -> Decoder:
        """The decoder of the present weights. Rows keep their cached keys and values where it can read them; else they
        are prefilled again."""
        decoder, before = self.engine.decoder, self._decoder
        if decoder is before:
            return decoder
        readable = before is not None and decoder.name == before.name and decoder.name != "graphed"
        if not readable:
            self.waiting.extendleft(reversed([seat.row for seat in self._seats if seat is not None]))
            self._seats = [None] * self.slots
            self._memory = None
        decoder.reach(-(-self.capacity // _PREFILL_MULTIPLE) * _PREFILL_MULTIPLE)
        if self._memory is None:
            with decoding(self.engine.backbone, fast=decoder.name in COPYING):
                self._memory = decoder.memory(decoder.width(self.slots), self.capacity)
            self._seats += [None] * (self._memory.slots - len(self._seats))
        self._decoder = decoder
        return decoder

    def _drop_cancelled(self) -> list[LiveRow]:
        gone = [row for row in self.waiting if row.cancelled]
        for row in gone:
            self.waiting.remove(row)
        for slot, seat in enumerate(self._seats):
            if seat is not None and seat.row.cancelled:
                gone.append(seat.row)
                self._leave(slot)
        for row in gone:
            row.ended = "cancelled"
        return gone

    def _leave(self, slot: int) -> None:
        self._seats[slot] = None
        if self._memory is not None:
            self._memory.lengths[slot] = 0

    def _admit(self, decoder: Decoder) -> list[LiveRow]:
        """Prefill waiting prompts for the free slots, and draw their first tokens."""
        free = [slot for slot in range(self.slots) if self._seats[slot] is None]
        prompts: dict[tuple[int, ...], int] = {}
        rows: list[LiveRow] = []
        time = 0
        while self.waiting and len(rows) < len(free):
            ids = (*self.waiting[0].prompt, *self.waiting[0].ids)
            if ids not in prompts:
                longest = max(time, len(ids))
                if prompts and longest * (len(prompts) + 1) > _PREFILL_TOKENS:
                    break
                time = longest
                prompts[ids] = len(prompts)
            rows.append(self.waiting.popleft())
        if not rows:
            return []
        memory, logits = self._prefill(decoder, list(prompts), time)
        places = [prompts[(*row.prompt, *row.ids)] for row in rows]
        slots = free[: len(rows)]
        assert self._memory is not None
        self._memory.take(memory, places, slots)
        for slot, row in zip(slots, rows, strict=True):
            self._seats[slot] = self._seat(row)
        self._draw(slots, logits[torch.tensor(places, device=self.device)])
        return rows

    def _prefill(
        self, decoder: Decoder, prompts: Sequence[tuple[int, ...]], time: int
    ) -> tuple[RowMemory, Float[Tensor, "row numbers"]]:
        context = self.engine.backbone.context_length
        time = -(-time // _PREFILL_MULTIPLE) * _PREFILL_MULTIPLE
        time = time if context is None else min(time, context)
        ids = torch.zeros((width_for(len(prompts)), time), dtype=torch.long)
        lengths = torch.ones(len(ids), dtype=torch.long)
        for i, prompt in enumerate(prompts):
            ids[i, : len(prompt)] = torch.tensor(prompt)
            lengths[i] = len(prompt)
        return decoder.prefill(ids.to(self.device), lengths.to(self.device))

    def _seat(self, row: LiveRow) -> _Seated:
        sampling = self.engine.with_beta(row.sampling)
        seen = None
        if sampling.repetition_penalty != 1:
            seen = torch.zeros(self.vocabulary, dtype=torch.bool, device=self.device)
            seen[torch.tensor([*row.prompt, *row.ids], device=self.device)] = True
        return _Seated(
            row,
            # what tokens are drawn by, so that rows with the same are drawn together
            replace(sampling, stop=(), stop_ids=(), max_new_tokens=max(1, sampling.min_new_tokens)),
            uniforms([row.seed], sampling.max_new_tokens)[0].tolist(),
            self.engine.ending.stops(sampling),
            seen,
            row.ids,
        )

    def _decode(self, decoder: Decoder, seated: list[int]) -> list[LiveRow]:
        """One more token for each seated row."""
        width = self._close_ranks(decoder, seated)
        seats = self._seats[:width]
        memory = self._memory
        assert memory is not None
        alive = torch.tensor([seat is not None for seat in seats], device=self.device)
        newest = torch.tensor([0 if seat is None else seat.ids[-1] for seat in seats], device=self.device)
        logits = decoder.step(newest, memory)
        # Idle rows of the step stay at the start of their slots.
        memory.lengths[:width].mul_(alive)
        rows = [slot for slot, seat in enumerate(seats) if seat is not None]
        changed = [seat.row for seat in seats if seat is not None]
        self._draw(rows, logits[torch.tensor(rows, device=self.device)])
        return changed

    def _close_ranks(self, decoder: Decoder, seated: list[int]) -> int:
        """The width of the next step; rows beyond it have moved into the gaps before it."""
        width = decoder.width(len(seated))
        outside = [slot for slot in seated if slot >= width]
        if outside:
            gaps = [slot for slot in range(width) if self._seats[slot] is None][: len(outside)]
            assert self._memory is not None
            self._memory.move(outside, gaps)
            for old, new in zip(outside, gaps, strict=True):
                self._seats[new], self._seats[old] = self._seats[old], None
        return width

    def _draw(self, slots: list[int], logits: Float[Tensor, "row numbers"]) -> None:
        """Draw one token for each of these slots; rows that end leave."""
        groups: dict[Sampling, list[int]] = {}
        for i, slot in enumerate(slots):
            groups.setdefault(self._at(slot).law, []).append(i)
        version = self.engine.version
        for law, members in groups.items():
            whole = len(members) == len(slots)
            own = logits if whole else logits[torch.tensor(members, device=self.device)]
            seats = [self._at(slots[i]) for i in members]
            drawn = self._draw_group(seats, own, law)
            plain = self._plain(seats, own[:, : self.vocabulary], drawn)
            numbers = (drawn.ids.tolist(), drawn.log_probs.tolist(), drawn.sampling_log_probs.tolist())
            for k, (token, log_prob, sampling_log_prob) in enumerate(zip(*numbers, strict=True)):
                kept = LiveToken(token, log_prob, sampling_log_prob, version, *plain.get(k, (float("nan"), ())))
                self._append(slots[members[k]], kept)

    def _draw_group(self, seats: list[_Seated], logits: Float[Tensor, "row numbers"], law: Sampling) -> Drawn:
        q_logits = None
        if logits.shape[1] > self.vocabulary:
            q_logits = logits[:, self.vocabulary :] * law.q_beta if law.q_beta else None
            logits = logits[:, : self.vocabulary]
        uniform = torch.tensor([seat.uniforms[len(seat.ids)] for seat in seats], device=self.device)
        return draw(
            logits,
            uniform,
            law,
            seen=None if law.repetition_penalty == 1 else torch.stack([s.seen for s in seats if s.seen is not None]),
            barred=self._barred(seats) if law.min_new_tokens else None,
            never=self._never,
            q_logits=q_logits,
        )

    def _barred(self, seats: list[_Seated]) -> Bool[Tensor, "row vocab"]:
        """Tokens that would end a row before it has `min_new_tokens`."""
        barred = torch.zeros((len(seats), self.vocabulary), dtype=torch.bool)
        for i, seat in enumerate(seats):
            if len(seat.ids) < seat.law.min_new_tokens:
                ends = {*self._ends, *seat.row.sampling.stop_ids}
                barred[i, [token for token in ends if 0 <= token < self.vocabulary]] = True
        return barred.to(self.device)

    def _plain(
        self, seats: list[_Seated], logits: Float[Tensor, "row vocab"], drawn: Drawn
    ) -> dict[int, tuple[float, tuple[tuple[int, float], ...]]]:
        """Log-prob under softmax(logits), and the likeliest tokens, of the rows that want them."""
        wanted = [i for i, seat in enumerate(seats) if seat.row.alternatives is not None]
        if not wanted:
            return {}
        index = torch.tensor(wanted, device=self.device)
        log_probs = logits[index].float().log_softmax(-1)
        own = log_probs.gather(1, drawn.ids[index, None])[:, 0].tolist()
        most = max(seats[i].row.alternatives or 0 for i in wanted)
        values, ids = (part.tolist() for part in log_probs.topk(min(most, self.vocabulary)))
        found: dict[int, tuple[float, tuple[tuple[int, float], ...]]] = {}
        for k, i in enumerate(wanted):
            count = seats[i].row.alternatives or 0
            found[i] = own[k], tuple(zip(ids[k][:count], values[k][:count], strict=True))
        return found

    def _append(self, slot: int, token: LiveToken) -> None:
        seat = self._at(slot)
        row, ids = seat.row, seat.ids
        ids.append(token.id)
        row.tokens.append(token)
        if seat.seen is not None:
            seat.seen[token.id] = True
        enough = len(ids) >= row.sampling.min_new_tokens
        if token.id in self._ends and not row.ignore_end:
            row.ended = "end"
        elif token.id in row.sampling.stop_ids or (seat.stops is not None and enough and seat.stops.found(ids)):
            row.ended = "stop"
        elif len(ids) >= row.sampling.max_new_tokens:
            row.ended = "length"
        if row.ended is not None:
            self._leave(slot)

    def _at(self, slot: int) -> _Seated:
        seat = self._seats[slot]
        assert seat is not None
        return seat


def live_rows(engine: NativeEngine, *, rows: int | None = None, length: int | None = None) -> LiveRows:
    """Rows for this engine within its memory for keys and values: `rows` of `length` tokens, or as many and as long as
    fit."""
    backbone = engine.backbone
    budget = engine.options.token_budget or default_token_budget(backbone)
    context = backbone.context_length
    if length is not None and context is not None and length > context:
        raise UsageError(f"rows of {length} tokens were asked for, and the model's context is {context}")
    if length is not None and length < 2:
        raise UsageError(f"rows of {length} tokens were asked for; expected 2 or more, a prompt and an answer")
    capacity = length or min(context or budget, max(2, budget // min(_LEAST_ROWS, rows or _LEAST_ROWS)))
    slots = max(1, min(rows or engine.rows, budget // capacity))
    return LiveRows(engine, slots=slots, capacity=capacity)
