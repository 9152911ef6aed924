"""How routes and inhibition rules are told which alerts they mean: matchers, and the two old forms of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, PlainValidator

from obskit.errors import PatternError
from obskit.model.alert_matchers import AlertMatcher, parse_matchers
from obskit.model.matchers import MatchOp


def _parse_line(value: Any) -> tuple[AlertMatcher, ...]:
    if not isinstance(value, str):
        raise ValueError('must be text such as team="x"')
    return parse_matchers(value)


def _check_patterns(patterns: dict[str, str]) -> dict[str, str]:
    for name, pattern in patterns.items():
        try:
            AlertMatcher(name, MatchOp.REGEX, pattern)
        except PatternError as error:
            raise ValueError(f"{name}: {error}") from None
    return patterns


MatcherLine = Annotated[tuple[AlertMatcher, ...], PlainValidator(_parse_line, json_schema_input_type=str)]
"""One or more matchers in a line, such as `severity="critical"`."""
Patterns = Annotated[dict[str, str], AfterValidator(_check_patterns)]
"""Labels and patterns."""


def written_matchers(
    match: Mapping[str, str], match_re: Mapping[str, str], lines: Iterable[tuple[AlertMatcher, ...]]
) -> tuple[AlertMatcher, ...]:
    """All of them together: an alert must satisfy each."""
    found = [AlertMatcher(name, MatchOp.EQUAL, value) for name, value in match.items()]
    # Alertmanager prints these with their anchors, and a route's are part of what receivers know an incident by.
    found += [AlertMatcher(name, MatchOp.REGEX, f"^(?:{value})$") for name, value in match_re.items()]
    return (*found, *(matcher for line in lines for matcher in line))
