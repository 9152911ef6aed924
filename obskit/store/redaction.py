"""Redaction: secrets leave log lines before these are stored, shown to rules or sent anywhere.

Values of telling keys (in JSON, logfmt, query strings and headers as they are logged) and texts of telling shapes. One RE2
pattern looks at all lines of a batch at once; only lines with a hit are rewritten. What stands in the place says what it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from obskit.model.patterns import compile_pattern
from obskit.store import telemetry
from obskit.store.metadata_table import MetadataTable
from obskit.store.settings import RedactionSettings
from obskit.store.text_search import Question

Text = tuple[bytes, NDArray[np.int64], NDArray[np.int64]]
"""Lines end to end, and where each starts and ends (see log_blocks.joined_text)."""
KEYS: Final = (
    "passwd", "password", "passphrase", "pwd", "secret", "token", "authorization", "api[_-]?key", "access[_-]?key",
    "secret[_-]?key", "private[_-]?key", "session[_-]?id",
)  # fmt: skip
"""Keys whose values are secrets, alone or at the end of a longer one (`db_password`, `x-api-key`)."""
_COOKIE: Final = "cookie"
SHAPES: Final[Mapping[str, str]] = {
    "private_key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
    "jwt": r"\beyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*",
    "bearer": r"(?i:\bbearer\s+[0-9a-z._~+/-]{16,}=*)",
    "aws_key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "slack_token": r"\bxox[abeoprs]-[0-9A-Za-z-]{10,}",
    "github_token": r"\b(?:gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z_]{22,})",
    "card": r"(?:^|[^0-9A-Za-z.-])[3-6][0-9]{3}(?:[ -]?[0-9]{4}){2}[ -]?[0-9]{1,7}(?:$|[^0-9A-Za-z-])",
    "email": r"\b[0-9A-Za-z._%+-]+@[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*\.[A-Za-z]{2,}\b",
}
"""What is recognised by its look. E-mail addresses are left unless the settings ask for them."""
_SEPARATOR: Final = r"""\\*["']?\s*(?:=>|[:=])\s*"""
_QUOTED: Final = r"""\\+"[^"\\]*\\+"|"(?:[^"\\]|\\.)*"|'[^']*'"""
_BARE: Final = r"""(?:(?:bearer|basic|digest|token)\s+)?[^\s&;,"'}\])\\]+"""
_TO_THE_END: Final = r"""[^"'\r\n]+"""


class Redaction:
    """The patterns of some settings."""

    def __init__(self, settings: RedactionSettings) -> None:
        off = set(settings.off)
        keys = [*(key for key in KEYS if key not in off), *settings.keys]
        shapes = {name: pattern for name, pattern in SHAPES.items() if name not in off}
        if not settings.email:
            shapes.pop("email", None)
        shapes |= settings.patterns
        named = "|".join(f"(?:{key})" for key in keys)
        self._key = compile_pattern(rf"(?i)(?:{named}|{_COOKIE})$")
        self._pairs = [
            compile_pattern(rf"(?i)((?:{named}){_SEPARATOR})({_QUOTED}|{_BARE})"),
            compile_pattern(rf"(?i)({_COOKIE}{_SEPARATOR})({_QUOTED}|{_TO_THE_END})"),
        ]
        self._shapes = {name: compile_pattern(pattern) for name, pattern in shapes.items()}
        hints = [rf"(?i:(?:{named}|{_COOKIE}){_SEPARATOR})", *shapes.values()]
        anything = "|".join(f"(?:{hint})" for hint in hints)
        self._any = compile_pattern(anything)
        self._enabled = settings.enabled
        self.question = Question([anything] if settings.enabled else [])
        """What texts have to be searched for."""
        self._secret_keys: dict[tuple[str, ...], frozenset[str]] = {}

    def lines(self, lines: list[str], text: Text, answer: Sequence[int] | None = None) -> list[str]:
        """Lines without secrets; themselves if there are none. `text` is what joined_text makes of them, `answer` that to
        `question` for it, if there is one."""
        if not self._enabled or (answer is not None and not answer):
            return lines
        data, starts, _ = text
        hits = [match.start() for match in self._any.finditer(data)]
        if not hits:
            return lines
        found = Counter[str]()
        # A match may begin with the separator before its line.
        touched = np.searchsorted(starts, np.array([(hit, hit + 1) for hit in hits]).ravel(), side="right") - 1
        kept = lines.copy()
        for index in set(touched.tolist()):
            kept[index] = self._text(lines[index], found)
        _count(found)
        return kept if found else lines  # most of what looks like a card's number is none

    def metadata(self, metadata: list[Mapping[str, str]], table: MetadataTable) -> list[Mapping[str, str]]:
        """Metadata without secrets; themselves if there are none. `table` is that of them."""
        if not self._enabled or table.empty:
            return metadata
        values = "\n".join(set(table.values))
        suspicious = self._any.search(values.encode("utf-8", "surrogatepass")) is not None
        if not suspicious and not any(map(self._secret, table.shapes)):
            return metadata
        distinct = dict(zip(map(id, metadata), metadata, strict=True))
        found = Counter[str]()
        changed: dict[int, Mapping[str, str]] = {}
        for key, one in distinct.items():
            secret = self._secret(tuple(one))
            if secret or suspicious:
                changed[key] = self._mapping(one, secret, found)
        _count(found)
        return [changed.get(id(one), one) for one in metadata] if changed else metadata

    def _text(self, text: str, found: Counter[str]) -> str:
        for pattern in self._pairs:
            text = pattern.sub(_counted("key", found, _without_value), text)
        for name, pattern in self._shapes.items():
            text = pattern.sub(_counted(name, found, _card if name == "card" else _replaced(name)), text)
        return text

    def _mapping(self, one: Mapping[str, str], secret: frozenset[str], found: Counter[str]) -> Mapping[str, str]:
        found["key"] += len(secret)
        return {key: "<redacted>" if key in secret else self._text(value, found) for key, value in one.items()}

    def _secret(self, keys: tuple[str, ...]) -> frozenset[str]:
        known = self._secret_keys.get(keys)
        if known is None:
            if len(self._secret_keys) >= 4_096:
                self._secret_keys.clear()
            known = self._secret_keys[keys] = frozenset(key for key in keys if self._key.search(key))
        return known


def _count(found: Counter[str]) -> None:
    for what, count in found.items():
        telemetry.REDACTED.labels(what).inc(count)


def _counted(what: str, found: Counter[str], replace: Callable[[Any], str]) -> Callable[[Any], str]:
    def replaced(match: Any) -> str:
        text = replace(match)
        if text != match.group():
            found[what] += 1
        return text

    return replaced


def _without_value(match: Any) -> str:
    """A pair whose value is gone; its quotes stay, so that JSON stays JSON."""
    key, value = match.group(1), match.group(2)
    if value.startswith(("true", "false", "null", "<redacted")):
        return str(match.group())
    quote = value[: len(value) - len(value.lstrip("\\\"'"))] if value[:1] in "\\\"'" else ""
    quote = quote[: quote.find('"') + 1] if '"' in quote else quote[:1]
    return f"{key}{quote}<redacted>{quote}"


def _replaced(name: str) -> Callable[[Any], str]:
    return lambda _: f"<redacted:{name}>"


def _card(match: Any) -> str:
    """A card's number if its check digit (Luhn) is right, with what stands around it."""
    text: str = match.group()
    digits = [int(char) for char in text if char.isdigit()]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    if not 13 <= len(digits) <= 19 or (sum(digits[-1::-2]) + doubled) % 10:
        return text
    before = "" if text[0].isdigit() else text[0]
    after = "" if text[-1].isdigit() else text[-1]
    return f"{before}<redacted:card>{after}"
