"""The tool that the programs beside this file hand to their framework: it keeps account of how it was called."""

from __future__ import annotations

CALLS: list[dict[str, object]] = []
"""The arguments of every call."""


# Defaults, as tools have them: a call that lost its last arguments looks like any other.
def get_weather(city: str, unit: str = "kelvin", days: list[int] | None = None) -> str:
    """Say what the weather is like in a city."""
    CALLS.append({"city": city, "unit": unit, "days": days})
    return "Sunny."
