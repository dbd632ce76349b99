"""The fixture `stream_guard`: what an application's own tests say that its streams must survive.

Loaded by pytest through an entry point in every run, so nothing is imported here until the fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from openai_stream_guard import Policy, StreamReport
    from openai_stream_guard.notices import Notice
    from openai_stream_guard.testing.injection import Faults


class StreamGuard:
    """The guard, switched on for one test."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        """Faults for the streams to come, such as `faults.cut(after_events=3)`."""
        self.reports: list[StreamReport] = []
        """One report for each stream that has ended, in order."""
        self._hook: Any = None

    def configure(self, **fields: Any) -> Policy:
        """Change fields of the policy for the rest of the test."""
        from openai_stream_guard import configure

        if "on_event" in fields:
            self._hook = fields["on_event"]
        return configure(**{**fields, "on_event": self._note})

    def _note(self, notice: Notice) -> None:
        from openai_stream_guard.notices import Ended

        if isinstance(notice, Ended):
            self.reports.append(notice.report)
        if self._hook is not None:
            self._hook(notice)


@pytest.fixture
def stream_guard() -> Iterator[StreamGuard]:
    """Guard the streams of this test: no waiting between attempts, no budget, everything restored afterwards."""
    from openai_stream_guard import Policy, switch
    from openai_stream_guard.testing.injection import injected

    with switch.restored(), injected() as faults:
        guard = StreamGuard(faults)
        switch.enable(Policy(backoff_initial=0.0, backoff_max=0.0, retry_budget=None))
        guard.configure()
        yield guard
