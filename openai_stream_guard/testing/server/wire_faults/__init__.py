"""The catalogue of faults on the wire, by their names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ....config.fields import suggestion
from .broken import BROKEN
from .fault import Fault
from .healthy import HEALTHY
from .repairable import REPAIRABLE
from .responses_only import RESPONSES_ONLY

FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {fault.name: fault for fault in (*HEALTHY, *REPAIRABLE, *BROKEN, *RESPONSES_ONLY)}
)


def find_fault(fault: str | Fault) -> Fault:
    """Return the fault of this name, or the `Fault` given. Raises `ValueError`, which suggests the nearest name."""
    if isinstance(fault, Fault):
        return fault
    if fault not in FAULTS:
        raise ValueError(f"unknown fault {fault!r}{suggestion(fault, FAULTS)}")
    return FAULTS[fault]


__all__ = ["FAULTS", "Fault", "find_fault"]
