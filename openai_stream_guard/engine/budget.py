"""How many re-issues a host may be asked for, so that an outage is not answered with twice the traffic.

Knows hosts as names and nothing of faults or time: tokens come from streams that start, not from a clock.
The law: a host never gets more re-issues than its bucket held plus what the started streams have added.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

CAPACITY = 10.0
_MOST_HOSTS = 1024


class Budget:
    """
    A bucket of `CAPACITY` tokens for each host, full at first.

    Safe to share between threads. A host is forgotten, and starts with a full bucket again, once `_MOST_HOSTS` others
    have been used since.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: OrderedDict[str, float] = OrderedDict()

    def deposit(self, host: str, ratio: float) -> None:
        """Add `ratio` tokens, for a stream that starts."""
        with self._lock:
            self._put(host, self._tokens.get(host, CAPACITY) + ratio)

    def withdraw(self, host: str) -> bool:
        """Take one token, for a re-issue; False, and nothing taken, where less than one is left."""
        with self._lock:
            held = self._tokens.get(host, CAPACITY)
            if held < 1:
                return False
            self._put(host, held - 1)
            return True

    def _put(self, host: str, tokens: float) -> None:
        # Rounded, since ten times 0.1 added up as floats falls short of the one token that it has to buy.
        self._tokens[host] = round(min(tokens, CAPACITY), 9)
        self._tokens.move_to_end(host)
        if len(self._tokens) > _MOST_HOSTS:
            self._tokens.popitem(last=False)
