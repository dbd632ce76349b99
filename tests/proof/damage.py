"""What a network, a proxy or a server can do to one response at one of its bytes."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

Fault = Literal["clean end", "disconnect", "stall", "garble", "drop", "double"]
End = Literal["clean", "reset", "silence", "comments"]
FAULTS: tuple[Fault, ...] = ("clean end", "disconnect", "stall", "garble", "drop", "double")
CUTS = FAULTS[:3]
"""After these nothing more comes: every client can notice that, where the API marks its ends."""


@dataclass(frozen=True)
class Damaged:
    """A response: its reads, how it ends, and which event was struck."""

    reads: Sequence[bytes]
    end: End
    struck: int

    @property
    def body(self) -> bytes:
        """All its bytes."""
        return b"".join(self.reads)


def damaged(frames: Sequence[bytes], fault: Fault, offset: int, seed: int) -> Damaged:
    """The response, struck at this byte.

    A cut comes before the byte. An event is dropped or doubled where the byte is one of its own, and the reads are
    parted there, so that every offset is a run of its own. At odd offsets every event is a read of its own as well.
    """
    starts = list(accumulate(map(len, frames), initial=0))
    struck = bisect_right(starts, offset) - 1
    match fault:
        case "clean end" | "disconnect" | "stall":
            reads = _parted(b"".join(frames)[:offset], starts, offset)
            between = offset == starts[struck]
            end: End = {"clean end": "clean", "disconnect": "reset"}.get(fault) or (
                "comments" if between else "silence"
            )
            return Damaged(reads, end, struck)
        case "garble":
            body = bytearray(b"".join(frames))
            body[offset] ^= random.Random(f"{seed} {offset}").randrange(1, 256)
            return Damaged(_parted(bytes(body), starts, offset), "clean", struck)
        case "drop":
            left = [*frames[:struck], *frames[struck + 1 :]]
        case "double":
            left = [*frames[: struck + 1], *frames[struck:]]
    return Damaged(_parted(b"".join(left), list(accumulate(map(len, left), initial=0)), offset), "clean", struck)


def _parted(body: bytes, starts: Sequence[int], offset: int) -> list[bytes]:
    """The body in two reads, or, at an odd offset, in one for each event and one more."""
    edges = sorted({0, offset, len(body), *(starts if offset % 2 else ())})
    return [body[start:end] for start, end in pairwise(edges) if start < len(body)]
