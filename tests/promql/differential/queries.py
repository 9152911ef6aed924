"""Queries from a seed, over the whole grammar that Prometheus 2.42 knows.

A query is evaluated at half seconds. Where that changes to whole ones (in a subquery), ranges of further subqueries get
a half second more: whatever is looked at, no step and no sample lies on the left edge of a range (see data.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.promql.differential.data import BASE_MS, SPAN_MS

SELECTORS = (
    *("requests_total", "errors_total", "temperature", "queue_depth", "limit", "odd_gauge", "alone", "build_info"),
    *("latency_bucket", "latency_count", "latency_sum", "odd_bucket", "nothing_here"),
    *('requests_total{code="500"}', 'requests_total{code!="200"}', 'requests_total{code=~"4..|5.."}'),
    *('requests_total{instance!~"a|b"}', 'temperature{instance=~".+",job="api"}', 'queue_depth{queue="näme"}'),
    *('queue_depth{queue=~"[mx].*"}', 'errors_total{instance=""}', '{__name__="limit"}', '{job="api",code=~"5.*"}'),
    *('{__name__=~"requests_total|errors_total",code="500"}', '{__name__=~"li.*|al.*"}', '{queue!="",job!~"api"}'),
    *('requests_total{job="api",job!="web"}', 'temperature{nope="x"}', '{__name__=~"temperature|odd_gauge"}'),
)
LABELS = ("job", "instance", "code", "queue", "le", "nope", "version", "__name__")
FOLDS = ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")
PER_VALUE = (
    *("abs", "ln", "log2", "log10", "sqrt", "deg", "rad", "sin", "cos", "tan", "asin", "acos", "atan", "tanh"),
    *("asinh", "acosh", "atanh", "sort", "sort_desc", "absent", "timestamp"),
)
STEEP = ("exp", "sinh", "cosh")
STEPPED = ("ceil", "floor", "sgn", "round")
INEXACT = ("deriv", "predict_linear", "stddev", "stdvar", "avg", "ln", "log", "sin", "cos", "tan", "exp", "^", "smooth")
"""What may differ in the last digits: nothing that jumps is made of it."""
JUMPING = ("rate", "increase", "irate", "changes", "resets")
SHUFFLED = ("sort", "topk", "bottomk", "count_values", "histogram", ":")
"""What 2.42 shuffles, as whatever it computed over a range, or orders in another way: any of equals may be chosen."""
CALENDAR = ("minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year")
OVER_RANGE = (
    *("rate", "increase", "irate", "delta", "idelta", "deriv", "changes", "resets", "rate", "increase"),
    *("sum_over_time", "avg_over_time", "min_over_time", "max_over_time", "count_over_time", "last_over_time"),
    *("present_over_time", "stddev_over_time", "stdvar_over_time", "absent_over_time"),
)
ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
SETS = ("and", "or", "unless")
NUMBERS = ("0", "1", "2", "-1", "0.5", "3.7", "1e3", "0x1F", "Inf", "-Inf", "NaN", "1e-9", "007", ".5", "100")
RANGES_S = (20, 60, 150, 300, 600, 1500)
REGEXES = ("(.*)", "a", "(.)(.*)", "5(..)|4(..)", "(?i)A|B", "", "(?P<first>.).*", "x", r"[[:alpha:]]+", r"\d+")
REPLACEMENTS = ("$1", "$2-$1", "x", "", "${first}", "${1}y", "$1y", "$$", "$10", "$nope")


def make_query(rng: random.Random) -> str:
    """One query; one in twenty is spoilt, and mostly an error."""
    maker = Maker(rng)
    query = maker.scalar(2) if rng.random() < 0.05 else maker.vector(rng.randint(1, 4))
    return maker.spoil(query) if rng.random() < 0.05 else query


class Maker:
    """Makes expressions of a type; `depth` is how many levels there may be below."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._whole_seconds = False

    def vector(self, depth: int) -> str:
        """An instant vector."""
        if depth <= 0:
            return self._selector()
        makers: tuple[tuple[int, Callable[[int], str]], ...] = (
            (2, lambda _: self._selector()),
            (6, self._over_range),
            (5, self._aggregation),
            (5, self._joined),
            (3, self._with_scalar),
            (3, self._per_value),
            (3, self._function),
            (1, lambda below: f"-{self.vector(below)}"),
            (1, lambda below: f"({self.vector(below)})"),
        )
        make = self._rng.choices([make for _, make in makers], [weight for weight, _ in makers])[0]
        return make(depth - 1)

    def scalar(self, depth: int) -> str:
        """A scalar."""
        if depth <= 0 or self._rng.random() < 0.6:
            return self._one(NUMBERS)
        return self._rng.choice(
            (
                lambda: f"scalar({self.vector(depth - 1)})",
                lambda: "time()",
                lambda: "pi()",
                lambda: f"({self.scalar(depth - 1)} {self._one(ARITHMETIC)} {self.scalar(depth - 1)})",
                lambda: f"({self.scalar(depth - 1)} {self._one(COMPARISONS)} bool {self.scalar(depth - 1)})",
                lambda: f"-{self.scalar(depth - 1)}",
            )
        )()

    def spoil(self, query: str) -> str:
        """The query with something wrong in it; now and then it stays right."""
        at = self._rng.randrange(len(query))
        return self._rng.choice(
            (
                lambda: query[:at] + query[at + 1 :],
                lambda: query[:at] + self._rng.choice("(){}[],=!~\"'@:#x5 ") + query[at:],
                lambda: f"{self._one(PER_VALUE)}({self.scalar(1)})",
                lambda: f"rate({query})",
                lambda: f"{query}[5m]",
                lambda: f"sum({query}, 1)",
                lambda: f"{query} and 1",
                lambda: f"{query} > bool on(job) 1",
                lambda: f"clamp({query})",
                lambda: f"label_replace({query}, 1, 2, 3, 4)",
                lambda: f"topk(scalar({query}), {query})",
                lambda: f'label_replace({query}, "__name__", "$1", "job", "(.*)")',
                lambda: f'label_join({query}, "job", "-")',
                lambda: f'label_replace({query}, "job", "$1", "job", "(")',
            )
        )()

    def _one(self, choices: tuple[str, ...]) -> str:
        return self._rng.choice(choices)

    def _selector(self) -> str:
        return self._one(SELECTORS) + self._shift()

    def _timestamp(self) -> str:
        """With `@` and an offset upstream goes its own way."""
        offset = self._one(("1m", "-1m", "4m30s", "5m", "-10m"))
        return f"timestamp({self._one(SELECTORS)} @ {self._at()} offset {offset})"

    def _shift(self) -> str:
        """`offset` and `@`, sometimes."""
        parts = []
        if self._rng.random() < 0.1:
            parts.append(f"offset {self._one(('1m', '90s', '10m', '-1m', '1m30s'))}")
        if self._rng.random() < 0.07:
            parts.append(f"@ {self._at()}")
        self._rng.shuffle(parts)
        return "".join(f" {part}" for part in parts)

    def _at(self) -> str:
        # What lies in a subquery with `@` is evaluated at half seconds again only for selectors of samples, which
        # never lie on an edge; subqueries take no `@` within subqueries.
        moment = BASE_MS // 1000 + self._rng.randrange(SPAN_MS // 1000)
        return self._one((f"{moment}.5", "start()", "end()"))

    def _range_vector(self, depth: int) -> str:
        if depth <= 0 or self._rng.random() < 0.75:
            at = self._one(("", *[""] * 8, " @ start()", " @ end()"))  # upstream lets these stand here as well
            return f"{self._one(SELECTORS)}{at}[{self._rng.choice(RANGES_S)}s]{'' if at else self._shift()}"
        return self._subquery(depth)

    def _subquery(self, depth: int) -> str:
        within = self._whole_seconds
        self._whole_seconds = True
        inner = self.vector(depth - 1)
        self._whole_seconds = within
        span = f"{self._rng.choice(RANGES_S)}s" + ("500ms" if within else "")
        shift = "" if within else self._shift()
        return f"({inner})[{span}:{self._one(('', '15s', '60s', '47s', '2m'))}]{shift}"

    def _over_range(self, depth: int) -> str:
        special = self._rng.random()
        if special < 0.06:
            return f"quantile_over_time({self._quantile()}, {self._range_vector(depth)})"
        if special < 0.12:
            # Prometheus 2.42 answers with other values at each step when there is an `@`, which 3.x does not.
            span = f"{self._one(SELECTORS)}[{self._rng.choice(RANGES_S)}s]"
            return f"predict_linear({span}, {self._one(('60', '3600', '-60', '0'))})"
        if special < 0.16:
            factors = f"{self._one(('0.1', '0.5', '0.9'))}, {self._one(('0.1', '0.5', '0.9'))}"
            return f"double_exponential_smoothing({self._range_vector(depth)}, {factors})"
        name, inner = self._one(OVER_RANGE), self._range_vector(depth)
        return f"{'delta' if name in JUMPING and not _exact(inner) else name}({inner})"

    def _quantile(self) -> str:
        return self._one(("0", "0.5", "0.9", "0.99", "1", "-1", "2", "NaN", "0.25"))

    def _aggregation(self, depth: int) -> str:
        inner = self.vector(depth)
        clause = self._clause()
        special = self._rng.random()
        if special < 0.2:
            if self._whole_seconds or not _exact(inner) or any(part in inner for part in SHUFFLED):
                inner = self._selector()
            k = self._one(("1", "2", "3", "0", "-1", "1.9", "100"))
            return f"{self._one(('topk', 'bottomk'))}{clause}({k}, {inner})"
        if special < 0.3:
            return f"quantile{clause}({self._quantile()}, {inner})"
        if special < 0.36:
            # 2.42 groups wrongly when the new label sorts before a label of `by`.
            label = self._one(("zone", "zone", "job") if " by " not in clause else ("zone",))
            return f'count_values{clause}("{label}", {self._whole()})'
        op = self._one(FOLDS)
        return f"{op}{clause}({inner})" if self._rng.random() < 0.5 else f"{op}({inner}){clause}"

    def _whole(self) -> str:
        """A vector of whole numbers."""
        name = self._one(("count_over_time", "changes", "resets", "present_over_time", "max_over_time"))
        return self._selector() if self._rng.random() < 0.5 else f"{name}({self._range_vector(0)})"

    def _clause(self) -> str:
        if self._rng.random() < 0.35:
            return ""
        return f" {self._one(('by', 'by', 'without'))} ({self._some_labels()}) "

    def _some_labels(self) -> str:
        return ", ".join(self._rng.sample(LABELS, self._rng.choice((0, 1, 1, 1, 2, 2, 3))))

    def _joined(self, depth: int) -> str:
        """Two vectors; three in four times folded so that they are likely to match."""
        if self._rng.random() < 0.25:
            return f"{self.vector(depth)} {self._operator()} {self._matching()} {self.vector(depth)}"
        joined = self._likely_joined(depth)
        return joined if _exact(joined) else joined.replace(" % ", " / ")

    def _likely_joined(self, depth: int) -> str:
        by = self._one(("job", "job, instance", "job, code", "code", "instance"))
        left = f"{self._one(FOLDS)} by ({by}) ({self.vector(depth)})"
        kind = self._rng.random()
        if kind < 0.5:
            return f"{left} {self._operator()} {self._one(FOLDS)} by ({by}) ({self.vector(depth)})"
        key = by.split(", ", maxsplit=1)[0]
        right = f"{self._one(FOLDS)} by ({key}) ({self.vector(depth)})"
        operator = self._one(ARITHMETIC + COMPARISONS + ("> bool", "== bool"))
        if kind < 0.75:
            return f"{left} {operator} on ({key}) group_left {right}"
        return f"{right} {operator} on ({key}) group_right {left}"

    def _operator(self) -> str:
        operator = self._one(ARITHMETIC + COMPARISONS + SETS + SETS)
        return f"{operator} bool" if operator in COMPARISONS and self._rng.random() < 0.4 else operator

    def _matching(self) -> str:
        if self._rng.random() < 0.3:
            return ""
        clause = f"{self._one(('on', 'ignoring'))} ({self._some_labels()})"
        if self._rng.random() < 0.3:
            clause += f" {self._one(('group_left', 'group_right'))} ({self._one(('', 'job', 'version', 'nope', 'le'))})"
        return clause

    def _with_scalar(self, depth: int) -> str:
        sides = [self.vector(depth), self.scalar(depth)]
        self._rng.shuffle(sides)
        operator = self._one(ARITHMETIC + COMPARISONS + COMPARISONS)
        if operator == "%" and not all(map(_exact, sides)):
            operator = "*"
        if operator in COMPARISONS and self._rng.random() < 0.4:
            operator += " bool"
        return f"{sides[0]} {operator} {sides[1]}"

    def _per_value(self, depth: int) -> str:
        name, inner = self._one(PER_VALUE + STEEP + STEPPED), self.vector(depth)
        if name in STEEP:
            return f"{name}(clamp({inner}, -9, 9))"
        if name in STEPPED and not _exact(inner):
            name = "abs"
        if name in ("sin", "cos", "tan") and not _exact(inner):
            name = "atan"
        return f"{name}({inner})"

    def _function(self, depth: int) -> str:
        inner = self.vector(depth)
        return self._rng.choice(
            (
                lambda: f"clamp({inner}, {self.scalar(1)}, {self.scalar(1)})",
                lambda: f"{self._one(('clamp_min', 'clamp_max'))}({inner}, {self.scalar(1)})",
                lambda: f"round({self._selector()}, {self._one(('0.1', '5', '1', '0.25', '-2', '0'))})",
                lambda: f"histogram_quantile({self._quantile()}, {self._buckets(depth)})",
                lambda: f"histogram_quantile({self._quantile()}, {self._buckets(depth)})",
                lambda: f"vector({self.scalar(depth)})",
                self._timestamp,
                lambda: f"{self._one(CALENDAR)}()",
                # Of what is no time Go makes dates that depend on the processor; obskit makes NaN.
                lambda: f"{self._one(CALENDAR)}(timestamp(-{inner}) * {self._one(('1', '1.7', '-0.3'))})",
                lambda: self._label_replace(inner),
                lambda: self._label_join(inner),
            )
        )()

    def _buckets(self, depth: int) -> str:
        name = self._one(("latency_bucket", "latency_bucket", "odd_bucket"))
        return self._rng.choice(
            (
                lambda: f"rate({name}[{self._rng.choice(RANGES_S)}s])",
                lambda: f"sum by (le) (rate({name}[{self._rng.choice(RANGES_S)}s]))",
                lambda: f"sum by (job, le) (increase({name}[5m]))",
                lambda: name + self._shift(),
                # Buckets that count NaN are mended in another way since 2.42.
                lambda: inner if _exact(inner := self.vector(depth)) else f"increase({name}[5m])",
            )
        )()

    def _label_replace(self, inner: str) -> str:
        target, source = self._one(("job", "new", "code", "instance")), self._one(LABELS)
        replacement, regex = self._one(REPLACEMENTS), self._one(REGEXES)
        return f'label_replace({inner}, "{target}", "{replacement}", "{source}", `{regex}`)'

    def _label_join(self, inner: str) -> str:
        sources = "".join(f', "{label}"' for label in self._rng.sample(LABELS, self._rng.randint(0, 3)))
        return f'label_join({inner}, "{self._one(("job", "new"))}", "{self._one(("", "-", "ä"))}"{sources})'


def _exact(query: str) -> bool:
    return not any(name in query for name in INEXACT)
