"""What is stored: R2 of the account and of each bucket, D1 databases and KV namespaces, and what R2's bytes cost a month.

Sizes change slowly and are told by the hour: the newest hour counts. What operations cost is told by the analytics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import Field

from obskit.clock import Clock
from obskit.collect import Ask, Book, Check, Collector, Snapshots, failed, ok
from obskit.collect.snapshots import Reading
from obskit.errors import CollectorError
from obskit.model.labels import NAME, Labels
from obskit.model.samples import MetricMeta, MetricType
from obskit.model.settings import Duration, Settings
from obskit.store.interface import Batch
from obskit_collectors.cloudflare_account import Account, AccountApi
from obskit_collectors.cloudflare_analytics import ACCOUNT_FIX, check_node
from obskit_collectors.cloudflare_graphql import GraphQl
from obskit_collectors.cloudflare_nodes import Measure, Node, described
from obskit_collectors.cloudflare_polled import Polled
from obskit_collectors.cloudflare_rows import Rows, Scope
from obskit_collectors.cloudflare_values import number

PERMISSION: Final = "Workers R2 Storage: Read"
SPAN_MS: Final = 24 * 3_600_000
FREE_GB: Final = 10.0
_CLASSES: Final = {"standard": ("standard", 0.015), "infrequentAccess": ("infrequent_access", 0.01)}
"""R2's classes of storage, how we call them, and dollars for a GB and month above what is free."""

NODES: Final = (
    Node(
        "r2",
        "r2StorageAdaptiveGroups",
        {"bucketName": "bucket", "storageClass": "storage_class"},
        gauges=(
            Measure("cloudflare_r2_bucket_bytes", "max.payloadSize"),
            Measure("cloudflare_r2_bucket_objects", "max.objectCount"),
            Measure("cloudflare_r2_bucket_unfinished_uploads", "max.uploadCount"),
        ),
        moment="datetimeHour",
    ),
    Node(
        "d1",
        "d1StorageAdaptiveGroups",
        {"databaseId": "database"},
        gauges=(Measure("cloudflare_d1_database_size_bytes", "max.databaseSizeBytes"),),
        time="datetimeHour",
        moment="datetimeHour",
    ),
    Node(
        "kv",
        "kvStorageAdaptiveGroups",
        {"namespaceId": "namespace"},
        gauges=(
            Measure("cloudflare_kv_bytes", "max.byteCount"),
            Measure("cloudflare_kv_keys", "max.keyCount"),
        ),
        moment="datetimeHour",
    ),
)
METADATA: Final = {
    "cloudflare_r2_objects": MetricMeta(MetricType.GAUGE, "Objects in R2, by class and state."),
    "cloudflare_r2_storage_bytes": MetricMeta(MetricType.GAUGE, "Bytes in R2, by class and state."),
    "cloudflare_r2_storage_dollars_per_month": MetricMeta(
        MetricType.GAUGE, "What these bytes cost a month, above what is free."
    ),
}


class StorageSettings(Settings):
    """`storage:` of the account."""

    names: dict[str, str] = Field({}, description="names for ids of databases and namespaces")
    every: Duration = Field(240_000, ge=60_000, description="how often to ask; above 5m series have gaps")


class AccountStorage:
    """R2's own word on the whole account."""

    def __init__(self, account: Account, api: AccountApi) -> None:
        self._api = api
        self._snapshots = Snapshots({"account": account.name} if account.name else {})

    async def read(self, now_ms: int, book: Book | None = None) -> Batch:
        """What there is now."""
        readings = _r2_readings(await self._api.result(Ask("/r2/metrics"), book))
        return Batch(self._snapshots.take(readings, now_ms), metadata=METADATA)


class ProductStorage:
    """The newest hour that analytics tell of each bucket, database and namespace."""

    def __init__(self, account: Account, rows: Rows, names: Mapping[str, str]) -> None:
        self._rows = rows
        self._names = names
        self._snapshots = Snapshots({"account": account.name} if account.name else {})

    async def read(self, now_ms: int, book: Book | None = None) -> Batch:
        """What there is now."""
        found = await self._rows.read((now_ms - SPAN_MS, now_ms), now_ms, book)
        newest: dict[Labels, tuple[int, float]] = {}
        for node in NODES:
            for at_ms, labels, value in node.rows(node.gauges, found.get(node.alias, []), {}):
                if labels not in newest or newest[labels][0] < at_ms:
                    newest[labels] = (at_ms, value)
        return Batch(self._snapshots.take(self._readings(newest), now_ms), metadata=described(NODES))

    def _readings(self, newest: Mapping[Labels, tuple[int, float]]) -> Iterator[Reading]:
        for labels, (_, value) in newest.items():
            named = {key: self._names.get(word, word) for key, word in labels.items() if key != NAME}
            yield labels[NAME], named, value


def build_parts(account: Account, settings: StorageSettings) -> Sequence[Collector]:
    """A poll of each of the two APIs: a token may lack one of them."""
    api = account.api(PERMISSION)
    rows = _rows(account)
    whole, products = AccountStorage(account, api), ProductStorage(account, rows, settings.names)
    return [
        Polled(account, "r2", settings.every, read=whole.read, close=api.close),
        Polled(account, "storage", settings.every, read=products.read, close=rows.close),
    ]


async def checks(account: Account, _: StorageSettings, clock: Clock) -> Sequence[Check]:
    """Both APIs, and each node alone."""
    api, rows = account.api(PERMISSION), _rows(account)
    now_ms = clock.now_ms()
    try:
        found = [await check_node(rows, node, f"storage: {node.field}", (now_ms - SPAN_MS, now_ms)) for node in NODES]
        await AccountStorage(account, api).read(now_ms)
    except CollectorError as error:
        return [*found, failed(f"storage: {error}", api.fix)]
    finally:
        await api.close()
        await rows.close()
    return [*found, ok("storage: R2's metrics can be read")]


def _rows(account: Account) -> Rows:
    return Rows(GraphQl(account, ACCOUNT_FIX), Scope("accounts", account.id, ACCOUNT_FIX, NODES, {}))


def _r2_readings(result: Any) -> list[Reading]:
    """Bytes and objects by class and state; dollars of what is above the free part, if anything is known at all."""
    readings: list[Reading] = []
    held = dict.fromkeys(_CLASSES, 0.0)
    for key, (name, _) in _CLASSES.items():
        for state in ("published", "uploaded"):
            told = _part(_part(result, key), state)
            labels = {"storage_class": name, "state": state}
            objects, payload = number(told.get("objects")), number(told.get("payloadSize"))
            if objects is not None:
                readings.append(("cloudflare_r2_objects", labels, objects))
            if payload is not None:
                held[key] += payload + (number(told.get("metadataSize")) or 0.0)
                readings.append(("cloudflare_r2_storage_bytes", labels, payload))
    if readings:
        free_gb = {"standard": FREE_GB}
        dollars = sum(max(0.0, held[key] / 1e9 - free_gb.get(key, 0.0)) * price for key, (_, price) in _CLASSES.items())
        readings.append(("cloudflare_r2_storage_dollars_per_month", {}, dollars))
    return readings


def _part(value: Any, key: str) -> Mapping[str, Any]:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}
