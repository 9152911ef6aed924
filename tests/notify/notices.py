"""Notices that the tests of this room speak of."""

from __future__ import annotations

from obskit.model.actions import Notice, NoticeReason
from obskit.model.alerts import Alert, ResolveReason
from obskit.model.context import Context, Deploy, Limit, TopError
from obskit.model.labels import Labels

START_MS = 1_700_000_000_000
MINUTE_MS = 60_000

ANNOTATIONS = {
    "summary": "7.4 % of requests to api failed, limit 2 %",
    "description": "Most failures are TimeoutError: pool exhausted <!channel> & friends.",
    "action": "Roll back the last deploy, then look at the pool's size.",
    "runbook_url": "https://docs.example/runbooks/high-5xx",
    "logs_url": "https://logs.example/?q=a|b&app=api",
}


KNOWN = Context(
    limit=Limit(">", 2.0),
    readings=tuple(
        (START_MS + (minute - 20) * MINUTE_MS, value)
        for minute, value in enumerate(
            [0.2] * 12 + [0.4, 0.9, 1.2, 1.9, 2.6, 3.3, 4.1, 5.0, 5.2, 5.9, 6.3, 6.8, 7.1, 9.1, 7.4]
        )
    ),
    unit="%",
    deploys=(
        Deploy(START_MS - 9 * MINUTE_MS, '4f2a1c9 "retry on 502"', "ann", "v212 → v213"),
        Deploy(START_MS - 300 * MINUTE_MS, '77e01bd "new <b>checkout</b>"', "bob", "v211 → v212"),
    ),
    top_error=TopError("TimeoutError: pool exhausted (checkout <*>)", 143),
)


def alert(machine: str = "a", *, severity: str = "critical", ended: bool = False, **annotations: str) -> Alert:
    """One alert of the group, two minutes old for each letter after `a`."""
    labels = {"alertname": "High5xx", "app": "api", "region": "fra", "machine": machine, "severity": severity}
    return Alert(
        labels=Labels(labels),
        annotations={**ANNOTATIONS, **annotations},
        starts_ms=START_MS + (ord(machine[0]) - ord("a")) * 2 * MINUTE_MS,
        ends_ms=START_MS + 6 * MINUTE_MS if ended else None,
        value=7.4,
        generator_url="https://obskit.example/graph?expr=rate(x[5m])>2",
        source="api.yaml:High5xx",
        resolve_reason=ResolveReason.RECOVERED if ended else None,
    )


def notice(
    *alerts: Alert,
    reason: NoticeReason = NoticeReason.FIRST,
    changed: frozenset[str] = frozenset(),
    after_ms: int = 6 * MINUTE_MS,
) -> Notice:
    """The group of these alerts (one firing when none is given), six minutes after it began."""
    return Notice(
        receiver="ops",
        group_key='{}:{alertname="High5xx", app="api"}',
        group_labels=Labels({"alertname": "High5xx", "app": "api"}),
        alerts=alerts or (alert(),),
        reason=reason,
        incident="0001-abcd",
        decided_ms=START_MS + after_ms,
        external_url="https://obskit.example",
        changed=changed,
    )


def resolved(*machines: str) -> Notice:
    """The same group, all over."""
    alerts = tuple(alert(machine, ended=True) for machine in machines or ("a",))
    return notice(*alerts, reason=NoticeReason.ALL_RESOLVED, changed=frozenset(a.fingerprint for a in alerts))
