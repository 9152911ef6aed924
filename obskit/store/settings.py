"""The `store:` section of obskit.yaml: where data lives, how long, and how much of it."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from obskit.model.settings import Duration, LocalPath, Settings, Size

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS


class RetentionSettings(Settings):
    """How long what came in is kept."""

    metrics: Duration = Field(
        30 * _DAY_MS, ge=_HOUR_MS, validate_default=False, description="how long samples are kept"
    )
    logs: Duration = Field(7 * _DAY_MS, ge=_HOUR_MS, validate_default=False, description="how long log lines are kept")


class StoreSettings(Settings):
    """The embedded store. Sizes are of main.db with its write-ahead log; limits are per series, stream or line."""

    path: LocalPath = Field(
        "obskit-data", validate_default=True, description="folder; relative ones lie beside the config"
    )
    retention: RetentionSettings = Field(RetentionSettings(), description="how long what came in is kept")
    max_size: Size = Field(
        800_000_000, ge=16_000_000, validate_default=False, description="the oldest data is deleted to stay below this"
    )
    memory_window: Duration = Field(
        _HOUR_MS,
        ge=5 * 60_000,
        validate_default=False,
        description="samples this young are read from memory; rules that look further back enlarge it for their metrics",
    )
    max_series: int = Field(
        100_000, gt=0, description="series in memory; samples of further ones are dropped and counted"
    )
    max_streams: int = Field(
        10_000,
        gt=0,
        description='log streams; lines of further ones go to the stream `{obskit_overflow="true"}`, labels into metadata',
    )
    max_line: Size = Field(65_536, ge=64, validate_default=False, description="longer log lines are cut")
    max_labels: int = Field(64, gt=0, description="labels of a series or stream")
    max_label_name: int = Field(256, gt=0, description="characters of a label's name")
    max_label_value: int = Field(4_096, gt=0, description="characters of a label's value")
