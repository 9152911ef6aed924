"""Where the lines behind a log alert are found again: a link, and the command that shows them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote as percent_encoded

from obskit.logql.log_nodes import LabelFilter, LogQuery
from obskit.logql.metric_nodes import LogRange
from obskit.model.matchers import Matcher, MatchOp

PLACES: Final = ("{query}", "{start_ms}", "{end_ms}")
"""What a template of a link has in it."""
_MS: Final = 1_000_000
_MAX_QUERY: Final = 1_500
"""Messages cut what is longer, and a cut link leads nowhere."""


class LogLinks:
    """Links made of a template; without one the command alone."""

    def __init__(self, template: str = "") -> None:
        self._template = template

    def to(self, source: LogRange, labels: Iterable[tuple[str, str]], at_ns: int) -> dict[str, str]:
        """Annotations that lead to what a range read at a time, to lines that have some labels."""
        query = str(_narrowed(source.query, labels))
        if len(query) > _MAX_QUERY:
            return {}
        end_ms = -(-(at_ns - source.offset_ns + 1) // _MS)
        start_ms = (at_ns - source.offset_ns - source.range_ns) // _MS
        command = f"obskit logs query {shlex.quote(query)} --since {_stamp(start_ms)} --until {_stamp(end_ms)}"
        found = {"logs_command": command}
        if self._template:
            given = (percent_encoded(query, safe=""), str(start_ms), str(end_ms))
            url = self._template
            for place, value in zip(PLACES, given, strict=True):
                url = url.replace(place, value)
            found["logs_url"] = url
        return found


def _narrowed(query: LogQuery, labels: Iterable[tuple[str, str]]) -> LogQuery:
    """The query with a filter for each label that its selector does not ask for already."""
    wanted = [Matcher(name, MatchOp.EQUAL, value) for name, value in labels]
    filters = tuple(LabelFilter(matcher) for matcher in wanted if matcher not in query.matchers)
    return replace(query, stages=(*query.stages, *filters))


def _stamp(t_ms: int) -> str:
    return datetime.fromtimestamp(t_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
