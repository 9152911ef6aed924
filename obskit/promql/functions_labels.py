"""label_replace and label_join: rows keep their values and get other labels."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

from obskit.errors import PatternError, QueryError
from obskit.model.labels import NAME, Labels
from obskit.model.patterns import anchored
from obskit.promql.blocks import Block, Floats, joined
from obskit.promql.context import Context
from obskit.promql.labelsets import LabelSets
from obskit.promql.literals import quote_string
from obskit.promql.nodes import Call

_REFERENCE: Final = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def check_label_name(name: str, what: str) -> None:
    """Any UTF-8 name that is not empty is a label name since Prometheus 3."""
    if not name or any("\udc80" <= char <= "\udcff" for char in name):
        raise QueryError(f"{what}{quote_string(name)}")


def check_factors(smoothing: Floats, trend: Floats) -> None:
    """The factors of double exponential smoothing lie within (0, 1)."""
    for name, factors in (("smoothing", smoothing), ("trend", trend)):
        wrong = factors[~((factors > 0) & (factors < 1))]
        if len(wrong):
            raise QueryError(f"invalid {name} factor. Expected: 0 < {name[0]}f < 1, got: {wrong[0]:f}")


def label_replace(_context: Context, _call: Call, args: list[Any]) -> Block:
    """`label_replace(v, dst, replacement, src, regex)`: where the regex matches src, dst is set or removed."""
    block, destination, replacement, source, regex = args
    check_label_name(destination, "invalid destination label name in label_replace(): ")
    try:
        pattern = anchored(regex)
    except PatternError:
        raise QueryError(f"invalid regular expression in label_replace(): {regex}") from None

    def change(labels: Labels) -> Labels:
        match = pattern.match(labels.get(source))
        return labels if match is None else labels.updated({destination: expand(replacement, match)})

    return _relabelled(block, ("label_replace", *args[1:]), change, destination)


def expand(template: str, match: Any) -> str:
    """Go's regexp.Expand: `$1`, `$name`, `${name}`; `$$` is a dollar; unknown groups are empty."""

    def value(reference: re.Match[str]) -> str:
        dollar, *names = reference.groups()
        name = names[0] or names[1]
        if dollar:
            return "$"
        try:
            return match.group(int(name) if name.isdigit() else name) or ""
        except (IndexError, KeyError):
            return ""

    return _REFERENCE.sub(value, template)


def label_join(_context: Context, _call: Call, args: list[Any]) -> Block:
    """`label_join(v, dst, separator, src...)`: dst is the joined values of the sources."""
    block, destination, separator, *sources = args
    check_label_name(destination, "invalid destination label name in label_join(): ")
    for source in sources:
        check_label_name(source, "invalid source label name in label_join(): ")

    def change(labels: Labels) -> Labels:
        return labels.updated({destination: separator.join(labels.get(source) for source in sources)})

    return _relabelled(block, ("label_join", *args[1:]), change, destination)


def _relabelled(block: Block, key: tuple[str, ...], change: Any, destination: str) -> Block:
    def build() -> LabelSets:
        sets = block.sets.mapped(change)
        if destination == NAME and sets.dropped is not None:
            # The new name was asked for: it stays at the end of the query. Rows left alone still lose theirs.
            changed = [sets[row] is not block.sets[row] for row in range(len(sets))]
            sets.dropped = sets.dropped & ~np.array(changed, bool)
        return sets

    return joined(block.relabelled(block.sets.memo(key, build)))
