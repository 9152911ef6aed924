"""The columns in which samples are appended."""

from __future__ import annotations

import math

from obskit.model.histograms import NativeHistogram
from obskit.model.labels import Labels
from obskit.model.samples import Sample
from obskit.store.interface import Samples

ONE, OTHER = Labels({"a": "1"}), Labels({"a": "2"})
HISTOGRAM = NativeHistogram.exponential(0, count=1, sum=1, positive={0: 1})


def test_what_few_samples_have_stays_with_them() -> None:
    first = Samples.of([Sample(ONE, 1, 1.0), Sample(ONE, 2, 2.0, start_ms=7)])
    second = Samples()
    second.add(OTHER, 3, 3.0)
    second.add_histogram(OTHER, 4, HISTOGRAM)
    first.extend(second)
    assert len(first) == 4
    found = list(first)
    assert found[:3] == [Sample(ONE, 1, 1.0), Sample(ONE, 2, 2.0, start_ms=7), Sample(OTHER, 3, 3.0)]
    assert found[3].histogram is HISTOGRAM
    assert math.isnan(found[3].value)
    assert first.histograms == {3: HISTOGRAM}
