"""What rules ask of an expression without evaluating it."""

from __future__ import annotations

import pytest

from obskit.promql.parser import parse
from obskit.promql.plans import longest_range_ms, metric_names, selectors

MINUTE = 60_000


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("sum(rate(x[5m])) / y > 1", {"x", "y"}),
        ('{__name__="x"}', {"x"}),
        ("time() + 5", set()),
        ('{__name__=~"x|y"}', None),
        ('x and {job="a"}', None),
        ("info(x)", None),
    ],
)
def test_it_names_the_metrics_an_expression_may_touch(text: str, names: set[str] | None) -> None:
    assert metric_names(parse(text)) == names


def test_it_lists_selectors_in_the_order_of_the_text() -> None:
    found = selectors(parse('a{x="1"} + max_over_time(rate(b[5m])[1h:1m])'))
    assert [str(selector) for selector in found] == ['a{x="1"}', "b"]


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("x", 5),
        ("rate(x[10m])", 10),
        ("rate(x[2m])", 2),
        ("rate(x[2m] anchored)", 7),
        ("x offset 1h", 65),
        ("rate(x[5m] offset 10m) + y", 15),
        ("max_over_time(rate(x[5m])[1h:1m] offset 10m)", 75),
        ("x offset -1h", 0),
        ("x @ 0", 0),
        ("1", 0),
    ],
)
def test_it_knows_how_far_back_an_expression_looks(text: str, minutes: int) -> None:
    assert longest_range_ms(parse(text)) == minutes * MINUTE
