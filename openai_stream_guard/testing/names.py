"""How an unknown name is answered: with the nearest known ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error's sentence: the names nearest to this one, or all of them where none is near."""
    allowed = sorted(known)
    near = difflib.get_close_matches(name, allowed, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"allowed are {', '.join(allowed)}"
