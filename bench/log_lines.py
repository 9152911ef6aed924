"""Log lines as Fly and Cloudflare send them, one day of them: JSON of apps, access lines of proxies, plain text of workers.

About 300 bytes a line; six apps in three regions and an edge; levels and trace ids as metadata where their sources give
them so. The same seed makes the same lines.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from obskit.model.labels import Labels
from obskit.model.records import NO_METADATA
from obskit.store.log_interface import Records

DAY_NS = 86_400_000_000_000
REGIONS = ("fra", "iad", "sin")
APPS = ("shop-web", "shop-api", "shop-worker", "auth", "search", "billing")
AGENTS = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Version/18.6 Mobile/15E148 Safari/604.1",
    "python-httpx/0.28.1",
    "Go-http-client/2.0",
)
ROUTES = (
    "/api/orders/%d",
    "/api/cart/%d",
    "/products/%d",
    "/search?q=shoes&page=%d",
    "/login?next=%d",
    "/healthz?n=%d",
)
JOBS = ("send_receipt", "resize_image", "sync_stock", "charge_card", "index_product")
LEVELS = ("info",) * 16 + ("debug",) * 2 + ("warn", "error")
LEVEL_METADATA = {level: {"level": level} for level in set(LEVELS)}


class LogLines:
    """`batches(lines, size)` gives Records; `traces` are some trace ids that are in them, each in a few lines."""

    def __init__(self, seed: int = 1, start_ns: int = 1_790_899_200 * 10**9) -> None:
        self.start_ns = start_ns
        self.traces: list[str] = []
        self._random = random.Random(seed)
        self._streams = {
            (app, region): Labels({"source": "fly", "app": app, "region": region}) for app in APPS for region in REGIONS
        }
        self._edge = Labels({"source": "cloudflare", "dataset": "http_requests", "zone": "shop.example"})
        self._trace, self._left = "", 0

    def batches(self, lines: int, size: int = 2_000) -> Iterator[Records]:
        """Lines spread evenly over a day, in batches of one size."""
        step_ns = DAY_NS // lines
        for start in range(0, lines, size):
            yield self.batch(self.start_ns + start * step_ns, min(size, lines - start), step_ns)

    def batch(self, t_ns: int, count: int, step_ns: int) -> Records:
        """Some lines from a time on."""
        records = Records()
        pick = self._random.random
        kinds: tuple[tuple[float, Callable[[Records, int], None]], ...] = (
            (0.5, self._app), (0.75, self._proxy), (0.9, self._edge_request), (1.1, self._worker),
        )  # fmt: skip
        for number in range(count):
            chance = pick()
            make = next(make for limit, make in kinds if chance < limit)
            make(records, t_ns + number * step_ns)
        return records

    def _trace_id(self) -> str:
        if not self._left:
            self._trace, self._left = f"{self._random.getrandbits(128):032x}", 1 + int(self._random.random() * 6)
            if self._random.random() < 0.0005:
                self.traces.append(self._trace)
        self._left -= 1
        return self._trace

    def _app(self, records: Records, t_ns: int) -> None:
        rnd = self._random
        n, level = rnd.getrandbits(17), LEVELS[rnd.getrandbits(16) % 20]
        app = APPS[n % 3]
        line = (
            f'{{"time":"{_stamp(t_ns)}","level":"{level}","logger":"{app.replace("-", ".")}.orders","msg":"order {n} '
            f'charged","route":"{ROUTES[n % 3] % n}","method":"POST","status":{200 if level == "info" else 500},'
            f'"duration_ms":{rnd.getrandbits(14) / 16:.2f},"user_id":{rnd.getrandbits(20)},"trace_id":"{self._trace_id()}",'
            f'"span_id":"{rnd.getrandbits(64):016x}","release":"2026.10.1-4f2a91c"}}'
        )
        records.add(self._streams[app, REGIONS[n % 7 % 3]], t_ns, line, LEVEL_METADATA[level])

    def _proxy(self, records: Records, t_ns: int) -> None:
        rnd = self._random
        n = rnd.getrandbits(17)
        app, region = APPS[n % 4], REGIONS[n % 5 % 3]
        line = (
            f'{rnd.getrandbits(8)}.{rnd.getrandbits(8)}.12.7 - - [02/Oct/2026:{_stamp(t_ns)[11:19]} +0000] "GET '
            f'{ROUTES[n % 6] % n} HTTP/2.0" {200 if n % 50 else 502} {rnd.getrandbits(15)} "https://shop.example/" '
            f'"{AGENTS[n % 4]}" rt={rnd.getrandbits(10) / 1000:.3f} id=01K{rnd.getrandbits(80):020X}-{region}'
        )
        records.add(self._streams[app, region], t_ns, line)

    def _edge_request(self, records: Records, t_ns: int) -> None:
        rnd = self._random
        n = rnd.getrandbits(17)
        line = (
            f'{{"RayID":"{rnd.getrandbits(64):016x}","EdgeStartTimestamp":"{_stamp(t_ns)}","ClientIP":"{rnd.getrandbits(8)}.'
            f'{rnd.getrandbits(8)}.{rnd.getrandbits(8)}.9","ClientRequestHost":"shop.example","ClientRequestMethod":"GET",'
            f'"ClientRequestURI":"{ROUTES[n % 6] % n}","EdgeResponseStatus":{200 if n % 40 else 522},"EdgeColoCode":"FRA",'
            f'"CacheCacheStatus":"{"hit" if n % 3 else "dynamic"}","EdgeResponseBytes":{rnd.getrandbits(16)},'
            f'"OriginResponseDurationMs":{rnd.getrandbits(10)}}}'
        )
        records.add(self._edge, t_ns, line, NO_METADATA)

    def _worker(self, records: Records, t_ns: int) -> None:
        rnd = self._random
        n, level = rnd.getrandbits(17), LEVELS[rnd.getrandbits(16) % 20]
        job = JOBS[n % 5]
        line = (
            f"{_stamp(t_ns)} [{level.upper():5}] celery.worker.strategy: Task tasks.{job}[{rnd.getrandbits(32):08x}-"
            f"{rnd.getrandbits(16):04x}-4{rnd.getrandbits(12):03x}-9{rnd.getrandbits(12):03x}-{rnd.getrandbits(48):012x}] "
            f"{'succeeded' if level != 'error' else 'raised TimeoutError'} in {rnd.getrandbits(12) / 100:.2f}s: queue="
            f"{'default' if n % 4 else 'bulk'} attempt={n % 3} worker=celery@{n % 4:04d}-shop-worker host=3287e1ddb41d8{n % 8}"
        )
        metadata = {"level": level, "trace_id": self._trace_id()} if n % 2 else LEVEL_METADATA[level]
        records.add(self._streams["shop-worker", REGIONS[n % 3]], t_ns, line, metadata)


def _stamp(t_ns: int) -> str:
    """Time of day in milliseconds; the date is always the generator's day."""
    seconds, ms = divmod(t_ns // 1_000_000 % 86_400_000, 1000)
    return f"2026-10-02T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{ms:03d}Z"
