"""One call of `generate`, with continuous batching: waiting prompts, and slots in which samples are generated.

A prompt is prefilled once and copied to the slots of its samples. When samples end, waiting ones take their slots; when
none wait, the last rows move into the gaps and steps become narrower. All work per token is done for the whole step at
once; Python handles single tokens only for stop strings and callbacks.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from steersman.rollout.batch import FinishReason, RolloutBatch, token_index
from steersman.rollout.decoder import Decoder
from steersman.rollout.finished import Finished, assembled
from steersman.rollout.memory import RowMemory
from steersman.rollout.products import width_for
from steersman.rollout.request import GenerationRequest, Ticket
from steersman.rollout.sampler import draw
from steersman.rollout.uniforms import uniforms

# Padded tokens of prompts in one prefill.
_PREFILL_TOKENS = 4096
# Waiting prompts are prefilled once one slot in so many is free: one prompt costs nearly as much as several.
_ADMIT_SHARE = 8
_PREFILL_MULTIPLE = 16
_GOES_ON, _END, _STOP = 0, 1, 2


@dataclass(slots=True)
class _Read:
    """A prefilled prompt whose samples wait for slots."""

    memory: RowMemory
    row: int
    logits: Float[Tensor, " numbers"]
    value: Float[Tensor, ""] | None
    tickets: deque[Ticket]


class Generation:
    def __init__(
        self,
        decoder: Decoder,
        request: GenerationRequest,
        *,
        slots: int,
        vocabulary: int,
        context: int | None,
        device: torch.device,
    ) -> None:
        self.decoder, self.request, self.sampling, self.ending = decoder, request, request.sampling, request.ending
        self.stops = request.ending.stops(request.sampling)
        self.prompts, self.with_token_info = request.prompts, request.with_token_info
        self.context, self.device, self.slots, self.vocabulary = context, device, slots, vocabulary
        tickets = request.tickets
        most = max(ticket.limit for group in tickets for ticket in group)
        capacity = max(len(self.prompts[group[0].prompt]) + group[0].limit for group in tickets)
        decoder.reach(-(-capacity // _PREFILL_MULTIPLE) * _PREFILL_MULTIPLE)
        width = decoder.width(slots)
        self.memory = decoder.memory(width, capacity)
        self.tickets: list[Ticket | None] = [None] * width
        self.spoken: list[list[int]] = [[] for _ in range(width)]
        self.watched = request.on_token is not None or self.stops is not None
        # Longest first: those that take longest should not be the last to begin.
        self.waiting = deque(sorted(tickets, key=lambda group: -len(self.prompts[group[0].prompt])))
        self.read: deque[_Read] = deque()
        self.finished: list[Finished] = []
        self._make_state(width, most)

    def _make_state(self, width: int, most: int) -> None:
        """Make the state of the slots, on the device."""
        whole, real = {"dtype": torch.long, "device": self.device}, {"dtype": torch.float32, "device": self.device}
        self.alive = torch.zeros(width, dtype=torch.bool, device=self.device)
        self.tokens = torch.zeros(width, **whole)
        self.drawn = torch.zeros(width, **whole)
        self.limits = torch.ones(width, **whole)
        self.uniforms = torch.zeros((width, most), **real)
        self.ids = torch.zeros((width, most), **whole)
        self.log_probs = torch.zeros((width, most), **real)
        self.sampling_log_probs = torch.zeros((width, most), **real)
        self.entropies = torch.zeros((width, most), **real)
        self.values = torch.zeros((width, most), **real)
        self.seen = None
        if self.sampling.repetition_penalty != 1:
            self.seen = torch.zeros((width, self.vocabulary), dtype=torch.bool, device=self.device)
        self.kinds = torch.zeros(self.vocabulary, dtype=torch.long, device=self.device)
        for kind, ids in ((_STOP, self.sampling.stop_ids), (_END, self.ending.end_ids)):
            for token in ids:
                if 0 <= token < self.vocabulary:
                    self.kinds[token] = kind
        self.never: Tensor | None = None
        if never := [token for token in self.ending.never_ids if 0 <= token < self.vocabulary]:
            self.never = torch.tensor(never, **whole)

    @property
    def state(self) -> list[Tensor]:
        several = [
            self.tokens,
            self.drawn,
            self.limits,
            self.uniforms,
            self.ids,
            self.log_probs,
            self.sampling_log_probs,
        ]
        several += [self.entropies, self.values] if self.with_token_info else []
        return [*several, self.alive, *([] if self.seen is None else [self.seen])]

    def run(self) -> None:
        """Generate all answers; `batch` returns them."""
        while True:
            self._admit()
            occupied = [slot for slot, ticket in enumerate(self.tickets) if ticket is not None]
            if not occupied:
                return
            width = self._close_ranks(occupied)
            for slot in self.memory.room_for_step([i for i, one in enumerate(self.tickets[:width]) if one is not None]):
                self._begin_again(slot)
            logits = self.decoder.step(self.tokens[:width], self.memory)
            # Idle rows of the step stay at the start of their slots.
            self.memory.lengths[:width].mul_(self.alive[:width])
            self._draw(torch.arange(width, device=self.device), logits, self.decoder.values)

    def _admit(self) -> None:
        """Fill free slots with samples of prefilled prompts, and prefill more while there is room."""
        free = [slot for slot, ticket in enumerate(self.tickets[: self.slots]) if ticket is None]
        left = sum(len(group) for group in self.waiting) + sum(len(read.tickets) for read in self.read)
        enough = max(1, self.slots // _ADMIT_SHARE)
        if not left or (len(free) < min(enough, left) and len(free) < self.slots):
            return
        if self.memory.is_full and len(free) < self.slots:
            return
        while free and (self.read or self.waiting) and not (self.memory.is_full and len(free) < self.slots):
            if not self.read:
                self._prefill(len(free))
            free = self._seat(free)

    def _prefill(self, free: int) -> None:
        """Prefill together as many waiting prompts as have samples for the free slots."""
        chosen: list[Sequence[Ticket]] = []
        wanted = time = 0
        while self.waiting and wanted < free:
            time = max(time, len(self.prompts[self.waiting[0][0].prompt]))
            if chosen and time * (len(chosen) + 1) > _PREFILL_TOKENS:
                break
            chosen.append(self.waiting.popleft())
            wanted += len(chosen[-1])
        time = -(-time // _PREFILL_MULTIPLE) * _PREFILL_MULTIPLE
        time = time if self.context is None else min(time, self.context)
        ids = torch.zeros((width_for(len(chosen)), time), dtype=torch.long)
        lengths = torch.ones(len(ids), dtype=torch.long)
        for row, group in enumerate(chosen):
            prompt = self.prompts[group[0].prompt]
            ids[row, : len(prompt)] = torch.tensor(prompt)
            lengths[row] = len(prompt)
        memory, logits = self.decoder.prefill(ids.to(self.device), lengths.to(self.device))
        for row, group in enumerate(chosen):
            value = None if self.decoder.values is None else self.decoder.values[row]
            self.read.append(_Read(memory, row, logits[row], value, deque(group)))

    def _seat(self, free: list[int]) -> list[int]:
        """Give each sample of prefilled prompts a slot, and draw its first token. Returns the slots that are still
        free."""
        memory = self.read[0].memory
        rows: list[int] = []
        logits: list[Tensor] = []
        values: list[Tensor] = []
        tickets: list[Ticket] = []
        while self.read and self.read[0].memory is memory and len(rows) < len(free):
            read = self.read[0]
            tickets.append(read.tickets.popleft())
            rows.append(read.row)
            logits.append(read.logits)
            values += [] if read.value is None else [read.value]
            if not read.tickets:
                self.read.popleft()
        slots = free[: len(rows)]
        self.memory.take(memory, rows, slots)
        where = torch.tensor(slots, device=self.device)
        self.drawn[where] = 0
        self.alive[where] = True
        self.limits[where] = torch.tensor([ticket.limit for ticket in tickets], device=self.device)
        numbers = uniforms([ticket.seed for ticket in tickets], self.uniforms.shape[1])
        self.uniforms[where] = numbers.to(self.device)
        for slot, ticket in zip(slots, tickets, strict=True):
            self.tickets[slot] = ticket
            self.spoken[slot] = []
            if self.seen is not None:
                self.seen[slot] = False
                self.seen[slot, torch.tensor(self.prompts[ticket.prompt], device=self.device)] = True
        self._draw(where, torch.stack(logits), torch.stack(values) if values else None)
        still = [slot for slot in slots if self.tickets[slot] is None]
        return still + free[len(rows) :]

    def _close_ranks(self, occupied: list[int]) -> int:
        """The width of the next step; rows beyond it have moved into the gaps before it."""
        width = self.decoder.width(len(occupied))
        outside = [slot for slot in occupied if slot >= width]
        if outside:
            gaps = [slot for slot in range(width) if self.tickets[slot] is None][: len(outside)]
            self.memory.move(outside, gaps)
            source, target = (torch.tensor(slots, device=self.device) for slots in (outside, gaps))
            for tensor in self.state:
                tensor[target] = tensor[source]
            self.alive[source] = False
            for old, new in zip(outside, gaps, strict=True):
                self.tickets[new], self.tickets[old] = self.tickets[old], None
                self.spoken[new] = self.spoken[old]
        return width

    def _draw(
        self, rows: Int[Tensor, " row"], logits: Float[Tensor, "row numbers"], values: Float[Tensor, " row"] | None
    ) -> None:
        """Draw one token for each of these slots; samples that end leave. Q values may follow the logits of a row."""
        q_logits = None
        if logits.shape[1] > self.vocabulary:
            q_logits = logits[:, self.vocabulary :] * (self.sampling.q_beta or 0.0)
            logits = logits[:, : self.vocabulary]
        place = self.drawn[rows]
        seen = None if self.seen is None else self.seen[rows]
        barred = self._barred(place)
        drawn = draw(
            logits,
            self.uniforms[rows, place],
            self.sampling,
            seen=seen,
            barred=barred,
            never=self.never,
            q_logits=q_logits,
            with_entropy=self.with_token_info,
        )
        self.ids[rows, place] = drawn.ids
        self.log_probs[rows, place] = drawn.log_probs
        self.sampling_log_probs[rows, place] = drawn.sampling_log_probs
        if drawn.entropies is not None:
            self.entropies[rows, place] = drawn.entropies
        if self.with_token_info and values is not None:
            self.values[rows, place] = values
        self.tokens[rows] = drawn.ids
        if self.seen is not None:
            self.seen[rows, drawn.ids] = True
        alive = self.alive[rows]
        count = place + alive
        self.drawn[rows] = count
        kinds = self.kinds[drawn.ids]
        over = alive & ((kinds != _GOES_ON) | (count >= self.limits[rows]))
        stopped = self._listen(rows, drawn.ids, drawn.log_probs) if self.watched else set()
        if stopped or bool(over.any()):
            finished: dict[int, FinishReason] = {
                slot: "end" if kind == _END else "stop" if kind == _STOP or slot in stopped else "length"
                for slot, kind, is_over in zip(rows.tolist(), kinds.tolist(), over.tolist(), strict=True)
                if is_over or slot in stopped
            }
            self._leave(finished)

    def _barred(self, place: Int[Tensor, " row"]) -> Bool[Tensor, "row vocab"] | None:
        """Tokens that would end a sample before it has `min_new_tokens`."""
        if self.sampling.min_new_tokens == 0:
            return None
        return (place < self.sampling.min_new_tokens)[:, None] & (self.kinds != _GOES_ON)

    def _listen(
        self, rows: Int[Tensor, " row"], ids: Int[Tensor, " row"], log_probs: Float[Tensor, " row"]
    ) -> set[int]:
        """Call `on_token` with each token. Returns the slots in which a stop string was completed."""
        stopped: set[int] = set()
        for slot, token, log_prob in zip(rows.tolist(), ids.tolist(), log_probs.tolist(), strict=True):
            ticket = self.tickets[slot]
            if ticket is None:
                continue
            spoken = self.spoken[slot]
            spoken.append(token)
            if self.request.on_token is not None:
                self.request.on_token(ticket.prompt, ticket.sample, token, log_prob)
            if self.stops is not None and len(spoken) >= self.sampling.min_new_tokens and self.stops.found(spoken):
                stopped.add(slot)
        return stopped

    def _leave(self, reasons: Mapping[int, FinishReason]) -> None:
        """These samples have ended: copy their tokens out of the slots, which are free again."""
        slots = torch.tensor(list(reasons), device=self.device)
        lengths: list[int] = self.drawn[slots].tolist()
        columns = [self.ids, self.log_probs, self.sampling_log_probs]
        columns += [self.entropies] if self.with_token_info else []
        columns += [self.values] if self.with_token_info and self.decoder.values is not None else []
        starts = torch.tensor(list(reasons)) * self.ids.shape[1]
        index = token_index(starts, torch.tensor(lengths)).to(self.device)
        answers: list[tuple[Ticket, FinishReason]] = []
        for slot, reason in reasons.items():
            ticket = self.tickets[slot]
            assert ticket is not None
            answers.append((ticket, reason))
            self.tickets[slot] = None
        self.finished.append(Finished(answers, lengths, [column.view(-1)[index] for column in columns]))
        self.alive[slots] = False
        self.drawn[slots] = 0
        self.memory.release(list(reasons))
        if self.request.on_answer is not None:
            for rollout in assembled(self.finished[-1:], self.request):
                self.request.on_answer(rollout)

    def _begin_again(self, slot: int) -> None:
        """Give up a row that the cache has no room for. Its answer is drawn again later, and is the same one."""
        ticket = self.tickets[slot]
        assert ticket is not None
        self.waiting.append([ticket])
        self.tickets[slot] = None
        self.alive[slot] = False
        self.drawn[slot] = 0
        self.memory.release([slot])

    def batch(self) -> RolloutBatch:
        """All answers, in the order of prompts and samples. Call it outside inference mode, since training uses the
        tensors."""
        return assembled(self.finished, self.request)
