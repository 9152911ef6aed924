"""User-written regular expressions: RE2, as Prometheus, Alertmanager and Loki use, so no pattern can hang us."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from obskit.errors import PatternError


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> Any:
    """A compiled RE2 pattern with the methods of `re.Pattern`; PatternError when RE2 refuses it.

    `.` does not match a newline here; wrap the pattern in `(?s:…)` where the language says it does.
    """
    import re2  # noqa: PLC0415 - part of the daemon's install; a service that imports obskit.model has no need of it

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        detail = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error.args[0])
        raise PatternError(f"not an RE2 pattern: {detail}") from None


def anchored(pattern: str) -> Any:
    """The pattern as label matchers use it: it must match the whole value, and `.` matches newlines."""
    return compile_pattern(f"^(?s:{pattern})$")
