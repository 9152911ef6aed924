"""The outbox: everything that leaves the house, durable from the transaction that decided it until it has arrived."""

from __future__ import annotations

from obskit.outbox.measure import OutboxStats, read_rows, read_stats
from obskit.outbox.pace import Budget, Paces
from obskit.outbox.rows import Delivery, OutboxRow, put
from obskit.outbox.sender import Handler, Outbox
from obskit.outbox.verdict import Limits, RowState

__all__ = [
    "Budget",
    "Delivery",
    "Handler",
    "Limits",
    "Outbox",
    "OutboxRow",
    "OutboxStats",
    "Paces",
    "RowState",
    "put",
    "read_rows",
    "read_stats",
]
