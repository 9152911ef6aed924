"""Reading JSON that somebody else may change: what is missing or of another kind is unknown, never an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def inside(holder: Any, *path: str) -> Any:
    """What lies at a path of keys; None where there is nothing."""
    for key in path:
        holder = holder.get(key) if isinstance(holder, dict) else None
    return holder


def items(holder: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects of the list under a key."""
    found = holder.get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def number(value: Any) -> float | None:
    """A JSON number as a float."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def text(value: Any) -> str:
    """A label's value."""
    return "" if value is None else str(value)
