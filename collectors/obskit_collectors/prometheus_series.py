"""From the pages of one target to batches: labels, limits, stale markers, and the series about the scrape itself.

Pure: what was read and when comes in, a Batch goes out. A page with the layout of the one before costs a comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from obskit.errors import CollectorError
from obskit.model.exposition import Exposition, ExpositionParser
from obskit.model.labels import NAME, Labels
from obskit.model.samples import STALE_NAN
from obskit.store.interface import Batch, Layout, Samples
from obskit_collectors.prometheus_relabel import RelabelRule, relabel
from obskit_collectors.prometheus_starts import Births, CounterStarts

T = TypeVar("T")

_REPORT: Final = (
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
)


@dataclass(frozen=True, slots=True)
class PageRules:
    """What a job says about its pages. A limit of 0 is none."""

    honor_labels: bool = False
    honor_timestamps: bool = True
    track_timestamps_staleness: bool = False
    metric_relabel: Sequence[RelabelRule] = ()
    sample_limit: int = 0
    label_limit: int = 0
    label_name_length_limit: int = 0
    label_value_length_limit: int = 0
    counter_starts: CounterStarts = CounterStarts.OFF


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which series a page has, in page order. `rows` are the page's rows that stay; None when all do."""

    page_labels: list[Labels]
    explicit: list[bool]
    rows: list[int] | None
    size: int
    lasting: frozenset[Labels]
    """Those that are stale when they vanish: all but the ones that bring their own time."""
    duplicates: int
    batch: Layout
    """The `size` series that stay, and behind them those about the scrape: what is stored unless one vanished."""

    def is_of(self, page: Exposition) -> bool:
        """Whether a page has this layout. Pages of one form come with the same lists, which need not be compared."""
        if page.labels is self.page_labels and page.explicit is self.explicit:
            return True
        return page.labels == self.page_labels and page.explicit == self.explicit


_NO_LAYOUT: Final = _Layout([], [], None, 0, frozenset(), 0, Layout([]))


class TargetSeries:
    """The series of one target."""

    def __init__(self, target_labels: Labels, rules: PageRules) -> None:
        self._target_labels = target_labels
        self._rules = rules
        self._report = [target_labels.updated({NAME: name}) for name in _REPORT]
        self._layout = _NO_LAYOUT
        self.parser = ExpositionParser(self._series_of)
        """Reads the pages that `read` takes: its samples have their final labels, or none when the job drops them."""
        self._alive: frozenset[Labels] = frozenset()
        self._reported = False
        self._births = Births(rules.counter_starts)

    @property
    def duplicates(self) -> int:
        """How many samples of the last page named a series that the page already had."""
        return self._layout.duplicates

    def read(self, page: Exposition, now_ms: int, duration_s: float) -> Batch:
        """The batch of a page that was read at `now_ms`. CollectorError when it breaks a limit: nothing of it counts."""
        layout = self._layout
        if not layout.is_of(page):
            layout = self._lay_out(page)
        if 0 < self._rules.sample_limit < layout.size:
            raise CollectorError(
                f"{layout.size} samples, more than sample_limit ({self._rules.sample_limit})", reason="bad_data"
            )
        self._layout = layout
        vanished: frozenset[Labels] = frozenset()
        added: frozenset[Labels] = frozenset()
        if layout.lasting is not self._alive:
            added = layout.lasting - self._alive
            vanished = self._alive - layout.lasting
            self._alive = layout.lasting
        self._reported = True
        about = (1.0, duration_s, float(len(page.labels)), float(layout.size), float(len(added)))
        times_ms = [*self._times(page, now_ms), *[now_ms] * len(about)]
        values = [*_picked(page.values, layout.rows), *about]
        samples = Samples.laid_out(layout.batch, times_ms, values)
        samples.starts_ms = self._births.read(layout.batch.labels, values, page.metadata, now_ms=now_ms, new=added)
        if vanished:
            self._births.vanished(vanished)
            samples = samples.open()
            _add_stale(samples, vanished, now_ms)
        return Batch(samples, metadata=page.metadata)

    def fail(self, now_ms: int, duration_s: float) -> Batch:
        """The batch of a scrape that failed: `up` is 0 and every series of the target is stale."""
        samples = Samples()
        _add_stale(samples, self._alive, now_ms)
        self._alive = frozenset()
        self._births.fail()
        self._add_report(samples, now_ms, (0.0, duration_s, 0, 0, 0))
        return Batch(samples)

    def end(self, now_ms: int) -> Batch:
        """The batch of a target that is gone: everything of it is stale, `up` too."""
        samples = Samples()
        _add_stale(samples, [*self._alive, *(self._report if self._reported else ())], now_ms)
        self._alive, self._reported = frozenset(), False
        return Batch(samples)

    def _times(self, page: Exposition, now_ms: int) -> list[int]:
        if self._rules.honor_timestamps:
            return _picked(page.times_ms, self._layout.rows)
        return [now_ms] * self._layout.size

    def _add_report(self, samples: Samples, now_ms: int, values: Iterable[float]) -> None:
        self._reported = True
        for labels, value in zip(self._report, values, strict=True):
            samples.add(labels, now_ms, float(value))

    def _lay_out(self, page: Exposition) -> _Layout:
        rows: list[int] = []
        labels: list[Labels] = []
        timeless: set[Labels] = set()
        duplicates = 0
        own_time = self._rules.honor_timestamps and not self._rules.track_timestamps_staleness
        for row, (series, explicit) in enumerate(zip(page.labels, page.explicit, strict=True)):
            if not series:
                continue
            if not (explicit and self._rules.honor_timestamps) and series in timeless:
                duplicates += 1  # as Prometheus: the first of two samples for one moment stays
                continue
            if not (explicit and own_time):
                timeless.add(series)
            rows.append(row)
            labels.append(series)
        return _Layout(
            page.labels,
            page.explicit,
            None if len(rows) == len(page.labels) else rows,
            len(rows),
            frozenset(timeless),
            duplicates,
            Layout([*labels, *self._report]),
        )

    def _series_of(self, parsed: Labels) -> Labels:
        """The series that a page's labels stand for, or no labels when the job drops it.

        CollectorError when it breaks a limit: nothing of its page counts.
        """
        merged = merge_labels(parsed, self._target_labels, honor_labels=self._rules.honor_labels)
        final = relabel(merged, self._rules.metric_relabel) if self._rules.metric_relabel else merged
        if final is None:
            return Labels()
        if not final.get(NAME):
            raise CollectorError(f"metric_relabel_configs left {parsed} without a name", reason="config")
        self._check_limits(final)
        return Labels(final)

    def _check_limits(self, labels: dict[str, str]) -> None:
        rules = self._rules
        if 0 < rules.label_limit < len(labels):
            raise CollectorError(
                f"{labels[NAME]} has {len(labels)} labels, more than label_limit ({rules.label_limit})",
                reason="bad_data",
            )
        longest_name = max(map(len, labels))
        longest_value = max(map(len, labels.values()))
        for what, length, limit in (
            ("label_name_length_limit", longest_name, rules.label_name_length_limit),
            ("label_value_length_limit", longest_value, rules.label_value_length_limit),
        ):
            if 0 < limit < length:
                raise CollectorError(f"{labels[NAME]}: {length} is more than {what} ({limit})", reason="bad_data")


def merge_labels(parsed: Labels, target: Labels, *, honor_labels: bool) -> dict[str, str]:
    """A page's labels with its target's: in a conflict the page's are kept (honor_labels) or become `exported_…`."""
    if honor_labels:
        return {**target, **parsed}
    merged = {**parsed, **target}
    for name in sorted(parsed.keys() & target.keys(), key=len):
        exported = name
        while exported in parsed or exported in merged:
            exported = f"exported_{exported}"
        merged[exported] = parsed[name]
    return merged


def _picked(column: list[T], rows: list[int] | None) -> list[T]:
    return column if rows is None else [column[row] for row in rows]


def _add_stale(samples: Samples, series: Iterable[Labels], now_ms: int) -> None:
    for labels in series:
        samples.add(labels, now_ms, STALE_NAN)
