"""RE2's complaints about a pattern, in the words of Go's regexp, which Loki repeats."""

from __future__ import annotations

import re
from typing import Final

from obskit.errors import PatternError

_GO_WORDS: Final = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "unexpected )": "unexpected )",
    "invalid escape sequence": "invalid escape sequence",
    "invalid character class": "invalid character class",
    "invalid character class range": "invalid character class range",
    "invalid UTF-8": "invalid UTF-8",
    "invalid named capture group": "invalid named capture",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "no argument for repetition operator": "missing argument to repetition operator",
    "trailing \\": "trailing backslash at end of expression",
    "invalid perl operator": "invalid or unsupported Perl syntax",
}
_COMPLAINT: Final = re.compile(r"not an RE2 pattern: ([^:]*)(?:: (.*))?", re.DOTALL)


def in_go_words(error: PatternError) -> str:
    """The message as Go's regexp/syntax has it; RE2's own where they have none in common."""
    match = _COMPLAINT.fullmatch(str(error))
    if match is None:
        return str(error)
    code, detail = match.groups()
    return f"error parsing regexp: {_GO_WORDS.get(code, code)}: `{detail or ''}`"
