"""`obskit slack preview`: what our Slack messages look like, without a workspace."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from obskit.cli.slack_html import page
from obskit.model.actions import Notice, NoticeReason
from obskit.model.alerts import LOG_LINES, Alert, ResolveReason
from obskit.model.context import Ack, Care, Context, Deploy, Escalated, Limit, Silence, TopError
from obskit.model.digest import Digest, Entry, Tally
from obskit.model.labels import Labels
from obskit.notify.slack_context import context_message
from obskit.notify.slack_digest import digest_message
from obskit.notify.slack_message import message, reply
from obskit.notify.text import Card, card, news

START_MS: Final = 1_763_640_360_000
MINUTE_MS: Final = 60_000
_COURSE: Final = (
    0.2, 0.3, 0.2, 0.2, 0.3, 0.2, 0.4, 0.3, 0.2, 0.3, 0.4, 0.9, 1.2, 1.9, 2.6, 3.3, 4.1, 5.0, 5.2, 5.9, 6.3, 6.8, 7.1, 7.4
)  # fmt: skip
_RECOVERY: Final = (9.1, 8.8, 7.2, 5.5, 3.1, 1.8, 0.9, 0.4, 0.3, 0.3, 0.2, 0.3, 0.3, 0.2, 0.3)
_LINES: Final = tuple(
    f"12:11:{50 + at} ERROR api TimeoutError: pool exhausted (checkout 5.{at}s) request_id=8f1c{at}" for at in range(4)
)
Story = tuple[str, Sequence[Mapping[str, Any]]]


@click.group()
def slack() -> None:
    """See what Slack messages look like, without a workspace."""


@slack.command()
@click.option("--html", "html", type=click.Path(path_type=Path, dir_okay=False), help="Write a page to look at.")
def preview(html: Path | None) -> None:
    """Show one incident in all its states, and a flood.

    Without --html: the messages as JSON, one a line, as Slack's API takes them.

    \b
    Examples:
      obskit slack preview --html slack.html
      obskit slack preview | head -1
    """
    stories = list(stories_of_an_incident())
    if html is None:
        for title, messages in stories:
            for message in messages:
                click.echo(json.dumps({"state": title, **message}, ensure_ascii=False))
        return

    html.write_text(page(stories), encoding="utf-8")
    click.echo(f"{html}: {len(stories)} states, at desktop and phone width")


def stories_of_an_incident() -> Iterator[Story]:
    """Each state with its root and what its thread holds."""
    acked = Care(ack=Ack("ann", START_MS + 2 * MINUTE_MS))
    silenced = Care(silence=Silence("ann", START_MS + 126 * MINUTE_MS, "the vendor is on it"))
    firing = replace(_notice(_alert("a"), _alert("b")), context=_context())
    grown = _notice(*map(_alert, "abcde"), reason=NoticeReason.NEW_ALERTS, fresh="cde")
    over = replace(
        _notice(*(_alert(name, ended=True) for name in "ab"), reason=NoticeReason.ALL_RESOLVED, fresh="ab"),
        care=acked,
        context=_context(_COURSE + _RECOVERY),
    )
    warning = _notice(_alert("a", severity="warning"))
    yield "firing, critical", [message(_root(firing)), context_message(card(firing), _context(), charts=True)]
    yield (
        "firing, a warning without any context",
        [message(_root(warning), "3rd time this week · <https://example.slack.com/archives/C1/p1|the time before>")],
    )
    yield "more members", [message(_root(grown)), reply(news(grown))]
    yield "acked", [message(_root(replace(firing, care=acked)))]
    yield "silenced", [message(_root(replace(firing, care=silenced)))]
    yield "escalated", [message(_root(replace(firing, care=Care(escalated=(Escalated("on-call", 5 * MINUTE_MS),)))))]
    yield "flapping", [message(_root(replace(warning, care=Care(flaps=5))), "opened again 2 times")]
    yield "resolved", [message(_root(over)), reply(news(over))]
    yield "digest of a flood", [digest_message(_digest(41))]
    yield "digest, over", [digest_message(_digest(0))]
    yield "a workspace that does not draw charts yet", [
        message(_root(firing)), context_message(card(firing), _context(), charts=False)
    ]  # fmt: skip


def _root(notice: Notice) -> Card:
    """What a root shows: log lines are in its thread."""
    return replace(card(notice), samples=())


def _alert(machine: str, *, severity: str = "critical", ended: bool = False) -> Alert:
    labels = {
        "alertname": "High 5xx on api",
        "app": "api",
        "region": "fra",
        "machine": f"3d8d9{machine}",
        "severity": severity,
    }
    said = {
        "summary": "7.4 % of requests failed",
        "action": "Roll back the last deploy, then look at the pool's size.",
        LOG_LINES: "\n".join(_LINES),
        "logs_url": "https://obskit.example/logs?app=api",
        "runbook_url": "https://docs.example/runbooks/high-5xx",
    }
    return Alert(
        labels=Labels(labels),
        annotations=said,
        starts_ms=START_MS,
        ends_ms=START_MS + 22 * MINUTE_MS if ended else None,
        value=7.4,
        generator_url="https://obskit.example/graph",
        source="api.yaml:High5xx",
        resolve_reason=ResolveReason.RECOVERED if ended else None,
        resolved_value=0.3 if ended else None,
        resolved_summary="0.3 % of requests failed" if ended else "",
    )


def _notice(*alerts: Alert, reason: NoticeReason | None = None, fresh: str = "") -> Notice:
    ended = reason is NoticeReason.ALL_RESOLVED
    return Notice(
        receiver="ops",
        group_key='{}:{app="api"}',
        group_labels=Labels({"app": "api"}),
        alerts=alerts,
        reason=reason or NoticeReason.FIRST,
        incident="0001",
        decided_ms=START_MS + (22 if ended else 6) * MINUTE_MS,
        external_url="https://obskit.example",
        changed=frozenset(each.fingerprint for each in alerts if each.labels.get("machine")[-1] in fresh),
        context=Context(limit=Limit(">", 2.0)),
    )


def _context(course: Sequence[float] = _COURSE) -> Context:
    return Context(
        limit=Limit(">", 2.0),
        readings=tuple((START_MS + (at - 17) * MINUTE_MS, value) for at, value in enumerate(course)),
        unit="%",
        deploys=(
            Deploy(START_MS - 9 * MINUTE_MS, '4f2a1c9 "retry on 502"', "ann", "v212 → v213"),
            Deploy(START_MS - 1_440 * MINUTE_MS, '77e01bd "new checkout"', "bob", "v211 → v212"),
        ),
        top_error=TopError("TimeoutError: pool exhausted (checkout <*>)", 143),
    )


def _digest(firing: int) -> Digest:
    names = (
        ("High5xx", "api/fra", 18),
        ("QueueBacklog", "worker/ams", 12),
        ("CertExpires", "edge", 8),
        ("DiskFull", "db", 5),
    )
    tallies = tuple(Tally(place, name, count if firing else 0, count) for name, place, count in names)
    entries = tuple(
        Entry(name, place, "error", START_MS + at * MINUTE_MS) for at, (name, place, _) in enumerate(names * 3)
    )
    return Digest(
        id="d",
        receiver="ops",
        since_ms=START_MS,
        decided_ms=START_MS + (4 if firing else 31) * MINUTE_MS,
        total=43,
        firing=firing,
        moved=2 if firing else 0,
        tallies=tallies,
        entries=entries[:10] if firing else (),
        external_url="https://obskit.example",
    )
