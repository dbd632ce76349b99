"""Loaded by autowrapt when Python starts, for `AUTOWRAPT_BOOTSTRAP=openai_stream_guard`: guards the process.

Being loaded is what it does, and not being called: what the program then says in its code has the last word.
"""

from __future__ import annotations

from .activation import guard_by_default

guard_by_default()


def openai_imported(openai: object) -> None:
    """What autowrapt calls when openai has been imported. Nothing is left to do: `switch` waits for that by itself."""
