"""Faults put between the transport and the decoder of the streams that follow: no server has to misbehave for them.

A fault is a value (`kinds`), `Faults` says which response suffers it (`plan`), stages work it on the bytes
(`stages`, `points`, `signals`), and `bodies` puts them in the way of a response's readers.
"""

from __future__ import annotations

from .kinds import KINDS, Injection
from .plan import Faults

__all__ = ["KINDS", "Faults", "Injection"]
