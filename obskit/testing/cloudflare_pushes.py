"""What Cloudflare pushes, as bodies: Logpush (its test first, then gzip batches), the OpenTelemetry export, tail items."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

LOGPUSH_TEST = gzip.compress(b'{"content":"tests"}', mtime=0)
"""What a new job sends to see whether somebody is there."""


def tail_item(
    t_ms: int,
    *logs: str,
    script: str = "shop-consumer",
    outcome: str = "ok",
    exceptions: Sequence[str] = (),
    event: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An invocation as a Tail Worker is given it."""
    return {
        "outcome": outcome,
        "scriptName": script,
        "entrypoint": None,
        "eventTimestamp": t_ms,
        "exceptions": [{"name": "Error", "message": text, "timestamp": t_ms + 2} for text in exceptions],
        "logs": [{"message": ["order", text], "level": "log", "timestamp": t_ms + 1} for text in logs],
        "diagnosticsChannelEvents": [],
        "scriptVersion": {"id": "5a3e"},
        "event": {"queue": "shop-queue", "batchSize": 10} if event is None else event,
        "cpuTime": 12,
        "wallTime": 812,
        "truncated": False,
    }


def trace_event(t_ms: int, *logs: str, script: str = "shop-consumer", outcome: str = "ok") -> dict[str, Any]:
    """A row of `workers_trace_events`."""
    return {
        "EventTimestampMs": t_ms,
        "EventType": "queue",
        "Outcome": outcome,
        "ScriptName": script,
        "CPUTimeMs": 12,
        "WallTimeMs": 812,
        "Event": {"Queue": "shop-queue", "BatchSize": 10},
        "Logs": [{"Level": "error", "Message": [text], "TimestampMs": t_ms + 1} for text in logs],
        "Exceptions": [{"Name": "Error", "Message": "card declined", "TimestampMs": t_ms + 2}]
        if outcome != "ok"
        else [],
    }


def http_request(t_ms: int, *, timestamps: str = "unixnano", status: int = 200) -> dict[str, Any]:
    """A row of `http_requests`; `timestamps` is the job's `timestamp_format`."""
    moment = datetime.fromtimestamp(t_ms / 1000, UTC)
    written: dict[str, Any] = {
        "unixnano": t_ms * 1_000_000,
        "unix": t_ms // 1000,
        "rfc3339": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "rfc3339ms": moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{t_ms % 1000:03d}Z",
        "rfc3339ns": moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{t_ms % 1000 * 1_000_000:09d}Z",
    }
    return {
        "EdgeStartTimestamp": written[timestamps],
        "ClientRequestHost": "shop.example",
        "ClientRequestMethod": "GET",
        "ClientRequestURI": "/cart",
        "EdgeResponseStatus": status,
        "RayID": "9f1c2a",
        "CacheCacheStatus": "miss",
        "EdgeColoCode": "FRA",
    }


def logpush(*rows: Any) -> bytes:
    """A batch: NDJSON in gzip."""
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0)


def otlp_logs(*bodies: str, t_ms: int, script: str = "shop-api") -> bytes:
    """An export of lines."""
    records = [
        {
            "timeUnixNano": str(t_ms * 1_000_000),
            "severityText": "ERROR",
            "severityNumber": 17,
            "body": {"stringValue": body},
            "traceId": "0af7",
            "attributes": [_attribute("cloudflare.invocation.sequence.number", number)],
        }
        for number, body in enumerate(bodies)
    ]
    resource = {"attributes": [_attribute("service.name", script)]}
    scopes = [{"scope": {"name": "workers-observability"}, "logRecords": records}]
    return json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": scopes}]}).encode()


def otlp_spans(t_ms: int, *, outcome: str = "ok", script: str = "shop-api") -> bytes:
    """An export of one invocation: its root span, and one within."""
    attributes = [
        _attribute("cloudflare.outcome", outcome),
        _attribute("faas.trigger", "http"),
        _attribute("cpu_time_ms", 12),
        _attribute("http.response.status_code", 503),
        _attribute("url.full", "https://shop.example/x"),
    ]
    root = {"traceId": "0af7", "spanId": "b7ad", "name": "GET", "startTimeUnixNano": str(t_ms * 1_000_000)}
    inner = {**root, "spanId": "c1", "parentSpanId": "b7ad", "name": "fetch"}
    spans = [{**root, "attributes": attributes}, inner]
    resource = {"attributes": [_attribute("service.name", script)]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}).encode()


def _attribute(key: str, value: Any) -> dict[str, Any]:
    """Numbers of 64 bits are text in JSON."""
    return {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
