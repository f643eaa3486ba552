"""The collectives of a run's ranks, over CPU memory. Ranks that call different ones get an error that names both.

Every collective is one gather of bytes that begins with a header of fixed size. So two that do not belong together
complete as well, and are compared by their names. A rank that waits says for whom, and where that rank is.
"""

import struct
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from steersman.errors import SteersmanError
from steersman.parallel.collective_trace import CollectiveTrace, caller
from steersman.printing import tell

T = TypeVar("T")
HEADER_BYTES, NAME_BYTES = 1024, 200
_LENGTHS = struct.Struct("<qH")
_ROOM = HEADER_BYTES - _LENGTHS.size - NAME_BYTES
"""Payloads up to this many bytes are sent with the header."""
LOOK_SECONDS = 2.0
SAY_AFTER, SAY_EVERY = 20.0, 60.0
"""Seconds of waiting after which it is said who is waited for, and between two such messages."""


class Collectives:
    """Gathers of bytes between all ranks of a group, in the same order on each."""

    def __init__(self, group: dist.ProcessGroup, rank: int, size: int, trace: CollectiveTrace) -> None:
        self.rank, self.size = rank, size
        self._group, self._trace = group, trace

    def gather(self, kind: str, payload: bytes) -> list[bytes]:
        """The payload of every rank, in rank order. `kind` is what the caller does: sum, exchange."""
        name = f"{kind} in {caller()}".encode()[:NAME_BYTES].decode(errors="ignore")
        headers = self._all(_header(name, payload), name)
        found = [_read_header(header) for header in headers]
        self._compare([other for other, _, _ in found])
        longest = max(length for _, length, _ in found) - _ROOM
        if longest <= 0:
            return [beginning for _, _, beginning in found]
        rests = self._all(payload[_ROOM:].ljust(longest, b"\0"), name)
        return [(part + rest)[:length] for (_, length, part), rest in zip(found, rests, strict=True)]

    def exchange(self, value: T) -> list[T]:
        """This value of every rank, in rank order. Each is pickled for the transfer."""
        self.gather("exchange", b"")
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value, group=self._group)
        return values  # type: ignore[return-value]

    def _compare(self, names: Sequence[str]) -> None:
        """Raise unless all names are the same function's, in whichever of its lines."""
        if len({name.partition(" (")[0] for name in names}) == 1:
            return
        places = "; ".join(f"rank {rank}: {name}" for rank, name in enumerate(names))
        raise out_of_step(places)

    def _all(self, mine: bytes, name: str) -> list[bytes]:
        tensor = torch.frombuffer(bytearray(mine), dtype=torch.uint8)
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        with self._trace.waiting(name):
            work = dist.all_gather(parts, tensor, group=self._group, async_op=True)
            assert work is not None
            self._wait(work, name)
        return [_bytes(part) for part in parts]

    def _wait(self, work: dist.Work, name: str) -> None:
        began = time.monotonic()
        say_at = SAY_AFTER
        while True:
            completed = work.is_completed()
            try:
                work.wait(timedelta(seconds=LOOK_SECONDS))
                return
            except RuntimeError as error:
                if completed:
                    raise SteersmanError(
                        f"rank {self.rank} lost the others in {name}: one of them has ended. Look for its message above"
                    ) from error
            if work.is_completed():
                continue
            waited = time.monotonic() - began
            stuck = self._trace.stuck(waited)
            if stuck:
                raise out_of_step(f"rank {self.rank}: {name}; {stuck}")
            if waited > say_at:
                say_at += SAY_EVERY
                tell(f"steersman: rank {self.rank} has waited {waited:.0f} s in {name}; {self._trace.others()}")


def out_of_step(places: str) -> SteersmanError:
    return SteersmanError(
        f"the ranks are out of step, and each waits for the others: {places}. This is a mistake in Steersman; please "
        "report it with this message. The same command in one process (without torchrun) is not affected"
    )


def _header(name: str, payload: bytes) -> bytes:
    said = name.encode()
    return (_LENGTHS.pack(len(payload), len(said)) + said.ljust(NAME_BYTES, b"\0") + payload[:_ROOM]).ljust(
        HEADER_BYTES, b"\0"
    )


def _read_header(header: bytes) -> tuple[str, int, bytes]:
    """The name, the payload's length, and as much of the payload as the header holds."""
    length, said = _LENGTHS.unpack_from(header)
    name = header[_LENGTHS.size : _LENGTHS.size + said].decode()
    start = _LENGTHS.size + NAME_BYTES
    return name, length, header[start : start + min(length, _ROOM)]


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()
