"""Rules over lines and events in a few words: frequency, spike, absence and others, each written as LogQL.

The forms are those of ElastAlert, and two for business events. They are judged like any other rule; the LogQL they stand
for is what alerts and the rules page show. Reading the file is left to files.py.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import Field, field_validator, model_validator

from obskit.errors import PatternError, QuerySyntaxError
from obskit.logql.log_nodes import LogQuery
from obskit.logql.parser import parse
from obskit.model.durations import format_duration
from obskit.model.labels import is_label_name, quote
from obskit.model.settings import Duration, Settings

S = TypeVar("S", bound=Settings)

_EVENTS: Final = '{source="event"}'
_SEEN_AT: Final = "obskit_seen_at"
_ABSENT_AFTER: Final = 12
"""A group that was seen within so many windows is missed when it is silent."""


def _lines(text: str) -> str:
    try:
        query = parse(text)
    except QuerySyntaxError as error:
        raise ValueError(error.message) from None
    except PatternError as error:
        raise ValueError(str(error)) from None
    if not isinstance(query, LogQuery):
        raise ValueError('lines belong here, without counting them: {app="api"} |= "text"')
    return str(query)


def _names(names: list[str]) -> list[str]:
    for name in names:
        if not is_label_name(name):
            raise ValueError(f"not a label name: {name!r}")
    return names


class Form(Settings):
    """What all forms have: which `lines`, how far back (`within`), and by which labels groups are told apart."""

    lines: str
    within: Duration = Field(300_000, gt=0)
    by: list[str] = []

    @field_validator("lines")
    @classmethod
    def _is_a_log_query(cls, text: str) -> str:
        return _lines(text)

    @field_validator("by")
    @classmethod
    def _are_names(cls, names: list[str]) -> list[str]:
        return _names(names)

    @property
    def window(self) -> str:
        """`within` as LogQL has it."""
        return format_duration(self.within)

    @abstractmethod
    def logql(self) -> str:
        """The expression."""

    def grouped(self, *more: str) -> str:
        """The grouping, with more labels."""
        return f"by ({', '.join(dict.fromkeys([*self.by, *more]))})"

    def count(self, *more: str, lines: str = "", offset: str = "", window: str = "") -> str:
        """How many lines there are in each group."""
        source = f"{lines or self.lines} [{window or self.window}]{f' offset {offset}' if offset else ''}"
        return f"sum {self.grouped(*more)} (count_over_time({source}))"


class FieldForm(Form):
    """A form that looks at the values of a label."""

    field: str

    @field_validator("field")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        return _names([name])[0]

    @property
    def having(self) -> str:
        """The lines that have the field."""
        return f'{self.lines} | {self.field}!=""'


class Frequency(Form):
    """At least `count` lines within a time."""

    at_least: int = Field(1, gt=0)

    def logql(self) -> str:
        """See Form."""
        return f"{self.count()} >= {self.at_least}"


class Spike(Form):
    """`factor` times as many lines as in the time before (`up`), or as few (`down`), and `at_least` so many."""

    factor: float = Field(gt=1)
    direction: Literal["up", "down", "both"] = "up"
    at_least: int = Field(1, gt=0)

    def logql(self) -> str:
        """See Form."""
        now, before = self.count(), self.count(offset=self.window)
        up = f"({now} >= {self.factor:g} * {before} and {now} >= {self.at_least})"
        down = f"({now} <= {before} / {self.factor:g} and {before} >= {self.at_least})"
        return {"up": up, "down": down, "both": f"{up} or {down}"}[self.direction]


class Flatline(Form):
    """Fewer than `less_than` lines. With `by`: in a group that had some in the twelve windows before."""

    less_than: int = Field(1, gt=0)

    def logql(self) -> str:
        """See Form."""
        now = self.count()
        if not self.by:
            return f"({now} or vector(0)) < {self.less_than}"
        known = self.count(window=format_duration(_ABSENT_AFTER * self.within), offset=self.window)
        return f"{now} < {self.less_than} or ({known} unless {now}) * 0"


class Change(FieldForm):
    """Another value of a label in a group than the last one seen before, which is remembered for `known_for`."""

    known_for: Duration = Field(86_400_000, gt=0)

    def logql(self) -> str:
        """See Form."""
        now = self.count(self.field, lines=self.having)
        timed = (
            f"{self.having} | label_format {_SEEN_AT}=`{{{{ __timestamp__ | unixEpochNanos }}}}` | unwrap {_SEEN_AT}"
        )
        seen = f"max_over_time({timed} [{format_duration(self.known_for)}] offset {self.window})"
        last = f"topk {self.grouped()} (1, {seen} {self.grouped(self.field)})"
        return f"count {self.grouped()} ({now} or {last}) > 1 and count {self.grouped()} ({now})"


class NewValue(FieldForm):
    """A value of a label that was not there in the time `known_for` before."""

    known_for: Duration = Field(86_400_000, gt=0)

    def logql(self) -> str:
        """See Form."""
        before = self.count(self.field, lines=self.having, window=format_duration(self.known_for), offset=self.window)
        return f"{self.count(self.field, lines=self.having)} unless {before}"


class Cardinality(FieldForm):
    """More (or less) different values of a label than a number."""

    more_than: int | None = Field(None, ge=0)
    less_than: int | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        return _one_of(self, "more_than", "less_than")

    def logql(self) -> str:
        """See Form."""
        values = f"count {self.grouped()} ({self.count(self.field, lines=self.having)})"
        if self.more_than is not None:
            return f"{values} > {self.more_than}"
        return f"{values if self.by else f'({values} or vector(0))'} < {self.less_than}"


class Percentage(Form):
    """The share of lines that match more stages (`matching`) is `above` or `below` a number of percent."""

    matching: str
    above: float | None = Field(None, ge=0, le=100)
    below: float | None = Field(None, ge=0, le=100)
    at_least: int = Field(1, gt=0)

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        _lines(f"{self.lines} {self.matching}")
        return _one_of(self, "above", "below")

    def logql(self) -> str:
        """See Form."""
        all_of_them, some = self.count(), self.count(lines=f"{self.lines} {self.matching}")
        share = f"100 * ({some} or {all_of_them} * 0) / {all_of_them}"
        limit = f"> {self.above:g}" if self.above is not None else f"< {self.below:g}"
        return f"({share}) {limit} and {all_of_them} >= {self.at_least}"


class Metric(FieldForm):
    """A number in the lines: its `value` (avg, min, max, sum, or a quantile such as p95) is `above` or `below` a limit."""

    value: Annotated[str, Field(pattern=r"^(avg|min|max|sum|p[1-9][0-9]?)$")] = "avg"
    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        return _one_of(self, "above", "below")

    def logql(self) -> str:
        """See Form."""
        source = f'{self.lines} | unwrap {self.field} | __error__="" [{self.window}]'
        limit = f"> {self.above:g}" if self.above is not None else f"< {self.below:g}"
        if self.value == "sum":
            return f"sum {self.grouped()} (sum_over_time({source})) {limit}"
        if self.value.startswith("p"):
            quantile = int(self.value[1:]) / 100
            return f"quantile_over_time({quantile:g}, {source}) {self.grouped()} {limit}"
        return f"{self.value}_over_time({source}) {self.grouped()} {limit}"


class ListForm(FieldForm):
    """A form with a list of values."""

    values: list[str] = Field(min_length=1)

    def pattern(self) -> str:
        """The values as a pattern."""
        return quote("|".join(_escaped(value) for value in self.values))


class Whitelist(ListForm):
    """A value of a label that is not in a list."""

    def logql(self) -> str:
        """See Form."""
        return f"{self.count(self.field, lines=f'{self.having} | {self.field}!~{self.pattern()}')} > 0"


class Blacklist(ListForm):
    """A value of a label that is in a list."""

    def logql(self) -> str:
        """See Form."""
        return f"{self.count(self.field, lines=f'{self.lines} | {self.field}=~{self.pattern()}')} > 0"


class EventForm(Settings):
    """What forms for events have: where events are found (`lines`), and within which time."""

    lines: str = _EVENTS
    within: Duration = Field(gt=0)

    @field_validator("lines")
    @classmethod
    def _is_a_log_query(cls, text: str) -> str:
        return _lines(text)

    @abstractmethod
    def logql(self) -> str:
        """The expression."""

    def named(self, event: str) -> str:
        """The lines of one event."""
        return f"{self.lines} | name={quote(event)}"


class Absence(EventForm):
    """An event did not come for a time."""

    event: str = Field(min_length=1)

    def logql(self) -> str:
        """See Form."""
        return f"absent_over_time({self.named(self.event)} [{format_duration(self.within)}])"


class Funnel(EventForm):
    """An event that was not followed by another of the same id within a time. It is told for as long again."""

    first: str = Field(min_length=1)
    then: str = Field(min_length=1)
    id: str
    by: list[str] = []
    told_for: Duration = Field(0, ge=0)

    @field_validator("by")
    @classmethod
    def _are_names(cls, names: list[str]) -> list[str]:
        return _names(names)

    @field_validator("id")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        return _names([name])[0]

    def logql(self) -> str:
        """See Form."""
        told = self.told_for or self.within
        limit, both = format_duration(self.within), format_duration(self.within + told)
        labels = ", ".join(dict.fromkeys([self.id, *self.by]))
        began = f'{self.named(self.first)} | {self.id}!="" [{format_duration(told)}] offset {limit}'
        done = f'{self.named(self.then)} | {self.id}!="" [{both}]'
        return (
            f"sum by ({labels}) (count_over_time({began}))"
            f" unless on ({self.id}) sum by ({self.id}) (count_over_time({done}))"
        )


FORMS: Final[dict[str, type[Form | EventForm]]] = {
    "frequency": Frequency,
    "spike": Spike,
    "flatline": Flatline,
    "change": Change,
    "new_value": NewValue,
    "cardinality": Cardinality,
    "percentage": Percentage,
    "metric": Metric,
    "whitelist": Whitelist,
    "blacklist": Blacklist,
    "absence": Absence,
    "funnel": Funnel,
}


def _one_of(form: S, *names: str) -> S:
    if sum(getattr(form, name) is not None for name in names) != 1:
        raise ValueError(f"one of `{'` and `'.join(names)}` is needed, and only one")
    return form


def _escaped(text: str) -> str:
    """A text as a pattern that matches just this."""
    return "".join(char if char.isalnum() or char in "_ " or not char.isascii() else f"\\{char}" for char in text)
