"""The catalogue: every fault by its name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ....config.fields import suggestion
from . import broken, repairable
from . import healthy as odd
from . import responses_only as numbered
from .fault import Fault

FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        fault.name: fault
        for shelf in (odd, repairable, broken, numbered)
        for fault in vars(shelf).values()
        if isinstance(fault, Fault)
    }
)


def find_fault(fault: str | Fault) -> Fault:
    """The fault of this name; a `Fault` is its own. Raises `ValueError`, naming the nearest names."""
    if isinstance(fault, Fault):
        return fault
    if fault not in FAULTS:
        raise ValueError(f"unknown fault {fault!r}{suggestion(fault, FAULTS)}")
    return FAULTS[fault]


__all__ = ["FAULTS", "Fault", "find_fault"]
