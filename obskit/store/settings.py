"""The `store:` section of obskit.yaml: where data lives, how long, and how much of it."""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import Field, field_validator

from obskit.errors import PatternError
from obskit.model.alert_matchers import parse_matchers
from obskit.model.patterns import compile_pattern
from obskit.model.settings import Duration, LocalPath, Settings, Size
from obskit.store.cold.settings import ColdSettings

_ONE_IN: Final = re.compile(r"\s*1\s+in\s+([1-9][0-9]{0,8})\s*")
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS


class SourceRetention(Settings):
    """How long the lines of one source are kept, and how much of them."""

    age: Duration | None = Field(None, ge=_HOUR_MS, description="how long; at most as long as all lines")
    max_size: Size | None = Field(None, ge=1_000_000, description="the oldest are deleted to stay below this, on disk")


class RetentionSettings(Settings):
    """How long what came in is kept."""

    metrics: Duration = Field(
        30 * _DAY_MS, ge=_HOUR_MS, validate_default=False, description="how long samples are kept"
    )
    logs: Duration = Field(
        30 * _DAY_MS,
        ge=_HOUR_MS,
        validate_default=False,
        description="how long log lines are kept in the store's folder, in whole days (UTC)",
    )
    cold: Duration = Field(
        365 * _DAY_MS,
        ge=_DAY_MS,
        validate_default=False,
        description="how long log lines are kept in cold storage, in whole days (UTC)",
    )
    sources: dict[str, SourceRetention] = Field(
        {},
        description="what holds for the log lines of one source instead, by the label `source` of their streams; they are"
        " not copied to cold storage",
    )


class QuerySettings(Settings):
    """What one query of log lines may cost: it is ended with an error beyond that."""

    max_bytes: Size = Field(
        20_000_000_000, ge=1_000_000, validate_default=False, description="bytes of log lines that one query may read"
    )
    max_time: Duration = Field(
        30_000, ge=100, validate_default=False, description="how long one query of log lines may take"
    )


class RedactionSettings(Settings):
    """What is taken out of log lines and their metadata before they are stored."""

    enabled: bool = Field(True, description="whether secrets are taken out")
    keys: list[str] = Field(
        [], description="further keys (RE2) whose values are secrets, beside `password`, `token`, ..."
    )
    off: list[str] = Field([], description="built-in keys and shapes that are left alone, such as `card` or `pwd`")
    email: bool = Field(False, description="take e-mail addresses out, too")
    patterns: dict[str, str] = Field({}, description="further texts (RE2) to take out, by the name that replaces them")

    @field_validator("keys", "patterns")
    @classmethod
    def _are_patterns(cls, value: Any) -> Any:
        for pattern in value.values() if isinstance(value, dict) else value:
            try:
                compile_pattern(pattern)
            except PatternError as error:
                raise ValueError(f"{error} (in {pattern})") from None
        return value


class SamplingRule(Settings):
    """Of lines that are many and alike, only a part is stored."""

    match: str = Field(description='the streams, such as `{app="web"}`; the first rule that matches one decides')
    keep: float = Field(gt=0, le=1, description="the share that is kept: `1 in 10`, or 0.1")
    levels_kept: list[str] = Field(
        ["error", "critical", "fatal", "panic", "alert", "emergency"],
        description="lines of these levels are always kept; without a level, lines that speak of errors",
    )

    @field_validator("match")
    @classmethod
    def _is_selector(cls, value: str) -> str:
        try:
            parse_matchers(value)
        except ValueError as error:
            raise ValueError(f"no selector of streams: {error}") from None
        return value

    @field_validator("keep", mode="before")
    @classmethod
    def _share(cls, value: Any) -> Any:
        found = _ONE_IN.fullmatch(value) if isinstance(value, str) else None
        return 1 / int(found[1]) if found else value


class StoreSettings(Settings):
    """The embedded store. Sizes are on disk, of all its files; limits are per series, stream or line."""

    path: LocalPath = Field(
        "obskit-data", validate_default=True, description="folder; relative ones lie beside the config"
    )
    retention: RetentionSettings = Field(RetentionSettings(), description="how long what came in is kept")
    max_size: Size = Field(
        800_000_000, ge=16_000_000, validate_default=False, description="the oldest data is deleted to stay below this"
    )
    cold: ColdSettings = Field(
        ColdSettings(), description="where days of log lines are copied, to be queried when they are gone here"
    )
    query: QuerySettings = Field(QuerySettings(), description="what one query of log lines may cost")
    redaction: RedactionSettings = Field(
        RedactionSettings(), description="what is taken out of log lines before they are stored"
    )
    sampling: list[SamplingRule] = Field([], description="of which log lines only a part is stored")
    memory_window: Duration = Field(
        _HOUR_MS,
        ge=5 * 60_000,
        validate_default=False,
        description="samples this young are read from memory; rules that look further back enlarge it for their metrics",
    )
    max_series: int = Field(
        100_000,
        gt=0,
        description="series in memory; when it is nearly full, those that ended or are silent go first, then new ones are"
        " dropped and counted, first those of a target with more than eight times as many as there is room for",
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
