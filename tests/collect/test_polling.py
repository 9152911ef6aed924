from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.collect import Captured, Feed, PartialReadError, poll, within
from obskit.collect.polling import Schedule, backoff_s
from obskit.errors import CollectorError
from obskit.model.labels import Labels
from obskit.store.interface import Batch, Samples
from obskit.testing.clock import FakeClock, run

SERIES = Labels({"__name__": "depth"})


def batch(now_ms: int, value: float = 1.0) -> Batch:
    return Batch(Samples([SERIES], [now_ms], [value]))


class Reads:
    """A source that follows a script: a float is a value, an exception is raised, None never answers."""

    def __init__(self, clock: FakeClock, *script: float | CollectorError | None) -> None:
        self.clock = clock
        self.script = list(script)
        self.times: list[float] = []
        self.closed = 0

    async def __call__(self, now_ms: int) -> Batch:
        self.times.append(self.clock.monotonic())
        step = self.script.pop(0) if self.script else 1.0
        if isinstance(step, CollectorError):
            raise step
        if step is None:
            await asyncio.Event().wait()
        return batch(now_ms, step or 0.0)

    async def close(self) -> None:
        self.closed += 1


def run_for(reads: Reads, seconds: float, every_ms: int = 10_000) -> Captured:
    captured = Captured()

    async def scenario() -> None:
        collector = poll(reads, name="polled", target="t", every_ms=every_ms, close=reads.close)
        task = asyncio.create_task(collector.run(Feed("polled", captured, reads.clock)))
        await reads.clock.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario(), reads.clock)
    return captured


def test_it_reads_at_once_and_then_at_its_own_points_of_the_interval() -> None:
    clock = FakeClock()
    reads = Reads(clock)
    captured = run_for(reads, 60)
    first, *rest = [sample.t_ms for sample in captured.samples]
    assert first == 1_700_000_000_000
    assert {t % 10_000 for t in rest} == {Schedule(10_000, "polled t").offset_ms}
    assert len(rest) in (5, 6)


def test_a_restart_keeps_the_rhythm() -> None:
    early, late = FakeClock(), FakeClock(1_700_000_003_333)
    points = [{s.t_ms % 10_000 for s in run_for(Reads(clock), 60).samples[1:]} for clock in (early, late)]
    assert points[0] == points[1]


def test_a_source_that_fails_is_left_alone_for_longer_and_longer_up_to_a_minute() -> None:
    clock = FakeClock()
    reads = Reads(clock, *(CollectorError("refused", reason="network") for _ in range(30)))
    run_for(reads, 600)
    pauses = [after - before for before, after in zip(reads.times, reads.times[1:], strict=False)]
    assert pauses[1] < pauses[2] < pauses[3]
    assert max(pauses) <= 75


def test_it_comes_back_to_its_rhythm_after_a_success() -> None:
    clock = FakeClock()
    reads = Reads(clock, *(CollectorError("refused", reason="network") for _ in range(4)))
    run_for(reads, 300)
    assert reads.times[-1] - reads.times[-2] == 10


def test_it_stays_away_as_long_as_the_source_asks() -> None:
    clock = FakeClock()
    reads = Reads(clock, CollectorError("slow down", reason="rate_limited", retry_after=95))
    run_for(reads, 200)
    assert reads.times[1] >= 95


def test_a_budget_stretches_its_rhythm() -> None:
    clock = FakeClock()
    reads = Reads(clock)

    async def scenario() -> None:
        collector = poll(reads, name="polled", target="t", every_ms=10_000).paced(lambda: 95.0)
        task = asyncio.create_task(collector.run(Feed("polled", Captured(), clock)))
        await clock.sleep(1000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario(), clock)
    gaps = [after - before for before, after in itertools.pairwise(reads.times)]
    assert len(gaps) >= 8
    assert min(gaps) >= 95
    assert max(gaps) <= 105


def test_a_source_cannot_keep_it_away_for_ever() -> None:
    clock = FakeClock()
    reads = Reads(clock, CollectorError("slow down", reason="rate_limited", retry_after=1e300))
    run_for(reads, 3700)
    assert 3600 <= reads.times[1] <= 3620


def test_a_read_that_never_answers_ends_at_its_deadline() -> None:
    clock = FakeClock()
    reads = Reads(clock, None)
    captured = run_for(reads, 40)
    assert reads.times[1] >= 10
    assert captured.samples


def test_what_a_failed_read_leaves_behind_is_stored() -> None:
    clock = FakeClock()
    reads = Reads(clock, PartialReadError("down", batch(7, 0.0), reason="network"))
    captured = run_for(reads, 30)
    assert [sample.value for sample in captured.samples][:2] == [0, 1]


def test_it_closes_what_it_opened_when_it_is_cancelled() -> None:
    reads = Reads(FakeClock())
    run_for(reads, 5)
    assert reads.closed == 1


def test_a_wall_clock_that_jumps_back_does_not_stop_the_reads() -> None:
    clock = FakeClock()
    reads = Reads(clock)
    captured = Captured()

    async def scenario() -> None:
        collector = poll(reads, name="polled", target="t", every_ms=10_000)
        task = asyncio.create_task(collector.run(Feed("polled", captured, clock)))
        await clock.sleep(30)
        clock.set_wall(1_600_000_000_000)
        await clock.sleep(60)
        task.cancel()

    run(scenario(), clock)
    assert len(reads.times) >= 8


def test_within_gives_the_result_or_the_error_of_the_work() -> None:
    clock = FakeClock()

    async def answers() -> str:
        return "done"

    async def fails() -> None:
        raise CollectorError("no", reason="auth")

    async def scenario() -> None:
        assert await within(clock, 5, answers()) == "done"
        with pytest.raises(CollectorError, match="no"):
            await within(clock, 5, fails())

    run(scenario(), clock)


def test_within_cancels_the_work_when_it_is_cancelled_itself() -> None:
    clock = FakeClock()
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def scenario() -> None:
        task = asyncio.create_task(within(clock, 1000, work()))
        await clock.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario(), clock)
    assert ended == [True]


@given(st.integers(1, 3_600_000), st.integers(0, 2**42), st.text(max_size=8))
def test_the_next_point_is_half_to_one_and_a_half_intervals_away(every_ms: int, now_ms: int, key: str) -> None:
    schedule = Schedule(every_ms, key)
    due = schedule.after(now_ms)
    assert due % every_ms == schedule.offset_ms
    assert every_ms // 2 <= due - now_ms < every_ms * 1.5


@given(st.integers(1, 1000), st.floats(0.1, 3600), st.none() | st.floats(0, 86400))
def test_backoff_never_undercuts_the_source_and_ends_somewhere(
    failures: int, every_s: float, retry_after: float | None
) -> None:
    pause = backoff_s(failures, every_s, retry_after)
    assert pause >= (retry_after or 0)
    assert pause <= max(60, every_s, retry_after or 0)
