"""Hypothesis strategies: texts of PromQL expressions over the whole grammar, all of them well-typed."""

from __future__ import annotations

from hypothesis import strategies as st

from obskit.promql.literals import quote_string

NAMES = st.sampled_from(["x", "sum", "a:b", "by", "http_requests_total", "on_call"])
LABELS = st.sampled_from(["a", "le", "on", "by", '"with.dot"', '"ü"'])
STRINGS = st.text(st.characters(codec="utf-8"), max_size=6).map(quote_string)
DURATIONS = st.sampled_from(["5m", "300", "1h30m", "2m*2", "step()", "max_of(step(), 1m)", "(range() - 5s) / 2"])
NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, min_value=0).map(repr),
    st.sampled_from(["Inf", "nan", "0x1F", "017", "1_000", "5m"]),
)
MATCHERS = st.one_of(
    st.tuples(LABELS, st.sampled_from(["=", "!="]), STRINGS).map("".join),
    st.tuples(LABELS, st.sampled_from(["=~", "!~"]), st.sampled_from(['"a.*|b"', "'[[:alpha:]]+'"])).map("".join),
)
SELECTORS = st.tuples(NAMES, st.lists(MATCHERS, max_size=3)).map(lambda t: t[0] + "{" + ",".join(t[1]) + "}")
SHIFTS = st.lists(
    st.sampled_from([" offset 5m", " offset -1h", " offset step()", " @ 12.5", " @ start()"]), max_size=1
).map("".join)
RANGES = st.tuples(SELECTORS, DURATIONS, SHIFTS).map(lambda t: f"{t[0]}[{t[1]}]{t[2]}")
GROUPING = st.lists(LABELS, max_size=2).map(lambda names: f"({', '.join(names)})")


def _operators(operands: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arithmetic = st.sampled_from(["+", "-", "*", "/", "%", "^", "atan2", ">", "== bool", "!=", "and", "or", "unless"])
    matching = st.tuples(st.sampled_from(["on", "ignoring"]), GROUPING).map("".join)
    joined = st.tuples(operands, arithmetic, st.one_of(st.just(""), matching), operands).map(" ".join)
    grouped = st.tuples(operands, matching, GROUPING, operands).map(
        lambda t: (
            f"{t[0]} * {t[1].replace('on', 'ignoring', 1) if t[1].startswith('on') else t[1]} group_left {t[2]} {t[3]}"
        )
    )
    return st.one_of(joined, grouped)


def _larger(vectors: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    clause = st.tuples(st.sampled_from(["by", "without"]), GROUPING).map(" ".join)
    return st.one_of(
        _operators(vectors),
        # In parentheses: a number next to another operator would become its operand, which `on` does not allow.
        st.tuples(vectors, st.sampled_from("+-*/^"), NUMBERS).map(lambda t: f"({' '.join(t)})"),
        st.tuples(st.sampled_from(["sum", "MAX", "group"]), clause, vectors).map(lambda t: f"{t[0]} {t[1]} ({t[2]})"),
        st.tuples(NUMBERS, vectors, clause).map(lambda t: f"topk({t[0]}, {t[1]}) {t[2]}"),
        st.tuples(st.sampled_from(["abs", "sort", "absent"]), vectors).map(lambda t: f"{t[0]}({t[1]})"),
        vectors.map(lambda text: f"({text})"),
        vectors.map(lambda text: f"-{text}"),
        st.tuples(vectors, SHIFTS).map(lambda t: f"max_over_time(({t[0]})[1h:1m]{t[1]})"),
    )


VECTORS = st.recursive(
    st.one_of(
        st.tuples(SELECTORS, SHIFTS).map("".join),
        st.tuples(st.sampled_from(["rate", "avg_over_time", "changes"]), RANGES).map(lambda t: f"{t[0]}({t[1]})"),
        NUMBERS.map(lambda number: f"vector({number})"),
    ),
    _larger,
    max_leaves=6,
)
