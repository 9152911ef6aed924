"""Fakes of Cloudflare's products over REST: queues, R2, AI Gateway, Workers' deployments and builds, notifications.

Each brings its routes to a FakeCloudflare and keeps plain dictionaries, as the API answers them, for a test to change.
"""

from __future__ import annotations

import json
from typing import Any, Final

from obskit.testing.cloudflare import Asked, DeniedError, FakeCloudflare, Listed, Route

QUEUES: Final = "Queues Read"
R2: Final = "Workers R2 Storage Read"
AI_GATEWAY: Final = "AI Gateway Read"
SCRIPTS: Final = "Workers Scripts Read"
BUILDS: Final = "Workers CI Read"
WEBHOOK_SECRET: Final = "fake-cloudflare-webhook-secret"
_NO_QUEUE: Final = 10104


class FakeQueues:
    """`queues` by id, `metrics` by id. An empty queue, and now and then a full one, has no time of its oldest message."""

    def __init__(self, cloudflare: FakeCloudflare) -> None:
        self.queues: dict[str, dict[str, Any]] = {}
        self.metrics: dict[str, dict[str, Any]] = {}
        may = frozenset({QUEUES})
        cloudflare.serve(
            Route("GET", "/queues", may, self._list),
            Route("GET", "/queues/(?P<id>[^/]+)/metrics", may, self._metrics),
        )

    def add(
        self, name: str, *, backlog: int = 0, oldest_ms: int = 0, dead_letters: str = "", paused: bool = False
    ) -> str:
        """A queue with one consumer, whose dead letters go to the queue of this name. Its id."""
        id = f"{len(self.queues):032x}"  # noqa: A001 - the queue's
        consumer = {"type": "worker", "script_name": f"{name}-consumer"}
        if dead_letters:
            consumer["dead_letter_queue"] = dead_letters
        self.queues[id] = {
            "queue_id": id,
            "queue_name": name,
            "producers_total_count": 1,
            "consumers_total_count": 1,
            "consumers": [consumer],
            "settings": {"delivery_delay": 0, "delivery_paused": paused, "message_retention_period": 345600},
        }
        self.metrics[id] = {
            "backlog_count": backlog,
            "backlog_bytes": backlog * 500,
            "oldest_message_timestamp_ms": oldest_ms,
        }
        return id

    def _list(self, asked: Asked) -> Listed:
        page, size = int(asked.query.get("page", 1)), int(asked.query.get("per_page", 20))
        rows = list(self.queues.values())[(page - 1) * size : page * size]
        return Listed(rows, {"page": page, "per_page": size, "count": len(rows), "total_count": len(self.queues)})

    def _metrics(self, asked: Asked) -> dict[str, Any]:
        if asked.parts["id"] not in self.metrics:
            raise DeniedError(404, _NO_QUEUE, "Queue not found")
        return self.metrics[asked.parts["id"]]


class FakeR2:
    """`metrics` of the whole account."""

    def __init__(self, cloudflare: FakeCloudflare) -> None:
        empty = {"objects": 0, "payloadSize": 0, "metadataSize": 0}
        self.metrics: dict[str, Any] = {
            kind: {"published": dict(empty), "uploaded": dict(empty)} for kind in ("standard", "infrequentAccess")
        }
        cloudflare.serve(Route("GET", "/r2/metrics", frozenset({R2}), lambda _: self.metrics))


class FakeGateway:
    """`logs` of each gateway, in the order in which they were written, which is not that of `created_at`."""

    def __init__(self, cloudflare: FakeCloudflare) -> None:
        self.logs: dict[str, list[dict[str, Any]]] = {}
        may = frozenset({AI_GATEWAY})
        cloudflare.serve(
            Route("GET", "/ai-gateway/gateways", may, lambda _: [{"id": name} for name in self.logs]),
            Route("GET", "/ai-gateway/gateways/(?P<id>[^/]+)/logs", may, self._page),
        )

    def add(self, gateway: str, created_at: str, **more: Any) -> dict[str, Any]:
        """A call that went well; `more` says otherwise."""
        logs = self.logs.setdefault(gateway, [])
        log = {
            "id": f"01JX{len(logs):04}",
            "created_at": created_at,
            "provider": "openai",
            "model": "gpt-4o-mini",
            "model_type": "chat",
            "path": "chat/completions",
            "success": True,
            "cached": False,
            "status_code": 200,
            "duration": 812,
            "tokens_in": 431,
            "tokens_out": 25,
            "cost": 0.000065,
            "metadata": '{"tenant":"acme"}',
            **more,
        }
        logs.append(log)
        return log

    def _page(self, asked: Asked) -> Listed:
        if asked.parts["id"] not in self.logs:
            raise DeniedError(404, 7003, "gateway not found")
        since = ""
        for one in json.loads(asked.query.get("filters", "[]")):
            if one["key"] == "created_at" and one["operator"] == "gt":
                since = one["value"][0]
        page, size = int(asked.query.get("page", 1)), int(asked.query.get("per_page", 20))
        rows = sorted(
            (log for log in self.logs[asked.parts["id"]] if str(log.get("created_at")) > since),
            key=lambda log: str(log.get("created_at")),
            reverse=asked.query.get("order_by_direction", "desc") == "desc",
        )
        part = rows[(page - 1) * size : page * size]
        return Listed(part, {"page": page, "per_page": size, "count": len(part), "total_count": len(rows)})


class FakeWorkers:
    """`deployments` of each Worker, newest first, and `builds` by its tag."""

    def __init__(self, cloudflare: FakeCloudflare) -> None:
        self.deployments: dict[str, list[dict[str, Any]]] = {}
        self.builds: dict[str, list[dict[str, Any]]] = {}
        scripts = frozenset({SCRIPTS})
        cloudflare.serve(
            Route("GET", "/workers/scripts", scripts, self._list),
            Route("GET", "/workers/scripts/(?P<name>[^/]+)/deployments", scripts, self._deployments),
            Route("GET", "/builds/workers/(?P<tag>[^/]+)/builds", frozenset({BUILDS}), self._builds),
        )

    def deploy(self, script: str, created_on: str, version: str, **more: Any) -> None:
        """A version goes live, all of it."""
        known = self.deployments.setdefault(script, [])
        deployment = {
            "id": f"{script}-d{len(known) + 1}",
            "created_on": created_on,
            "source": "wrangler",
            "strategy": "percentage",
            "author_email": "dev@example.com",
            "versions": [{"version_id": version, "percentage": 100}],
            "annotations": {"workers/message": "fix tax", "workers/triggered_by": "deployment"},
            **more,
        }
        known.insert(0, deployment)

    def _list(self, _: Asked) -> list[dict[str, Any]]:
        return [{"id": name, "tag": f"tag-{name}", "modified_on": None} for name in self.deployments]

    def _deployments(self, asked: Asked) -> dict[str, Any]:
        if asked.parts["name"] not in self.deployments:
            raise DeniedError(404, 10007, "This Worker does not exist on your account.")
        return {"deployments": self.deployments[asked.parts["name"]]}

    def _builds(self, asked: Asked) -> list[dict[str, Any]]:
        return self.builds.get(asked.parts["tag"], [])


def notification(state: str = "", *, kind: str = "workers_observability_alert", **more: Any) -> dict[str, Any]:
    """What is posted for a notification; `state` is START or END, empty for the test of a new destination."""
    if not state:
        return {"text": "Hello World! This is a test message sent from https://cloudflare.com."}
    return {
        "name": "obskit",
        "text": "Workers alert HighErrors is firing",
        "ts": 1790929100,
        "account_id": "023e",
        "policy_id": "p1",
        "policy_name": "workers alerts",
        "alert_type": kind,
        "alert_correlation_id": "c-77",
        "alert_event": f"ALERT_STATE_EVENT_{state}",
        "data": {"account": {"id": "023e"}, "config": {"id": "a1", "name": "HighErrors"}, "status": "firing"},
        **more,
    }
