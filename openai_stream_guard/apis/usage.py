"""What an API tells of the tokens that an answer took."""

from __future__ import annotations

from collections.abc import Mapping

_HOLDERS = ("response", "data")
"""Members in which an event holds the object that has usage: Responses, and runs of assistants."""


def usage_in(value: object) -> Mapping[str, object] | None:
    """Return the `usage` of an event, whatever the API: its numbers under its own names. None where it tells none."""
    if not isinstance(value, dict):
        return None
    found = value.get("usage")
    for name in _HOLDERS:
        if found is None and isinstance(holder := value.get(name), dict):
            found = holder.get("usage")
    return _numbers(found) if isinstance(found, dict) else None


def _numbers(usage: Mapping[str, object], depth: int = 2) -> Mapping[str, object]:
    kept: dict[str, object] = {}
    for name, told in usage.items():
        if isinstance(told, int | float):
            kept[name] = told
        elif isinstance(told, dict) and depth:
            kept[name] = _numbers(told, depth - 1)
    return kept
