"""Times and durations as people write them on a command line, and as they are shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click


class Moment(click.ParamType[int]):
    """A time: RFC 3339, Unix seconds, or a duration before now (`5m`)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Unix milliseconds."""
        from obskit.clock import SystemClock
        from obskit.model.durations import parse_duration

        if isinstance(value, int):
            return value
        now_ms = SystemClock().now_ms()
        if value == "now":
            return now_ms
        try:
            return now_ms - parse_duration(value)
        except ValueError:
            pass
        try:
            return round(float(value) * 1000)
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a duration before now (5m), nor Unix seconds, nor RFC 3339", param, ctx)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


class Span(click.ParamType[int]):
    """A duration, in milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds."""
        from obskit.model.durations import parse_duration

        if isinstance(value, int):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def check_range(since: int | None, until: int, step: int = 1) -> None:
    """Refuse a range that ends before it begins, and a step that leads nowhere."""
    if since is not None and since > until:
        raise click.UsageError("--since is after --until")
    if step <= 0:
        raise click.UsageError("--step must be more than 0s")


def stamp(t_ms: int) -> str:
    """RFC 3339 with milliseconds, UTC."""
    return datetime.fromtimestamp(t_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
