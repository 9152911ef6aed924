"""What `sql` and `http_json` have in common: values that somebody else chose become gauges, or are dropped and counted.

Unknown is never 0: no value is no sample, and a wrong type is dropped. Two rows with the same labels are one too many.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from re import fullmatch
from typing import Annotated, Any, Final

from pydantic import AfterValidator

from obskit.collect import Book, PartialReadError, Reading, Snapshots
from obskit.model.samples import MetricMeta, MetricType
from obskit.store.interface import Batch

NAME: Final = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
"""What the parts of a metric's name, and the names of labels, may be."""
_OURS: Final = frozenset({"__name__", "instance", "job"})
_LONGEST_LABEL: Final = 200


def _free(name: str) -> str:
    if name in _OURS or not fullmatch(NAME, name):
        raise ValueError(f"{name!r} is not a name for a label of its own")
    return name


LabelName = Annotated[str, AfterValidator(_free)]
"""A label that a person may choose."""


@dataclass(slots=True)
class Gauges:
    """The gauges of one read. `wrong` is what a person has to mend; `dropped` what was left out, by reason."""

    readings: list[Reading] = field(default_factory=list)
    metadata: dict[str, MetricMeta] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    _seen: set[tuple[str, ...]] = field(default_factory=set)

    def add(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """One sample, the first of its labels."""
        key = (name, *labels.values())
        if key in self._seen:
            self.dropped["duplicate"] += 1
            return
        self._seen.add(key)
        self.readings.append((name, labels, value))

    def describe(self, name: str, help_text: str, unit: str = "") -> None:
        """What the gauge is."""
        self.metadata[name] = MetricMeta(MetricType.GAUGE, help_text, unit)

    def batch(self, snapshots: Snapshots, book: Book, now_ms: int, shown: str) -> Batch:
        """All of it to store; PartialReadError when something was wrong."""
        for reason, count in self.dropped.items():
            book.dropped(count, reason)
        batch = Batch(snapshots.take(self.readings, now_ms), metadata=self.metadata)
        if self.wrong:
            raise PartialReadError(f"{shown}: {'; '.join(self.wrong)}", batch, reason="bad_data")
        return batch


def number_of(value: Any) -> float | None:
    """A value as a finite number: numbers, truth values, moments (Unix seconds), lengths of time (seconds), else None."""
    if isinstance(value, datetime):
        number = value.timestamp() if value.tzinfo else None
    elif isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, bool | int | float | Decimal):
        try:
            number = float(value)
        except OverflowError:
            number = None
    else:
        number = None
    return number if number is not None and math.isfinite(number) else None


def number_in(text: str) -> float | None:
    """A number as text, such as `12.5` or `1e3`; None when it is anything else, `nan` and `1_000` too."""
    stripped = text.strip()
    if len(stripped) > 64 or not stripped.isascii() or "_" in stripped:
        return None
    try:
        number = float(stripped)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def label_of(value: Any) -> str | None:
    """A value as the text of a label; none at all is the empty one, which means no label. None: it cannot be one."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float | Decimal):
        text = str(value)
        return text if len(text) <= _LONGEST_LABEL else None
    return None
