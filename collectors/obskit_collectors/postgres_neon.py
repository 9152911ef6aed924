"""Neon: what its API says of an account's projects, whether their computes are awake, and what they used this month.

The API never wakes a compute. A statement does, and one every few minutes keeps it awake: see PostgresSettings.keep_awake.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from pydantic import Field

from obskit.collect import Ask, Book, Check, Feed, Reading, Snapshots, VendorApi, failed, ok, poll
from obskit.errors import CollectorError
from obskit.model.samples import MetricMeta, MetricType
from obskit.model.settings import Duration, Secret, Settings
from obskit.store.interface import Batch
from obskit_collectors.postgres_json import items, number, text

HOSTS: Final = ".neon.tech"
_MOST_PAGES: Final = 50
_PAGE: Final = "100"
_READ_TIMEOUT_MS: Final = 60_000
_CONSUMED: Final = (
    *("compute_unit_seconds", "root_branch_bytes_month", "child_branch_bytes_month", "instant_restore_bytes_month"),
    *("snapshot_storage_bytes_month", "public_network_transfer_bytes", "private_network_transfer_bytes"),
    "extra_branches_month",
)
_COMPUTE_HOUR: Final = {"launch": 0.106, "scale": 0.222}
"""Dollars for a compute unit's hour (neon.com/pricing, 2026-11); another plan has no known price."""
_STORED_GB_MONTH: Final = 0.35
_METADATA: Final = {
    "neon_endpoint_active": MetricMeta(MetricType.GAUGE, "1 while the compute is awake, 0 while it is suspended."),
    "neon_consumption_month_to_date": MetricMeta(MetricType.GAUGE, "What was used this month, by the metric's name."),
    "neon_project_storage_bytes": MetricMeta(MetricType.GAUGE, "Data and history of a project."),
    "obskit_cost_month_to_date_dollars": MetricMeta(MetricType.GAUGE, "This month's costs by the vendor's price list."),
}


class NeonSettings(Settings):
    """`neon:` an account's API."""

    api_key: Secret = Field(description="a key of the organisation, or of one project; read only is not offered")
    org_id: str = Field("", description="the organisation (`org-…`), where the key is a person's")
    projects: list[str] = Field([], max_length=100, description="ids of projects; default: all that the key may see")
    every: Duration = Field(
        240_000, ge=60_000, le=240_000, description="how often to ask; the numbers change every 15 min"
    )
    url: str = Field("https://console.neon.tech/api/v2", description="where the API is")


class NeonReader:
    """One account. `neon_consumption_…` needs a paid plan: on the free one the API refuses it, and the rest is read."""

    def __init__(self, settings: NeonSettings, api: VendorApi) -> None:
        self._settings = settings
        self._api = api
        self._snapshots = Snapshots({"job": "neon"})
        self.book: Book | None = None
        self.consumption_refused = False

    async def read(self, now_ms: int) -> Batch:
        """Projects and computes as they are, and this month's consumption."""
        readings: list[Reading] = []
        projects = [project async for project in self._projects()]
        for project in projects:
            labels = {"project_id": str(project["id"]), "project": text(project.get("name"))}
            readings += _of_project(project, labels)
            answer = await self._json(f"/projects/{quote(labels['project_id'], safe='')}/endpoints")
            readings += _of_endpoints(items(answer, "endpoints"), labels)
        if projects:
            readings += await self._consumption([str(project["id"]) for project in projects], now_ms)
        return Batch(self._snapshots.take(readings, now_ms), metadata=_METADATA)

    async def close(self) -> None:
        """Let the connections go."""
        await self._api.close()

    async def _projects(self) -> AsyncIterator[dict[str, Any]]:
        wanted = set(self._settings.projects)
        params = {"limit": _PAGE} | ({"org_id": self._settings.org_id} if self._settings.org_id else {})
        async for page in self._pages("/projects", params):
            for project in items(page, "projects"):
                if project.get("id") and (not wanted or project["id"] in wanted):
                    yield project

    async def _consumption(self, projects: list[str], now_ms: int) -> list[Reading]:
        month = datetime.fromtimestamp(now_ms / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        params = {
            "from": f"{month:%Y-%m-%dT%H:%M:%SZ}",
            "to": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "granularity": "daily",
            "metrics": ",".join(_CONSUMED),
            "project_ids": ",".join(projects),
            "limit": _PAGE,
        }
        if self._settings.org_id:
            params["org_id"] = self._settings.org_id
        found: list[Reading] = []
        self.consumption_refused = False
        try:
            async for page in self._pages("/consumption_history/v2/projects", params):
                for project in items(page, "projects"):
                    found += _of_consumption(project)
        except CollectorError as error:
            if error.reason != "auth":
                raise
            self.consumption_refused = True  # the free plan: the key was good for the rest a moment ago
        return found

    async def _pages(self, path: str, params: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        """Each page. The list ends where the cursor is missing, or comes again."""
        cursor, seen = "", set[str]()
        for _ in range(_MOST_PAGES):
            page = await self._json(path, {**params, **({"cursor": cursor} if cursor else {})})
            yield page
            pagination = page.get("pagination")
            cursor = text(pagination.get("cursor")) if isinstance(pagination, dict) else ""
            if not cursor or cursor in seen or not page.get("projects"):
                return
            seen.add(cursor)

    async def _json(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        ask = Ask(path, params=params or {})
        answer = await self._api.json(ask, self.book)
        if not isinstance(answer, dict):
            raise CollectorError(f"{self._api.shown(ask)}: the answer is no object", reason="bad_data")
        return answer


def _of_project(project: Mapping[str, Any], labels: dict[str, str]) -> Iterator[Reading]:
    stored = number(project.get("synthetic_storage_size"))
    if stored is not None:
        yield "neon_project_storage_bytes", labels, stored


def _of_endpoints(endpoints: list[dict[str, Any]], labels: dict[str, str]) -> Iterator[Reading]:
    for endpoint in endpoints:
        of = {**labels, "endpoint_id": text(endpoint.get("id")), "type": text(endpoint.get("type"))}
        state = endpoint.get("current_state")
        if state in ("active", "idle"):  # `init` and what may come: neither awake nor asleep
            yield "neon_endpoint_active", of, float(state == "active")
        for key, metric in (
            ("autoscaling_limit_max_cu", "neon_endpoint_max_compute_units"),
            ("suspend_timeout_seconds", "neon_endpoint_suspend_timeout_seconds"),
        ):
            value = number(endpoint.get(key))
            if value is not None:
                yield metric, of, value


def _of_consumption(project: Mapping[str, Any]) -> Iterator[Reading]:
    """Sums of the month. Days of no use are left out by the API, and so count as none."""
    sums: dict[str, float] = {}
    plan = ""
    for period in items(project, "periods"):
        plan = str(period.get("period_plan") or plan).lower()
        for day in items(period, "consumption"):
            for metric in items(day, "metrics"):
                value = number(metric.get("value"))
                if value is not None:
                    name = text(metric.get("metric_name"))
                    sums[name] = sums.get(name, 0.0) + value
    id_ = text(project.get("project_id"))
    for name, value in sums.items():
        yield "neon_consumption_month_to_date", {"project_id": id_, "metric": name}, value
    price = _COMPUTE_HOUR.get(plan)
    if price is not None and sums:
        of = {"vendor": "neon", "project_id": id_}
        compute = sums.get("compute_unit_seconds", 0.0) / 3600 * price
        stored = sums.get("root_branch_bytes_month", 0.0) + sums.get("child_branch_bytes_month", 0.0)
        yield "obskit_cost_month_to_date_dollars", {**of, "item": "compute"}, compute
        yield "obskit_cost_month_to_date_dollars", {**of, "item": "storage"}, stored / 1e9 * _STORED_GB_MONTH


class NeonCollector:
    """Polls one account, and books what it asks."""

    def __init__(self, settings: NeonSettings, name: str) -> None:
        self.name = name
        self._target = settings.url
        self._reader = NeonReader(settings, neon_api(settings))
        self._poll = poll(
            self._reader.read,
            name=name,
            target=settings.url,
            every_ms=settings.every,
            timeout_ms=_READ_TIMEOUT_MS,
            close=self._reader.close,
        )

    async def run(self, feed: Feed) -> None:
        """Poll until cancelled."""
        self._reader.book = feed.book(self._target)
        await self._poll.run(feed)

    async def once(self, feed: Feed) -> None:
        """Poll once."""
        self._reader.book = feed.book(self._target)
        await self._poll.once(feed)


def neon_api(settings: NeonSettings) -> VendorApi:
    """The API, with its key."""
    return VendorApi(
        settings.url,
        authorization=Secret(f"Bearer {settings.api_key.reveal()}"),
        fix="make a key in the Neon console: Organization settings, API keys",
    )


async def examine_neon(settings: NeonSettings, now_ms: int) -> list[Check]:
    """What the key opens."""
    reader = NeonReader(settings, neon_api(settings))
    try:
        batch = await reader.read(now_ms)
    except CollectorError as error:
        fix = "make a key in the Neon console (Organization settings, API keys) and set neon.api_key"
        return [failed(str(error), fix if error.reason == "auth" else "check neon.url, neon.org_id and the network")]
    finally:
        await reader.close()
    if not len(batch.samples):
        return [failed("Neon shows no project", "set neon.org_id, or correct neon.projects")]
    checks = [ok(f"Neon answers: {len(batch.samples)} samples")]
    if reader.consumption_refused:
        checks.append(ok("Neon's consumption is for paid plans (or the key may not see it); the rest is read"))
    return checks
