"""The `store:` section of obskit.yaml: where data lives, how long, and how much of it."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from obskit.model.settings import Duration, LocalPath, Settings, Size

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS


class RetentionSettings(Settings):
    """How long what came in is kept."""

    metrics: Duration = Field(30 * _DAY_MS, ge=_HOUR_MS, validate_default=False)
    logs: Duration = Field(7 * _DAY_MS, ge=_HOUR_MS, validate_default=False)


class StoreSettings(Settings):
    """The embedded store. Sizes are of main.db with its write-ahead log; limits are per series, stream or line."""

    path: LocalPath = Field("obskit-data", validate_default=True)
    """The folder of the store; a relative one lies beside the config file."""
    retention: RetentionSettings = RetentionSettings()
    max_size: Size = Field(800_000_000, ge=16_000_000, validate_default=False)
    memory_window: Duration = Field(_HOUR_MS, ge=5 * 60_000, validate_default=False)
    """Samples this young are read from memory; rules that look further back enlarge it for their metrics."""
    max_series: int = Field(100_000, gt=0)
    """Series in memory; samples of further ones are dropped and counted."""
    max_streams: int = Field(10_000, gt=0)
    """Log streams; records of further ones go to the stream `{obskit_overflow="true"}`, their labels into metadata."""
    max_line: Size = Field(65_536, ge=64, validate_default=False)
    """Bytes of a log line; longer ones are cut."""
    max_labels: int = Field(64, gt=0)
    max_label_name: int = Field(256, gt=0)
    """Characters of a label's name."""
    max_label_value: int = Field(4_096, gt=0)
    """Characters of a label's value."""
