"""Numbers of any HTTP API as gauges: by paths into its JSON, or by a pattern in its text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from obskit.clock import Clock
from obskit.collect import Ask, Captured, Check, Collector, Feed, Kind, Snapshots, VendorApi, failed, ok, poll
from obskit.errors import CollectorError, PatternError
from obskit.model.patterns import compile_pattern
from obskit.model.settings import Duration, Secret, Settings
from obskit.store.interface import Batch
from obskit_collectors.gauges import NAME, Gauges, LabelName, label_of, number_in, number_of
from obskit_collectors.json_path import KEY, JsonPath, parse_path

_LARGEST: Final = 4 * 1024 * 1024
_SHORTEST_SECRET: Final = 8


class GaugeSettings(Settings):
    """One gauge: `path` in the JSON, `pattern` in the text, or `pattern` in the text at `path`."""

    name: str = Field(pattern=NAME, description="the gauge is called `<prefix>_<name>`")
    path: str = Field("", description='where the number is: `.a.b[0].c`, `.["odd name"]`; with `rows`, from the row')
    pattern: str = Field("", description="RE2; its first group is the number, in the body or in the text at `path`")
    rows: str = Field("", description="one sample for each value of this path, such as `.queues[*]`")
    labels: dict[LabelName, str] = Field(
        default={}, description="label to path (from the row), `@key` (where the row was) or any other text as it is"
    )
    scale: float = Field(1.0, allow_inf_nan=False, description="the number is multiplied by this: 0.001 for ms")
    unit: str = Field("", pattern=r"^[a-z]*$", description="what it is in then, for metadata: `seconds`")
    help: str = Field("", description="what it is, for metadata")

    @field_validator("path", "rows")
    @classmethod
    def _readable_path(cls, text: str) -> str:
        if text:
            parse_path(text)
        return text

    @field_validator("labels")
    @classmethod
    def _readable_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for text in labels.values():
            if text.startswith((".", "[")) and parse_path(text).many:
                raise ValueError(f"a label has one value, and {text} leads to many")
        return labels

    @field_validator("pattern")
    @classmethod
    def _readable_pattern(cls, text: str) -> str:
        try:
            compile_pattern(text)
        except PatternError as error:
            raise ValueError(str(error)) from None
        return text

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if not self.path and not self.pattern:
            raise ValueError("give a path, or a pattern")
        if self.path and parse_path(self.path).many:
            raise ValueError("path leads to many values: give the part up to the last [*] as rows")
        if self.rows and not parse_path(self.rows).many:
            raise ValueError("rows needs a [*]")
        if self.rows and not self.path:
            raise ValueError("rows needs a path, from the row; the row itself is .")
        return self


class HttpJsonSettings(Settings):
    """`http_json:` one URL and what is read from its answer."""

    name: str = Field("", description="own name, where there are several; the `instance` label")
    url: str = Field(pattern=r"^https?://[^/?#]+[^?#]*$", description="without a query, which goes under `params`")
    method: Literal["GET", "POST"] = Field("GET", description="GET or POST")
    params: dict[str, Secret] = Field(default={}, description="the query; never printed")
    headers: dict[str, Secret] = Field(default={}, description="headers, such as Authorization; never printed")
    body: str = Field("", description="what is posted, as it is")
    expected: list[Annotated[int, Field(ge=100, le=599)]] = Field([200], min_length=1, description="statuses to read")
    every: Duration = Field(60_000, ge=1_000, description="how often to ask")
    timeout: Duration = Field(10_000, gt=0, description="when an answer is given up")
    prefix: str = Field("http_json", pattern=NAME, description="what the names of the gauges begin with")
    row_limit: int = Field(1000, ge=1, le=100_000, description="more rows fail their gauge")
    gauges: list[GaugeSettings] = Field(min_length=1, description="what is read from the answer")

    @field_validator("url")
    @classmethod
    def _no_password(cls, url: str) -> str:
        if "@" in urlsplit(url).netloc:
            raise ValueError("a password goes under headers, as Authorization")
        return url

    @property
    def target(self) -> str:
        """What is read, for people."""
        return f"{self.method} {self.url}"

    @property
    def instance(self) -> str:
        """The `instance` label."""
        return self.name or urlsplit(self.url).netloc


class JsonReader:
    """Reads the gauges of one answer. Pure but for `batch`, which counts what it drops."""

    def __init__(self, settings: HttpJsonSettings) -> None:
        self._settings = settings
        self._patterns = {gauge.name: compile_pattern(gauge.pattern) for gauge in settings.gauges if gauge.pattern}

    @cached_property
    def _paths(self) -> Mapping[str, JsonPath]:
        texts = {text for gauge in self._settings.gauges for text in (gauge.path, gauge.rows, *gauge.labels.values())}
        return {text: parse_path(text) for text in texts if text.startswith((".", "["))}

    @property
    def wants_json(self) -> bool:
        """Whether any gauge looks into JSON."""
        return any(gauge.path for gauge in self._settings.gauges)

    def read(self, document: Any, text: str) -> Gauges:
        """Every gauge that is there."""
        found = Gauges()
        for gauge in self._settings.gauges:
            name = f"{self._settings.prefix}_{gauge.name}"
            found.describe(name, gauge.help, gauge.unit)
            rows = list(self._rows(gauge, document))
            if len(rows) > self._settings.row_limit:
                found.wrong.append(f"{gauge.name}: more than {self._settings.row_limit} rows: raise row_limit")
                continue
            there = [self._take(gauge, name, row, (text, found)) for row in rows]
            if there and not any(there):
                found.wrong.append(f"{gauge.name}: nothing at {gauge.path or 'the pattern'}")
        return found

    def _rows(self, gauge: GaugeSettings, document: Any) -> Iterator[tuple[str, Any]]:
        return self._paths[gauge.rows].find(document) if gauge.rows else iter([("", document)])

    def _take(self, gauge: GaugeSettings, name: str, row: tuple[str, Any], into: tuple[str, Gauges]) -> bool:
        """One sample; whether its place was there at all, be it null."""
        text, found = into
        there, value = self._paths[gauge.path].first(row[1]) if gauge.path else (True, text)
        if not there or value is None:
            return there
        labels = self._labels(gauge, row)
        if labels is None:
            found.dropped["bad_label"] += 1
            return True
        if gauge.pattern:
            match = self._patterns[gauge.name].search(value) if isinstance(value, str) else None
            if match is None:
                return False
            value = match.group(1 if match.re.groups else 0)
        number = number_in(value) if isinstance(value, str) else number_of(value)
        if number is None:
            found.dropped["bad_value"] += 1
        else:
            found.add(name, labels, number * gauge.scale)
        return True

    def _labels(self, gauge: GaugeSettings, row: tuple[str, Any]) -> dict[str, str] | None:
        labels: dict[str, str] = {}
        for name, source in gauge.labels.items():
            value: Any = source
            if source == KEY:
                value = row[0]
            elif source in self._paths:
                value = self._paths[source].first(row[1])[1]
            text = label_of(value)
            if text is None:
                return None
            labels[name] = text
        return labels


class HttpJsonCollector:
    """Polls one URL."""

    def __init__(self, settings: HttpJsonSettings) -> None:
        self.name = f"http_json/{settings.name}" if settings.name else "http_json"
        self._settings = settings
        parts = urlsplit(settings.url)
        self._api = VendorApi(
            f"{parts.scheme}://{parts.netloc}",
            headers={name: value.reveal() for name, value in settings.headers.items()},
            fix="check headers and params",
            timeout_s=settings.timeout / 1000,
            largest=_LARGEST,
        )
        self._ask = Ask(
            parts.path or "/",
            settings.method,
            {name: value.reveal() for name, value in settings.params.items()},
            settings.body.encode() or None,
            expected=frozenset(settings.expected),
        )
        self._reader = JsonReader(settings)
        self._snapshots = Snapshots({"job": "http_json", "instance": settings.instance})

    async def run(self, feed: Feed) -> None:
        """Poll until cancelled."""
        await self._poll(feed).run(feed)

    async def once(self, feed: Feed) -> None:
        """Poll once."""
        await self._poll(feed).once(feed)

    def _poll(self, feed: Feed) -> Collector:
        book = feed.book(self._settings.target)

        async def read(now_ms: int) -> Batch:
            try:
                reply = await self._api.ask(self._ask, book)
            except CollectorError as error:
                said = self._without_secrets(str(error))
                raise CollectorError(said, reason=error.reason, retry_after=error.retry_after) from None
            if reply.status not in self._settings.expected:
                raise CollectorError(f"{self._settings.target}: HTTP {reply.status}, not expected", reason="bad_data")
            document = reply.json(self._settings.target) if self._reader.wants_json else None
            found = self._reader.read(document, reply.body.decode("utf-8", "replace"))
            return found.batch(self._snapshots, book, now_ms, self._settings.target)

        given = self._settings
        return poll(
            read,
            name=self.name,
            target=given.target,
            every_ms=given.every,
            timeout_ms=given.timeout,
            close=self._api.close,
        )

    def _without_secrets(self, text: str) -> str:
        """Some services repeat what they refuse."""
        values = [*self._settings.headers.values(), *self._settings.params.values()]
        for word in (word for value in values for word in value.reveal().split() if len(word) >= _SHORTEST_SECRET):
            text = text.replace(word, "<secret>")
        return text


async def doctor(settings: HttpJsonSettings, clock: Clock) -> Sequence[Check]:
    """Does it answer as expected, and is each gauge in the answer?"""
    captured = Captured()
    problems: list[Check] = []
    try:
        await build(settings).once(Feed("http_json", captured, clock))
    except CollectorError as error:
        fixes = {"auth": "check headers and params", "network": "check the URL", "missing": "check the URL"}
        problems = [failed(str(error), fixes.get(error.reason, "compare the paths with the answer"))]
    found = {str(sample.labels.get("__name__")) for sample in captured.samples}
    names = [f"{settings.prefix}_{gauge.name}" for gauge in settings.gauges]
    checks = [ok(f"{name} is there") for name in names if name in found]
    return [*problems, *checks] or [failed("no gauge has a value", "compare the paths with the answer")]


def build(settings: HttpJsonSettings) -> Collector:
    """A collector for one URL."""
    return HttpJsonCollector(settings)


KIND: Final = Kind(settings=HttpJsonSettings, build=build, doctor=doctor)
