"""Any JSON that a server may send, with the names in it that mean something."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


def any_json(
    *names: str, scalars: st.SearchStrategy[Any] | None = None, max_leaves: int = 12
) -> st.SearchStrategy[Any]:
    """Values of any type and nesting, whose objects have these members, or any.

    Args:
        scalars: what stands in place of numbers and texts of any kind, and of other members than those named.
    """
    leaves = st.integers() | st.floats() | st.text(max_size=8) if scalars is None else scalars
    members = st.sampled_from(names) | st.text(max_size=4) if scalars is None else st.sampled_from(names)
    return st.recursive(
        st.none() | st.booleans() | leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(members, inner, max_size=4),
        max_leaves=max_leaves,
    )


def nested(depth: int) -> Any:
    """Objects in objects."""
    value: Any = "bottom"
    for _ in range(depth):
        value = {"x": value}
    return value
