"""Loaded by autowrapt when Python starts, for `AUTOWRAPT_BOOTSTRAP=openai_stream_guard`: guards the process.

Loading it is what guards, and not the call below: so what the program says in its code later has the last word.
"""

from __future__ import annotations

from .activation import guard_by_default

guard_by_default()


def openai_imported(openai: object) -> None:
    """Called by autowrapt when openai has been imported. There is nothing left to do: `activation` waits for that."""
