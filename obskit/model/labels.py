"""Labels: an immutable, sorted label set with Prometheus' text form and Alertmanager's fingerprint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

NAME: Final = "__name__"

_FNV_OFFSET: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 0x100000001B3
_MASK: Final = (1 << 64) - 1


_SHAPES_KEPT: Final = 4_096
_shapes: dict[tuple[str, ...], dict[str, int]] = {}
"""Names of labels and their places, shared by all label sets that have the same names."""


class Labels(Mapping[str, str]):
    """A label set. Empty values are dropped: in Prometheus' model an empty label is an absent one.

    A hundred thousand of them are nothing unusual, so each is its values alone, in the order of their names.
    """

    __slots__ = ("_places", "_values")

    def __init__(self, items: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        pairs = dict(items)
        names = tuple(sorted(pairs)) if all(pairs.values()) else tuple(sorted(n for n, v in pairs.items() if v))
        self._places = _shapes.get(names) or _shape_of(names)
        self._values = tuple(map(pairs.__getitem__, names))

    @classmethod
    def keeping_empty(cls, items: Mapping[str, str]) -> Labels:
        """A label set whose empty values stay: in LogQL a label that is there and empty is not an absent one."""
        whole = cls.__new__(cls)
        names = tuple(sorted(items))
        whole._places = _shapes.get(names) or _shape_of(names)  # noqa: SLF001 - one of our own
        whole._values = tuple([items[name] for name in names])  # noqa: SLF001 - as above
        return whole

    def __getitem__(self, name: str) -> str:
        return self._values[self._places[name]]

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]  # absent reads as empty
        """The value of `name`; an absent label reads as the empty string, as matchers see it."""
        place = self._places.get(name)
        return default if place is None else self._values[place]

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(self._values)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Labels):
            same_names = self._places is other._places or self._places == other._places
            return same_names and self._values == other._values
        return NotImplemented

    def __lt__(self, other: Labels) -> bool:
        if self._places is other._places:
            return self._values < other._values
        return self.pairs < other.pairs

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The (name, value) pairs, sorted by name."""
        return tuple(zip(self._places, self._values, strict=True))

    @property
    def name(self) -> str:
        """The metric name, or the empty string."""
        return self.get(NAME)

    def updated(self, other: Mapping[str, str]) -> Labels:
        """These labels with those of `other` on top; an empty value removes."""
        return Labels({**dict(self.pairs), **other})

    def without(self, *names: str) -> Labels:
        """These labels less `names`."""
        return self._some([name for name in self._places if name not in names])

    def only(self, *names: str) -> Labels:
        """Those of these labels that are in `names`."""
        return self._some([name for name in self._places if name in names])

    def _some(self, names: list[str]) -> Labels:
        some = Labels.__new__(Labels)
        shape = tuple(names)
        some._places = _shapes.get(shape) or _shape_of(shape)  # noqa: SLF001 - one of our own
        some._values = tuple([self._values[self._places[name]] for name in names])  # noqa: SLF001 - as above
        return some

    def fingerprint(self) -> str:
        """FNV-1a 64 over `name 0xFF value 0xFF`, 16 hex digits (prometheus/common model/signature.go)."""
        digest = _FNV_OFFSET
        for name, value in self.pairs:
            for byte in b"%b\xff%b\xff" % (name.encode(), value.encode()):
                digest = ((digest ^ byte) * _FNV_PRIME) & _MASK
        return f"{digest:016x}"

    def __str__(self) -> str:
        """Prometheus' text form: `name{a="b"}`; names that are not plain identifiers are quoted."""
        name = self.name
        parts = [f"{quote_name(key)}={quote(value)}" for key, value in self.pairs if key != NAME]
        if name and not is_metric_name(name):
            return "{" + ", ".join([quote(name), *parts]) + "}"
        return f"{name}{{{', '.join(parts)}}}" if parts or not name else name

    def __repr__(self) -> str:
        return f"Labels({self})"


def _shape_of(names: tuple[str, ...]) -> dict[str, int]:
    if len(_shapes) >= _SHAPES_KEPT:
        _shapes.clear()  # whoever has one of them keeps it: they are only shared no longer
    return _shapes.setdefault(names, {name: place for place, name in enumerate(names)})


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
