"""Settings that do not exist, or of the wrong type: every line that says so is refused by mypy --strict and pyright."""

from __future__ import annotations

from openai_stream_guard import Policy, configure, enable, guarding, observe

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
