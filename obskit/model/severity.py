"""How bad an alert is, by its `severity` label: the words people use, in four ranks."""

from __future__ import annotations

from typing import Final

from obskit.model.alerts import Alert

CRITICAL: Final = 4
"""The worst rank: somebody is woken."""
_RANKS: Final = {"emergency": 4, "critical": 4, "page": 4, "error": 3, "high": 3, "warning": 2, "warn": 2, "info": 1}
_UNKNOWN: Final = 2


def rank(alert: Alert) -> int:
    """4 is the worst; an unknown word ranks as a warning."""
    return _RANKS.get(alert.labels.get("severity").lower(), _UNKNOWN)
