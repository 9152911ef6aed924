"""What of a remote write body has been read so far: the rows that came as columns, and the messages that did not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from obskit.ingest.delivery import Delivery, Invalid
from obskit.ingest.known_series import Layouts
from obskit.ingest.protobuf import MalformedError
from obskit.ingest.write_messages import SeriesMessage
from obskit.model.labels import Labels
from obskit.model.samples import STALE_NAN, MetricMeta
from obskit.store.interface import Batch, Samples

_MOST_REFUSED: Final = 1_000


@dataclass(slots=True)
class Gathered:
    """Samples in the order of the body, those of columns first."""

    samples: Samples = field(default_factory=Samples)
    metadata: dict[str, MetricMeta] = field(default_factory=dict)
    invalid: Invalid = field(default_factory=Invalid)
    ignored: Counter[str] = field(default_factory=Counter)
    _refused: int = 0

    def add(self, labels: Labels, message: SeriesMessage) -> None:
        """The samples of one message."""
        samples = self.samples
        for t_ms, value, start_ms in message.samples:
            self._begin(start_ms)
            samples.add(labels, t_ms, value)
        for one in message.histograms:
            self._begin(one.start_ms)
            if one.histogram is None:
                samples.add(labels, one.t_ms, STALE_NAN)
            else:
                samples.add_histogram(labels, one.t_ms, one.histogram)
        if message.bad_histograms:
            text = f"{message.bad_histograms[0]} for series {labels}"
            self.invalid.add("histogram", len(message.bad_histograms), text)
        if message.exemplars:
            self.ignored["exemplar"] += message.exemplars

    def refuse(self, message: SeriesMessage, why: str) -> None:
        """The labels of a message are those of no series."""
        self.invalid.add("labels", max(1, message.items), why)
        self._refused += 1
        if self._refused > _MOST_REFUSED:
            raise MalformedError(f"{why}; more than {_MOST_REFUSED} such series: nothing of the request is taken")

    def _begin(self, start_ms: int) -> None:
        if start_ms > 0:
            self.samples.starts_ms[len(self.samples)] = start_ms

    def delivery(self, layouts: Layouts) -> Delivery:
        """All of it, with the layout of the series."""
        samples = self.samples
        if len(samples):
            samples.layout = layouts.of(samples.labels)
            samples.labels = samples.layout.labels
        return Delivery(Batch(samples, metadata=self.metadata), self.invalid, self.ignored)
