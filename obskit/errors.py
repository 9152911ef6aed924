"""Every exception obskit raises on purpose, as one tree.

    ObskitError
    ├── ConfigError      what a person wrote cannot be used; carries every Problem found
    ├── QueryError       a PromQL or LogQL expression is wrong, or cannot be evaluated
    │   └── QuerySyntaxError   ... and we know where
    ├── PatternError     a regular expression is not RE2
    ├── TemplateError    a template of a label or annotation is wrong, or cannot be expanded
    ├── StoreError       the store cannot take or give data
    │   ├── StoreFull        no space left: what is in memory stays, nothing is acknowledged
    │   ├── StoreLocked      another process writes this store
    │   └── ColdError        a folder or bucket of cold log lines could not be written or read; says why (a closed list)
    └── CollectorError   a source could not be read; says why (a closed list) and when to come back

Expected results (a receiver that answers 429, a rule that finds nothing) are values, not exceptions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obskit.model.problems import Problem


class ObskitError(Exception):
    """The root: catch this to catch everything obskit raises on purpose."""


class ConfigError(ObskitError):
    """What a person wrote cannot be used. `problems` holds everything found in one pass."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class QueryError(ObskitError):
    """An expression cannot be evaluated (limits, types, duplicate label sets)."""


class QuerySyntaxError(QueryError):
    """An expression is wrong at a known place: `start` and `end` are character offsets into `query`.

    `said` is how the language's own server says it, where that is not the place and the message.
    """

    def __init__(
        self, message: str, query: str, start: int, end: int | None = None, *, said: str | None = None
    ) -> None:
        self.message = message
        self.query = query
        self.start = start
        self.end = end if end is not None else start + 1
        super().__init__(said or f"{self.line}:{self.column}: parse error: {message}")

    @property
    def line(self) -> int:
        """One-based line of the first wrong character."""
        return self.query.count("\n", 0, self.start) + 1

    @property
    def column(self) -> int:
        """One-based column of the first wrong character."""
        return self.start - (self.query.rfind("\n", 0, self.start) + 1) + 1


class PatternError(ObskitError):
    """A regular expression that RE2 does not accept."""


class TemplateError(ObskitError):
    """A template is wrong, or cannot be expanded with this data: `start` is a character offset into its text."""

    def __init__(self, message: str, start: int) -> None:
        super().__init__(message)
        self.message = message
        self.start = start


class StoreError(ObskitError):
    """The store cannot take or give data."""


class StoreFull(StoreError):  # noqa: N818 - a state of the disk, named as one
    """No space left on the store's disk or in its size cap. Nothing of the batch was kept."""


class StoreLocked(StoreError):  # noqa: N818 - a state of the file, named as one
    """Another process is the writer of this store."""


class ColdError(StoreError):
    """A folder or bucket of cold log lines could not be written or read.

    `reason` is one of a closed list, because it is a metric label: network, auth, rate_limited, server, missing (what
    should be there is not), corrupt (it is not what was written), full, config, stopped (we are stopping), crash.
    """

    REASONS = ("network", "auth", "rate_limited", "server", "missing", "corrupt", "full", "config", "stopped", "crash")

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class CollectorError(ObskitError):
    """A source could not be read.

    `reason` is one of a closed list, because it is a metric label: timeout, network, auth, rate_limited, server, missing
    (what was asked for is not there), bad_data, config, crash (a defect in the collector). `retry_after` is in seconds, when the source named one, and an
    hour at most: a source must not be able to say "never".
    """

    REASONS = ("timeout", "network", "auth", "rate_limited", "server", "missing", "bad_data", "config", "crash")
    LONGEST_WAIT_S = 3600.0

    def __init__(self, message: str, *, reason: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after if retry_after is None else min(retry_after, self.LONGEST_WAIT_S)
