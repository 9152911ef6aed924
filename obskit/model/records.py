"""Records: one log line or one business event; and text that can be written down."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from obskit.model.labels import Labels

_HALF: Final = re.compile("[\ud800-\udfff]")
NO_METADATA: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Record:
    """One line of one stream. `t_ns` is Unix time in nanoseconds.

    `stream` holds the few labels that name the source (`app`, `source`, `region`); `metadata` what varies by line
    (`trace_id`, `level`). A business event is a record of stream `{source="event"}` with its name in `metadata`.
    """

    stream: Labels
    t_ns: int
    line: str
    # a factory, because a mappingproxy cannot be hashed before Python 3.12 and dataclasses refuse it as a default
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_METADATA)


def whole_text(text: str) -> str:
    """`text` as UTF-8 can write it: a half of a surrogate pair becomes U+FFFD, as in Go.

    JSON can say such halves (`"\\ud800"`), and a file's name that is not UTF-8 has them in Python.
    """
    return text if text.isascii() else _HALF.sub("\ufffd", text)
