"""Matchers and labels as a person types them on a command line; imported when a command runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from obskit.model.alert_matchers import AlertMatcher, parse_matcher
from obskit.model.matchers import MatchOp

if TYPE_CHECKING:
    from obskit.model.labels import Labels

_OPERATORS = ("=", "!~")


def typed_matchers(words: Sequence[str]) -> tuple[AlertMatcher, ...]:
    """`alertname=Disk node=~"a|b"`; a first word without an operator is the alert's name, as for amtool."""
    found = []
    for position, word in enumerate(words):
        if position == 0 and not any(operator in word for operator in _OPERATORS):
            found.append(AlertMatcher("alertname", MatchOp.EQUAL, word))
            continue
        try:
            found.append(parse_matcher(word))
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    return tuple(found)


def typed_labels(words: Sequence[str]) -> Labels:
    """`alertname=Disk severity=critical`."""
    from obskit.model.labels import Labels

    found = {}
    for word in words:
        try:
            matcher = parse_matcher(word)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        if matcher.op is not MatchOp.EQUAL:
            raise click.UsageError(f"{word}: labels must be specified as key=value pairs")
        found[matcher.name] = matcher.value
    return Labels(found)
