"""rate, increase, delta, irate and idelta of native histograms (promql/functions.go, histogramRate)."""

from __future__ import annotations

from dataclasses import dataclass

from obskit.model.histogram_arithmetic import Combined, difference, empty_like, is_reset, total, with_schema
from obskit.model.histograms import NativeHistogram, ResetHint
from obskit.promql import histogram_notes as notes
from obskit.promql.blocks import Block
from obskit.promql.context import Context
from obskit.promql.histogram_windows import Fold, MixedWindows, Window, started_anew, warn_of_mixed
from obskit.promql.nodes import Call, Expr
from obskit.promql.starts import overlaps
from obskit.promql.windows import Windows


@dataclass(frozen=True, slots=True)
class Counting:
    """What is computed of a metric: counters are watched for resets, and where notes go."""

    context: Context
    expr: Expr
    name: str
    is_counter: bool

    def check_kind(self, histograms: list[NativeHistogram]) -> None:
        """Warn of gauges taken for counters, and the other way round."""
        if self.is_counter and any(one.is_gauge for one in histograms):
            notes.not_counter(self.context, self.expr, self.name)
        if not self.is_counter and not (histograms[0].is_gauge and histograms[-1].is_gauge):
            notes.not_gauge(self.context, self.expr, self.name)

    def subtract(self, left: NativeHistogram, right: NativeHistogram) -> NativeHistogram | None:
        """The difference, noted what there is to note."""
        return self._noted(difference(left, right), "subtraction")

    def add(self, histograms: list[NativeHistogram]) -> NativeHistogram | None:
        """The sum, noted what there is to note."""
        return self._noted(total(histograms), "addition")

    def _noted(self, found: Combined | None, operation: notes.Operation) -> NativeHistogram | None:
        if found is None:
            notes.mixed_schemas(self.context, self.expr, self.name)
            return None
        # Resets are dealt with explicitly: that hints collide is no news.
        notes.combined(self.context, self.expr, found, operation, collisions=False)
        return found.histogram


def extrapolated(fold: Fold, context: Context, call: Call, windows: Windows) -> Block:
    """rate, increase and delta."""
    return _each(fold, context, call, windows)


def between_last_two(fold: Fold, context: Context, call: Call, windows: Windows) -> Block:
    """irate and idelta: only the last two samples must be of one kind."""
    mixed = MixedWindows(windows)
    block = fold(mixed.floats)
    cells, present = mixed.cells(), block.present.copy()
    for window in mixed.each(mixed.counts > 0):
        place = window.row, window.step
        last_two = window.histograms[-2:]
        if all(one is None for one in last_two):
            continue
        present[place] = False
        if len(last_two) == 2 and any(one is None for one in last_two):
            notes.mixed_floats(context, call.args[0], mixed.name(window.row))
        elif len(last_two) == 2:
            counting = Counting(context, call.args[0], mixed.name(window.row), call.name == "irate")
            cells[place] = _last_two(counting, window)
            present[place] = cells[place] is not None
    return Block(block.sets, block.values, present, cells)


def _last_two(counting: Counting, window: Window) -> NativeHistogram | None:
    before, now = window.histograms[-2:]
    assert before is not None
    assert now is not None
    elapsed = (window.times_ms[-1] - window.times_ms[-2]) / 1000
    counting.check_kind([before, now])
    if counting.is_counter and (started_anew(window, len(window.times_ms) - 1) or is_reset(now, before)):
        result: NativeHistogram | None = now
    else:
        result = counting.subtract(now, before)
    if result is None or not elapsed:
        return None
    result = result.hinted(ResetHint.GAUGE)
    return result.divided(elapsed) if counting.is_counter else result


def _each(fold: Fold, context: Context, call: Call, windows: Windows) -> Block:
    mixed = MixedWindows(windows)
    warn_of_mixed(context, call, mixed)
    cells = mixed.cells()
    for window in mixed.each((mixed.counts > 0) & ~mixed.mixed):
        counting = Counting(context, call.args[0], mixed.name(window.row), call.name != "delta")
        end = int(windows.ends_ms[window.step])
        cells[window.row, window.step] = _over_window(
            counting, window, (end - windows.span_ms, end), per_second=call.name == "rate"
        )
    return mixed.block(fold(mixed.floats), cells)


def _over_window(
    counting: Counting, window: Window, borders: tuple[int, int], *, per_second: bool
) -> NativeHistogram | None:
    histograms = [one for one in window.histograms if one is not None]
    result = _increase(counting, window, histograms) if len(histograms) > 1 else None
    if len(histograms) > 1 and result is None:
        return None
    start, first, last = window.starts_ms[0], window.times_ms[0], window.times_ms[-1]
    average = (last - first) / (len(histograms) - 1) if len(histograms) > 1 else 0.0
    to_end = _reach(borders[1] - last, average)
    if counting.is_counter and start and borders[0] < start < first:
        # Born in the window: what the first sample counted came after the start.
        result = histograms[0] if result is None else counting.add([result, histograms[0]])
        sampled, to_start = float(last - start), 0.0
    elif result is None:
        return None
    else:
        sampled, to_start = float(last - first), _reach(first - borders[0], average)
        if counting.is_counter and result.count > 0 and histograms[0].count >= 0:
            to_start = min(to_start, sampled * (histograms[0].count / result.count))
    factor = (sampled + to_start + to_end) / sampled
    if per_second:
        factor /= (borders[1] - borders[0]) / 1000
    return result and result.hinted(ResetHint.GAUGE).scaled(factor)


def _reach(distance: float, average: float) -> float:
    """How far to extrapolate towards a border (promql/functions.go, extrapolatedRate)."""
    return average / 2 if distance >= average * 1.1 else distance


def _increase(counting: Counting, window: Window, histograms: list[NativeHistogram]) -> NativeHistogram | None:
    """What was added from the first sample to the last, over resets."""
    counting.check_kind(histograms)
    if not counting.is_counter:
        return counting.subtract(histograms[-1], histograms[0])
    anew = [_began_anew(window, histograms, after) for after in range(1, len(histograms))]
    for after in range(1, len(histograms)):
        before = (window.starts_ms[after - 1], window.times_ms[after - 1])
        if overlaps(before, (window.starts_ms[after], window.times_ms[after])):
            notes.overlap(counting.context, counting.expr, counting.name)
            break
    if anew[0]:
        # The first sample only says that there was a reset behind it: its layout must not stand in the way.
        histograms = [empty_like(histograms[1]), *histograms[1:]]
    if any(one.is_custom != histograms[0].is_custom for one in histograms):
        notes.mixed_schemas(counting.context, counting.expr, counting.name)
        return None
    result = counting.subtract(_coarsest(histograms), histograms[0])
    lost = [one for one, reset in zip(histograms, anew, strict=False) if reset]
    return counting.add([result, *lost]) if lost and result is not None else result


def _coarsest(histograms: list[NativeHistogram]) -> NativeHistogram:
    """The last one in the schema of the coarsest."""
    return with_schema(histograms[-1], min(one.schema for one in histograms))


def _began_anew(window: Window, histograms: list[NativeHistogram], after: int) -> bool:
    return started_anew(window, after) or is_reset(histograms[after], histograms[after - 1])
