"""What may be shown of a line of obskit.yaml under a message: everything but the values of secrets.

The models say which keys hold secrets. A key they do not know may be a misspelt one, so its value is hidden too, unless
the key is nearest to one that holds none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from obskit.collect import find_kind, kind_names
from obskit.config.alertmanager import SECRETS, SPREAD
from obskit.config.models import all_models, holds_secret
from obskit.config.sections import RootKeys
from obskit.errors import CollectorError
from obskit.model.problems import nearest
from obskit.notify import ReceiverSettings
from obskit.routing.inhibit import InhibitRuleSettings
from obskit.routing.intervals import TimeIntervalSettings
from obskit.routing.tree import RouteSettings
from obskit.store.settings import StoreSettings

MASK: Final = "*"
SURE: Final = 0.75
"""How alike a misspelt key must be to one whose value may be shown."""
_KEY: Final = re.compile(r"""(?P<key>"[^"]*"|'[^']*'|[\w.-]+)\s*:(?:\s+|(?=["'\[{])|$)""")
_QUOTED: Final = re.compile(r""""(?:[^"\\]|\\.)*"?|'(?:[^']|'')*'?""")
_IN_FLOW: Final = re.compile(r"[^,}\]]*")
_VARIABLE: Final = re.compile(r"""["']?\$\{\w+\}["']?""")
_START: Final = re.compile(r"[\s-]*")


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """Every key of every model: those whose value is a secret somewhere, and the others."""

    secret: frozenset[str]
    plain: frozenset[str]

    def hides(self, key: str) -> bool:
        """Whether what stands behind the key is hidden."""
        if key in self.secret or key in self.plain:
            return key in self.secret
        return nearest(key, self.secret | self.plain, alike=SURE) not in self.plain


@cache
def known_keys() -> KnownKeys:
    """The keys of obskit.yaml, of every collector that is installed and every receiver."""
    roots: list[Any] = [
        RootKeys,
        StoreSettings,
        RouteSettings,
        ReceiverSettings,
        InhibitRuleSettings,
        TimeIntervalSettings,
    ]
    for name in kind_names():
        try:
            roots.append(find_kind(name).settings)
        except CollectorError:
            continue  # its package is not installed here
    secret: set[str] = {*SECRETS}
    plain: set[str] = {*kind_names(), *(SPREAD.keys() - SECRETS)}
    for model in all_models(roots):
        for name, field in model.model_fields.items():
            (secret if holds_secret(field.annotation) else plain).add(field.alias or name)
    plain |= {f"{name}_file" for name in secret}
    return KnownKeys(frozenset(secret), frozenset(plain - secret))


def concealed(lines: Sequence[str], number: int, keys: KnownKeys) -> str:
    """Line `number` (from 1) with each value that is hidden replaced, character by character: carets stay right."""
    line = lines[number - 1]
    if any(keys.hides(key) for key in _governing(lines, number)):
        start = _START.match(line)
        return _masked(line, [(start.end() if start else 0, len(line))])
    return _masked(line, _hidden_spans(line, keys))


def _hidden_spans(line: str, keys: KnownKeys) -> Iterable[tuple[int, int]]:
    position = 0
    while found := _KEY.search(line, position):
        begin = found.end()
        quoted = _QUOTED.match(line, begin)
        if not keys.hides(found["key"].strip("\"'")):
            position = max(quoted.end() if quoted else begin, begin)
            continue
        position = quoted.end() if quoted else _end_of_plain(line, found.start(), begin)
        if not _VARIABLE.fullmatch(line[begin:position].strip()):
            yield begin, position


def _end_of_plain(line: str, key_start: int, begin: int) -> int:
    """In a flow mapping the value ends with a comma or bracket, else with the line; a nested one is hidden whole."""
    in_flow = "{" in line[:key_start] or "[" in line[:key_start]
    if not in_flow or line[begin : begin + 1] in ("{", "["):
        return len(line)
    found = _IN_FLOW.match(line, begin)
    return found.end() if found else len(line)


def _governing(lines: Sequence[str], number: int) -> Iterable[str]:
    """The keys whose value goes on in this line: each one further up and further left, nearest first."""
    line = lines[number - 1]
    indent = _indent(line) + line.lstrip().startswith("-")
    for above in reversed(lines[: number - 1]):
        found = _KEY.match(above, len(above) - len(above.lstrip(" -")))
        if above.strip() and found and _indent(above) < indent:
            indent = _indent(above)
            yield found["key"].strip("\"'")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _masked(line: str, spans: Iterable[tuple[int, int]]) -> str:
    for begin, end in spans:
        line = line[:begin] + MASK * (end - begin) + line[end:]
    return line
