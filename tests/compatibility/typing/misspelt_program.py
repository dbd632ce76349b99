"""Settings and faults that do not exist, or are of the wrong type: mypy --strict and pyright refuse each such line."""

from __future__ import annotations

from openai_stream_guard import Policy, configure, enable, guarding, observe
from openai_stream_guard.testing import StreamGuard, cut, faults

enable(max_retry=1)  # wrong
enable(max_retries="many")  # wrong
enable("on")  # wrong
observe(deliver="atomic")  # wrong
configure(idle_timout=3.0)  # wrong
configure(delivery="atomically")  # wrong
with guarding(recover=()):  # wrong
    pass
Policy().replace(repare="off")  # wrong
enable(max_retries=1, delivery="atomic")
configure(idle_timeout=3.0)


def test_summary(stream_guard: StreamGuard) -> None:
    with faults(cut(after_events=3)) as planned:
        planned.cutt()  # wrong
        planned.cut(after_event=3)  # wrong
    cut(times="twice")  # wrong
    stream_guard.faults.gap(after_bytes=3)  # wrong
    stream_guard.faults.gap(after_events=3)
    stream_guard.assert_recovered(by="reply")  # wrong
    stream_guard.assert_recovered(by="replay")
