"""Faults injected between the transport and the decoder of the streams to come: no server has to misbehave for them.

`injections` defines the faults, `plan` decides which response gets which, `transforms` and `points` change the bytes of
a body, and `response_patch` puts that between a response and its readers.
"""

from __future__ import annotations

from .injections import INJECTIONS, Injection
from .plan import Faults

__all__ = ["INJECTIONS", "Faults", "Injection"]
