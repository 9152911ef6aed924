"""Labels: an immutable, sorted label set with Prometheus' text form and Alertmanager's fingerprint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

NAME: Final = "__name__"

_FNV_OFFSET: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 0x100000001B3
_MASK: Final = (1 << 64) - 1


class Labels(Mapping[str, str]):
    """A label set. Empty values are dropped: in Prometheus' model an empty label is an absent one."""

    __slots__ = ("_hash", "_items", "_map")

    def __init__(self, items: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        pairs = dict(items)
        self._items = tuple(sorted((name, value) for name, value in pairs.items() if value))
        self._map = dict(self._items)
        self._hash = hash(self._items)

    def __getitem__(self, name: str) -> str:
        return self._map[name]

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]  # absent reads as empty
        """The value of `name`; an absent label reads as the empty string, as matchers see it."""
        return self._map.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._map

    def __iter__(self) -> Iterator[str]:
        return iter(self._map)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Labels):
            return self._items == other._items
        return NotImplemented

    def __lt__(self, other: Labels) -> bool:
        return self._items < other._items

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The (name, value) pairs, sorted by name."""
        return self._items

    @property
    def name(self) -> str:
        """The metric name, or the empty string."""
        return self._map.get(NAME, "")

    def updated(self, other: Mapping[str, str]) -> Labels:
        """These labels with those of `other` on top; an empty value removes."""
        return Labels({**self._map, **other})

    def without(self, *names: str) -> Labels:
        """These labels less `names`."""
        return Labels([pair for pair in self._items if pair[0] not in names])

    def only(self, *names: str) -> Labels:
        """Those of these labels that are in `names`."""
        return Labels([pair for pair in self._items if pair[0] in names])

    def fingerprint(self) -> str:
        """FNV-1a 64 over `name 0xFF value 0xFF`, 16 hex digits (prometheus/common model/signature.go)."""
        digest = _FNV_OFFSET
        for name, value in self._items:
            for byte in b"%b\xff%b\xff" % (name.encode(), value.encode()):
                digest = ((digest ^ byte) * _FNV_PRIME) & _MASK
        return f"{digest:016x}"

    def __str__(self) -> str:
        """Prometheus' text form: `name{a="b"}`; names that are not plain identifiers are quoted."""
        name = self.name
        parts = [f"{quote_name(key)}={quote(value)}" for key, value in self._items if key != NAME]
        if name and not is_metric_name(name):
            return "{" + ", ".join([quote(name), *parts]) + "}"
        return f"{name}{{{', '.join(parts)}}}" if parts or not name else name

    def __repr__(self) -> str:
        return f"Labels({self})"


EMPTY: Final = Labels()


def quote(value: str) -> str:
    """A double-quoted string with the escapes Prometheus' text format and Go share."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def quote_name(name: str) -> str:
    """A label name as it stands inside braces."""
    return name if is_label_name(name) else quote(name)


def is_label_name(name: str) -> bool:
    """Whether `name` needs no quotes: `[a-zA-Z_][a-zA-Z0-9_]*`."""
    return name.isascii() and name.isidentifier()


def is_metric_name(name: str) -> bool:
    """Whether `name` needs no quotes as a metric name: as a label name, with colons."""
    return is_label_name(name.replace(":", "_")) if name else False
