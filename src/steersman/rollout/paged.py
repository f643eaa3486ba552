"""A KV cache in pages: it grows by what is answered, not by what is allowed, and samples share their prompt's pages.

A row's tokens are in pages of `PAGE` tokens, which its line of `table` names in order (as in vLLM's PagedAttention,
arXiv 2309.06180). Page 0 belongs to nobody: idle rows write there. All pages are one tensor, whose address CUDA graphs
know; when it is full it is made anew twice as large, and steps are recorded anew.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steersman.rollout.memory import RowMemory

PAGE = 64
# A row gets its next page when so few of its places are left, so that several rows get theirs at once.
AHEAD = 16
# Pages of a new cache.
_FIRST = 64


class PagedMemory(RowMemory):
    """The cache. `pool` is [tensors, pages, K, PAGE, D]; `most_pages` bounds its growth."""

    def __init__(self, pool: Float[Tensor, "tensors pages lanes page width"], slots: int, capacity: int) -> None:
        super().__init__(slots, capacity, pool.device)
        self.most_pages: int | None = None
        self.table = torch.zeros((slots, -(-capacity // PAGE)), dtype=torch.int32, device=pool.device)
        self._set_pool(pool)
        self._free = list(range(pool.shape[1] - 1, 0, -1))
        self._users: Counter[int] = Counter()
        self._pages: list[list[int]] = [[] for _ in range(slots)]
        self._tokens = [0] * slots
        # The whole pages of prompts, by the prefilled memory and its row, while samples of them may come.
        self._prompts: dict[tuple[int, int], list[int]] = {}
        self._source: RowMemory | None = None
        self.grown = 0

    @staticmethod
    def empty(
        shape: tuple[int, int, int], slots: int, capacity: int, most_pages: int | None, like: Tensor
    ) -> "PagedMemory":
        """A cache for (tensors, lanes, width), with few pages."""
        tensors, lanes, width = shape
        pages = min(_FIRST, slots * -(-capacity // PAGE), (most_pages or _FIRST + 1) - 1) + 1
        found = PagedMemory(like.new_zeros(tensors, pages, lanes, PAGE, width), slots, capacity)
        found.most_pages = most_pages
        return found

    @property
    def bytes(self) -> int:
        return self.pool.nbytes

    @property
    def pages_used(self) -> int:
        return self.pool.shape[1] - 1 - len(self._free)

    def take(self, other: RowMemory, rows: Sequence[int], slots: Sequence[int]) -> None:
        """Copy rows of a prefilled memory into slots. Samples of one prompt share its whole pages."""
        if other is not self._source:
            self._forget_prompts()
            self._source = other
        lengths: list[int] = other.lengths[torch.tensor(rows, device=self.device)].tolist()
        for row, slot, length in zip(rows, slots, lengths, strict=True):
            self.release([slot])
            whole = length // PAGE
            key = (id(other), row)
            if key not in self._prompts:
                self._prompts[key] = self._new(whole)
                self._write(other, row, 0, whole * PAGE, self._prompts[key])
            shared = self._prompts[key]
            self._users.update(shared)
            own = self._new(-(-(length + 1) // PAGE) - whole)
            self._write(other, row, whole * PAGE, length, own)
            self._pages[slot], self._tokens[slot] = [*shared, *own], length
        self.lengths[torch.tensor(slots, device=self.device)] = torch.tensor(lengths, device=self.device)
        self._write_table(slots)

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        for source, target in zip(sources, targets, strict=True):
            self.release([target])
            self._pages[target], self._tokens[target] = self._pages[source], self._tokens[source]
            self._pages[source], self._tokens[source] = [], 0
        source, target = (torch.tensor(one, device=self.device) for one in (sources, targets))
        self.lengths[target] = self.lengths[source]
        self.lengths[source] = 0
        self._write_table([*sources, *targets])

    def release(self, slots: Iterable[int]) -> None:
        left = [slot for slot in slots if self._pages[slot]]
        for slot in left:
            self._give_back(self._pages[slot])
            self._pages[slot], self._tokens[slot] = [], 0
        if left:
            self.lengths[torch.tensor(left, device=self.device)] = 0
            self._write_table(left)

    def room_for_step(self, slots: Sequence[int]) -> list[int]:
        """Count one more token for each of these rows, with pages for them. Returns the rows that found no room.

        Rows near the end of their last page get the next one, too.
        """
        without: list[int] = []
        changed: list[int] = []
        if all(self._tokens[slot] < len(self._pages[slot]) * PAGE for slot in slots):
            for slot in slots:
                self._tokens[slot] += 1
            return without
        for slot in slots:
            after = min(self._tokens[slot] + 1 + AHEAD, self.capacity)
            missing = -(-after // PAGE) - len(self._pages[slot])
            if missing > 0 and self._has_room(missing):
                self._pages[slot] += self._new(missing)
                changed.append(slot)
            if self._tokens[slot] >= len(self._pages[slot]) * PAGE:
                without.append(slot)
            else:
                self._tokens[slot] += 1
        if changed:
            self._write_table(changed)
        return without

    def forget(self) -> None:
        """Free every row and every prompt."""
        self._forget_prompts()
        self.release(range(self.slots))
        self.lengths.zero_()

    @property
    def is_full(self) -> bool:
        """Whether rows that join now would take the pages that others will need."""
        return not self._has_room(sum(bool(pages) for pages in self._pages))

    def _has_room(self, count: int) -> bool:
        def there() -> bool:
            most = self.most_pages
            return most is None or len(self._free) + max(0, most - self.pool.shape[1]) >= count

        if not there():
            self._forget_prompts()
        return there()

    def _new(self, count: int) -> list[int]:
        while len(self._free) < count:
            self._grow()
        found = [self._free.pop() for _ in range(count)]
        self._users.update(found)
        return found

    def _grow(self) -> None:
        """Twice as many pages, or as many as are allowed; prompts that must be copied now may exceed that."""
        before = self.pool.shape[1]
        after = 2 * before
        if self.most_pages is not None:
            after = max(before + 1, min(after, self.most_pages))
        tensors, _, lanes, page, width = self.pool.shape
        pool = self.pool.new_zeros(tensors, after, lanes, page, width)
        pool[:, :before] = self.pool
        self._set_pool(pool)
        self._free = [*range(after - 1, before - 1, -1), *self._free]
        self.grown += 1

    def _set_pool(self, pool: Tensor) -> None:
        self.pool = pool
        self.tensors = list(pool.unbind())

    def _give_back(self, pages: Iterable[int]) -> None:
        for page in pages:
            self._users[page] -= 1
            if self._users[page] == 0:
                del self._users[page]
                self._free.append(page)

    def _forget_prompts(self) -> None:
        for pages in self._prompts.values():
            self._give_back(pages)
        self._prompts.clear()
        self._source = None

    def _write(self, other: RowMemory, row: int, start: int, end: int, pages: Sequence[int]) -> None:
        """Copy tokens `start` to `end` of a row of another memory into pages."""
        if end <= start:
            return
        source: Any = torch.stack([tensor[row, :, start:end] for tensor in other.tensors if tensor is not None])
        count = -(-(end - start) // PAGE)
        padded = torch.nn.functional.pad(source, (0, 0, 0, count * PAGE - (end - start)))
        where = torch.tensor(pages[:count], device=self.device)
        self.pool[:, where] = padded.unflatten(2, (count, PAGE)).transpose(1, 2).to(self.pool.dtype)

    def _write_table(self, slots: Sequence[int]) -> None:
        lines = torch.zeros((len(slots), self.table.shape[1]), dtype=torch.int32)
        for line, slot in zip(lines, slots, strict=True):
            line[: len(self._pages[slot])] = torch.tensor(self._pages[slot], dtype=torch.int32)
        self.table[torch.tensor(slots, device=self.device)] = lines.to(self.device)
