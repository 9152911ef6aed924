"""The collector `prometheus`: one job of `scrape_configs`. It runs discovery, and scrapes each target at its own points.

Settings and targets are in prometheus_targets.py, what becomes of a page in prometheus_series.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from obskit.clock import Clock
from obskit.collect import Check, Collector, Feed, Kind, failed, ok, within
from obskit.collect.polling import Schedule
from obskit.errors import CollectorError
from obskit.model.exposition import Exposition, ExpositionError
from obskit.store.interface import Batch
from obskit_collectors.prometheus_discovery import (
    Discovery,
    DnsDiscovery,
    FileDiscovery,
    HttpDiscovery,
    TargetGroup,
)
from obskit_collectors.prometheus_http import Client, Page
from obskit_collectors.prometheus_series import TargetSeries
from obskit_collectors.prometheus_targets import MEDIA_TYPES, ScrapeSettings, Target, targets_of

ACCEPT: Final = (
    "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
_KNOWN_TYPES: Final = ("text/plain", "application/openmetrics-text")
PAGE_SAMPLES: Final = 200_000
"""A page of short lines under the byte limit could still hold a million series, at some 800 bytes of memory each."""
_THREAD_BYTES: Final = 1_000_000
"""Pages larger than this are parsed in a thread: a megabyte takes about 10 ms, and alerts must not wait for it."""
_DISCOVERY_TIMEOUT_S: Final = 10.0
_END_TIMEOUT_S: Final = 5.0


class Scrape:
    """One target: fetches its page and keeps its series."""

    def __init__(self, target: Target, settings: ScrapeSettings, client: Client) -> None:
        self.target = target
        self._settings = settings
        self._client = client
        self._series = TargetSeries(target.labels, settings.page_rules())
        self._schedule = Schedule(target.interval_ms, f"{target.url} {target.labels}")

    async def run(self, feed: Feed) -> None:
        """Scrape at fixed points, for ever. The first scrape comes within a second of the start.

        As with Prometheus, a target that fails is asked at the same rhythm: `up` is a signal, and must not thin out.
        """
        spread_ms = self._schedule.offset_ms % min(1000, self.target.interval_ms)
        await feed.clock.sleep(spread_ms / 1000)
        due_ms = feed.clock.now_ms()
        while True:
            await self.once(feed, due_ms)
            due_ms = await self._schedule.wait(feed.clock)

    async def once(self, feed: Feed, due_ms: int) -> CollectorError | None:
        """Scrape and append, as of `due_ms` when that is now; the error, if the scrape failed."""
        clock, book = feed.clock, feed.book(self.target.title)
        started, now_ms = clock.monotonic(), self._stamp(clock.now_ms(), due_ms)
        problem = None
        try:
            with book.call():
                page = await within(clock, self.target.timeout_ms / 1000, self._fetch())
                exposition = await self._parse(page, now_ms)
                batch = self._series.read(exposition, now_ms, clock.monotonic() - started)
        except CollectorError as error:
            problem = error
            batch = self._series.fail(now_ms, clock.monotonic() - started)
        if problem is None and self._series.duplicates:
            book.dropped(self._series.duplicates, "duplicate")
        await feed.append(batch, self.target.title)
        return problem

    def end(self, now_ms: int) -> Batch:
        """The stale markers of a target that is gone."""
        return self._series.end(now_ms)

    async def probe(self, clock: Clock) -> int:
        """Fetch and parse once; how many samples there are. CollectorError when that fails."""
        page = await within(clock, self.target.timeout_ms / 1000, self._fetch())
        return len((await self._parse(page, clock.now_ms())).values)

    def _stamp(self, now_ms: int, due_ms: int) -> int:
        """The point that was due, when we are nearly on it: even intervals compress well (as prometheus' scrape.go)."""
        tolerance_ms = max(2, self.target.interval_ms // 100)
        return due_ms if 0 <= now_ms - due_ms <= tolerance_ms else now_ms

    async def _fetch(self) -> Page:
        return await self._client.get(
            self.target.url,
            params=self.target.params or None,
            headers={
                "Accept": ACCEPT,
                "X-Prometheus-Scrape-Timeout-Seconds": f"{self.target.timeout_ms / 1000:g}",
            },
            limit_bytes=self._settings.body_size_limit,
        )

    async def _parse(self, page: Page, now_ms: int) -> Exposition:
        """The samples. Outside the deadline, because a thread at work on the parser's memory cannot be cancelled."""
        content_type = self._content_type(page)
        samples = page.body.count(b"\n") - page.body.count(b"\n#")
        if samples > PAGE_SAMPLES:
            message = f"the page has {samples} samples, more than {PAGE_SAMPLES}: split the target, or expose less"
            raise CollectorError(message, reason="bad_data")
        try:
            if len(page.body) > _THREAD_BYTES:
                return await asyncio.to_thread(self._series.parser.parse, page.body, content_type, now_ms=now_ms)
            return self._series.parser.parse(page.body, content_type, now_ms=now_ms)
        except ExpositionError as error:
            raise CollectorError(str(error), reason="bad_data") from None

    def _content_type(self, page: Page) -> str:
        """What the page is; Prometheus 3 refuses to guess, so do we."""
        if page.content_type.partition(";")[0].strip().lower() in _KNOWN_TYPES:
            return page.content_type
        fallback = MEDIA_TYPES.get(self._settings.fallback_scrape_protocol)
        if fallback is None:
            said = f'Content-Type "{page.content_type}"' if page.content_type else "no Content-Type"
            raise CollectorError(
                f"the page has {said}: set fallback_scrape_protocol: PrometheusText0.0.4 if it is one",
                reason="bad_data",
            )
        return fallback


class ScrapeJob:
    """One job: discoveries give targets, each target is a task. A failed discovery leaves its targets as they were."""

    def __init__(self, settings: ScrapeSettings) -> None:
        self.name = f"prometheus/{settings.job_name}"
        self._settings = settings
        self._static = [TargetGroup(group.targets, group.labels) for group in settings.static_configs]

    async def run(self, feed: Feed) -> None:
        """Discover and scrape until cancelled."""
        static = targets_of(self._settings, self._static)
        client = Client(self._settings.access())
        running = _Running(self._settings, client, feed)
        groups: dict[Discovery, Sequence[TargetGroup]] = {}
        try:
            async with asyncio.TaskGroup() as tasks:
                await running.change(static, tasks)
                for discovery in self._discoveries():
                    groups[discovery] = ()
                    tasks.create_task(self._discover(discovery, groups, running, tasks))
        finally:
            await client.close()
            if feed.retired:
                await within(feed.clock, _END_TIMEOUT_S, running.end_all())

    async def once(self, feed: Feed) -> None:
        """Discover, and scrape every target at the same time. Raises the first failure, after all have answered."""
        client = Client(self._settings.access())
        try:
            groups, failures = await self._discover_once(client, feed.clock)
            for title, problem in failures.items():
                feed.book(title).failure(problem, 0.0)
            now_ms = feed.clock.now_ms()
            scrapes = [Scrape(target, self._settings, client) for target in targets_of(self._settings, groups)]
            ends = await asyncio.gather(*(scrape.once(feed, now_ms) for scrape in scrapes))
        finally:
            await client.close()
        titles = [scrape.target.title for scrape in scrapes]
        for title, end in (*failures.items(), *zip(titles, ends, strict=True)):
            if end is not None:
                raise CollectorError(f"{title}: {end}", reason=end.reason)

    async def checks(self, clock: Clock) -> list[Check]:
        """What a doctor sees: each discovery that fails, each target."""
        try:
            client = Client(self._settings.access())
        except CollectorError as error:
            return [failed(str(error), "correct the files named in tls_config")]
        try:
            groups, failures = await self._discover_once(client, clock)
            scrapes = [Scrape(target, self._settings, client) for target in targets_of(self._settings, groups)]
            found = list(await asyncio.gather(*(_check(scrape, clock) for scrape in scrapes)))
        except CollectorError as error:
            return [failed(str(error), _FIXES["config"])]
        finally:
            await client.close()
        found += [failed(f"{title}: {problem}", "mend what it names") for title, problem in failures.items()]
        return found or [failed(f"{self.name} has no target", "look at its relabel_configs and discovery")]

    def _discoveries(self) -> list[Discovery]:
        return [
            *map(FileDiscovery, self._settings.file_sd_configs),
            *map(HttpDiscovery, self._settings.http_sd_configs),
            *map(DnsDiscovery, self._settings.dns_sd_configs),
        ]

    async def _discover_once(self, client: Client, clock: Clock) -> tuple[list[TargetGroup], dict[str, CollectorError]]:
        """Every group that could be read, and the failures by title."""
        groups, failures = list(self._static), {}
        for discovery in self._discoveries():
            try:
                groups += await within(clock, _DISCOVERY_TIMEOUT_S, discovery.read(client.json))
            except CollectorError as error:
                failures[discovery.title] = error
        return groups, failures

    async def _discover(
        self,
        discovery: Discovery,
        groups: dict[Discovery, Sequence[TargetGroup]],
        running: _Running,
        tasks: asyncio.TaskGroup,
    ) -> None:
        clock, book = running.feed.clock, running.feed.book(discovery.title)
        while True:
            wait_s = discovery.every_ms / 1000
            try:
                with book.call():
                    groups[discovery] = await within(clock, _DISCOVERY_TIMEOUT_S, discovery.read(running.client.json))
                    everything = [*self._static, *(group for found in groups.values() for group in found)]
                    targets = targets_of(self._settings, everything)
                await running.change(targets, tasks)
            except CollectorError as error:
                wait_s = max(wait_s, error.retry_after or 0.0)
            await clock.sleep(wait_s)


class _Running:
    """The targets that are being scraped."""

    def __init__(self, settings: ScrapeSettings, client: Client, feed: Feed) -> None:
        self.feed = feed
        self.client = client
        self._settings = settings
        self._scrapes: dict[Target, tuple[Scrape, asyncio.Task[None]]] = {}

    async def change(self, targets: Sequence[Target], tasks: asyncio.TaskGroup) -> None:
        """Start what is new, end what is gone; what stays is not touched."""
        for target in targets:
            if target not in self._scrapes:
                scrape = Scrape(target, self._settings, self.client)
                self._scrapes[target] = (scrape, tasks.create_task(scrape.run(self.feed), name=target.title))
        # All are taken out before the first is waited for: another discovery may change the targets meanwhile.
        leaving = [self._scrapes.pop(target) for target in self._scrapes.keys() - set(targets)]
        for scrape, task in leaving:
            await self._end(scrape, task)

    async def end_all(self) -> None:
        """The job itself is gone."""
        while self._scrapes:
            await self._end(*self._scrapes.popitem()[1])

    async def _end(self, scrape: Scrape, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait([task])
        await self.feed.append(scrape.end(self.feed.clock.now_ms()), scrape.target.title)
        self.feed.close_book(scrape.target.title)


async def _check(scrape: Scrape, clock: Clock) -> Check:
    title = scrape.target.title
    try:
        count = await scrape.probe(clock)
    except CollectorError as error:
        return failed(f"{title}: {error}", _FIXES.get(error.reason, f"look at the service behind {title}"))
    return ok(f"{title} gives {count} samples")


_FIXES: Final = {
    "network": "start the service, or correct its address in static_configs",
    "timeout": "raise scrape_timeout, or make the page faster",
    "auth": "correct authorization or basic_auth of the job",
    "config": "correct metrics_path, scheme or params of the job",
    "bad_data": "correct the page, or the limits of the job",
}


def build(settings: ScrapeSettings) -> Collector:
    """The collector of one job."""
    return ScrapeJob(settings)


async def doctor(settings: ScrapeSettings, clock: Clock) -> Sequence[Check]:
    """Scrapes every target once."""
    return await ScrapeJob(settings).checks(clock)


KIND: Final = Kind(ScrapeSettings, build, doctor)
