"""Samples as a reader gives them: flat columns, series after series, that nobody copies without need."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from obskit.model.samples import STALE_NAN_BITS
from obskit.promql.blocks import Bools, Floats
from obskit.promql.histogram_values import Histograms, held
from obskit.promql.labelsets import Ints, LabelSets


@dataclass(frozen=True, slots=True)
class SampleColumns:
    """Samples of some series, flat: row `i` owns `starts[i]:starts[i + 1]`.

    Where `histograms` (None: there are none) holds one it is the sample. `start_ms` are the samples' start timestamps,
    0 where unknown; None when all are.
    """

    sets: LabelSets
    starts: Ints
    times_ms: Ints
    values: Floats
    histograms: Histograms | None = None
    start_ms: Ints | None = None

    def without_stale(self) -> SampleColumns:
        """The samples that are no stale markers; series that keep none stay as empty rows."""
        if not np.isnan(self.values.max(initial=0.0)):
            return self
        stale = self.values.view(np.int64) == STALE_NAN_BITS
        return self.only(~stale) if stale.any() else self

    def only(self, keep: Bools) -> SampleColumns:
        """Some of the samples; series that keep none stay as empty rows."""
        kept = np.concatenate(([0], np.cumsum(keep)))
        return SampleColumns(
            self.sets,
            kept[self.starts],
            self.times_ms[keep],
            self.values[keep],
            None if self.histograms is None else self.histograms[keep],
            None if self.start_ms is None else self.start_ms[keep],
        )

    def band(self, rows: slice) -> SampleColumns:
        """The samples of neighbouring rows, not copied."""
        starts = self.starts[rows.start : rows.stop + 1]
        kept = slice(int(starts[0]), int(starts[-1]))
        return SampleColumns(
            self.sets.take(np.arange(rows.start, rows.stop)),
            starts - kept.start,
            self.times_ms[kept],
            self.values[kept],
            None if self.histograms is None else self.histograms[kept],
            None if self.start_ms is None else self.start_ms[kept],
        )

    def floats(self) -> SampleColumns:
        """The samples that are floats."""
        if self.histograms is None:
            return self
        return replace(self.only(~held(self.histograms)), histograms=None)
