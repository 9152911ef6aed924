"""What a person is told of a notice, the same for every receiver: a Card of facts, and its plain lines.

Chooses words, order and what to leave out; a fact without data is an empty string, and its line vanishes. How a
channel draws it (markup, colours, local time, length limits) is the notifier's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from obskit.model.actions import Notice, NoticeReason
from obskit.model.alerts import LOG_LINES, Alert, ResolveReason
from obskit.model.severity import rank
from obskit.notify.figures import (
    UNIT_WORDS,
    deploy_text,
    figure,
    lasted,
    limit_text,
    near_deploy,
    peak,
    sparkline,
    unit_in,
)
from obskit.notify.whereabouts import MEMBERS_SHOWN, counts, listed, places, reach, scope, who

SAMPLES_SHOWN: Final = 5
_NAMES_SHOWN: Final = 3
_MEMBER_LENGTH: Final = 200
_LINE_LENGTH: Final = 300
_NOW_MS: Final = 1_000

_LINKS: Final = (("Runbook", "runbook_url"), ("Logs", "logs_url"), ("Dashboard", "dashboard_url"))
# A summary's value may be several words (`1h 4m 2s`); more than these, and it is not the value alone that differs.
_VALUE_WORDS: Final = 4


class Tone(StrEnum):
    """How a message looks: the state of the group, and while it fires how bad it is."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"
    ACKED = "acked"
    SILENCED = "silenced"
    FLAPPING = "flapping"
    RESOLVED = "resolved"
    ENDED = "ended"


ICONS: Final = {
    Tone.CRITICAL: "🔴", Tone.WARNING: "🟠", Tone.INFO: "🔵", Tone.ACKED: "🟣", Tone.SILENCED: "🔕",
    Tone.FLAPPING: "🔁", Tone.RESOLVED: "✅", Tone.ENDED: "⚪",
}  # fmt: skip
_CARE_TONES: Final = (Tone.ACKED, Tone.SILENCED, Tone.FLAPPING)


@dataclass(frozen=True, slots=True)
class Link:
    """Something to open: an absolute http(s) URL."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What somebody made of the group; `t_ms` is when, or until when, 0 if that is not known."""

    text: str
    t_ms: int = 0
    more: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """The facts of one notice. `until_ms` is None while it fires; `samples` are log lines.

    `limit` is what the summary does not say of it (`> 2 %`), `reach` how much of the group is affected (`2 of 3
    machines`), `place` the scope in one word (`fly/fra`), `page_url` obskit itself.
    """

    tone: Tone
    word: str
    title: str
    title_url: str
    severity: str
    summary: str
    detail: str
    members: tuple[str, ...]
    more_members: int
    samples: tuple[str, ...]
    scope: str
    counts: str
    source: str
    action: str
    links: tuple[Link, ...]
    since_ms: int
    until_ms: int | None
    lasted_ms: int
    limit: str = ""
    sparkline: str = ""
    reach: str = ""
    place: str = ""
    page_url: str = ""
    deploy: str = ""
    error: str = ""
    peak: str = ""
    marks: tuple[Mark, ...] = ()


def card(notice: Notice) -> Card:
    """The facts of `notice`, worst alert first."""
    alerts = _worst_first(notice.firing or notice.resolved)
    ended = "" if notice.firing else _ended(alerts)
    since_ms, until_ms = _span(notice, alerts)
    members = _members(notice, alerts)
    said = _summary(alerts)
    # Over: what was true last must not read as if it were now, and there is nothing left to do first.
    summary = said if notice.firing else _was(alerts[0], said)
    tone = _tone(notice, alerts[0], ended)
    known = notice.context
    unit = known.unit or unit_in(said, alerts[0].value)
    return Card(
        tone=tone,
        word=_word(notice, tone, ended),
        title=_title(alerts),
        title_url=_web(alerts[0].generator_url),
        severity=alerts[0].labels.get("severity"),
        summary=summary,
        detail=_detail(alerts, summary) if notice.firing else "",
        members=tuple(members[:MEMBERS_SHOWN]),
        more_members=max(0, len(members) - MEMBERS_SHOWN),
        samples=tuple(alerts[0].annotations.get(LOG_LINES, "").splitlines()[:SAMPLES_SHOWN]) if notice.firing else (),
        scope=scope(notice),
        counts=counts(notice),
        source=_shared(alerts, lambda alert: alert.source),
        action=" ".join(_annotation(alerts, "action").split()) if notice.firing else "",
        links=_links(alerts),
        since_ms=since_ms,
        until_ms=until_ms,
        lasted_ms=max(0, (until_ms or notice.decided_ms) - since_ms),
        limit=limit_text(known.limit, summary, unit) if notice.firing else "",
        sparkline=sparkline([value for _, value in known.readings]),
        reach=reach(notice),
        place="/".join(value for _, value in places(notice)),
        page_url=_web(notice.external_url),
        deploy=_deploy(notice, since_ms, until_ms),
        error=_error(notice),
        peak=_peak(notice, since_ms, until_ms, unit),
        marks=_marks(notice),
    )


def headline(shown: Card) -> str:
    """One plain line, as a phone's lock screen shows it: state, severity, name, value and limit, how long, where."""
    kind = f"{shown.word} {shown.severity}".rstrip()
    said = " - ".join(part for part in (shown.title, shown.summary) if part)
    limit = f"({shown.limit})" if shown.limit else ""
    where = ", ".join(part for part in (shown.place, shown.reach) if part)
    what = " ".join(part for part in (f"{kind}: {said}", limit, _how_long(shown)) if part)
    return " - ".join(part for part in (what, where) if part)


def lines(shown: Card, stamp: Callable[[int], str]) -> list[str]:
    """The whole message in plain lines; `stamp` prints a time."""
    return [
        headline(shown),
        *([marks(shown, stamp)] if shown.marks or shown.peak else []),
        *([shown.detail] if shown.detail else []),
        *(f"- {member}" for member in shown.members),
        *([f"+{shown.more_members} more"] if shown.more_members else []),
        *(f"> {line}" for line in shown.samples),
        facts(shown, stamp),
        *([shown.deploy] if shown.deploy else []),
        *([shown.error] if shown.error else []),
        *([f"Do first: {shown.action}"] if shown.action else []),
        *(f"{link.text}: {link.url}" for link in shown.links),
    ]


def marks(shown: Card, stamp: Callable[[int], str], quote: Callable[[str], str] = str) -> str:
    """What people made of it, and when: `acked by ann 12:08 UTC · peak 9.1 %`."""
    said = [
        " ".join(part for part in (quote(mark.text), stamp(mark.t_ms) if mark.t_ms else "", quote(mark.more)) if part)
        for mark in shown.marks
    ]
    return " · ".join([*said, *([f"peak {quote(shown.peak)}"] if shown.peak else [])])


def facts(shown: Card, stamp: Callable[[int], str], quote: Callable[[str], str] = str) -> str:
    """Where, since when, how many, by which rule: one line. `quote` makes text of users harmless where it must be."""
    span = f"{stamp(shown.since_ms)} to {stamp(shown.until_ms)}" if shown.until_ms else f"since {stamp(shown.since_ms)}"
    length = f" ({lasted(shown.lasted_ms)})" if shown.lasted_ms >= _NOW_MS else ""
    rule = f"rule {quote(shown.source)}" if shown.source else ""
    return " · ".join(part for part in (quote(shown.scope), span + length, shown.counts, rule) if part)


def news(notice: Notice) -> str:
    """What changed since the receiver last heard of the group, in one line; empty when that is not worth a line."""
    fresh = [alert for alert in notice.firing if alert.fingerprint in notice.changed]
    over = [alert for alert in notice.resolved if alert.fingerprint in notice.changed]
    shown = card(notice)
    if notice.reason is NoticeReason.REPEAT:
        return f"Still firing after {lasted(shown.lasted_ms)}: {shown.summary or shown.title}"
    if notice.reason is NoticeReason.ESCALATED and notice.care.escalated:
        latest = notice.care.escalated[-1]
        return f"Escalated to {latest.to} after {lasted(latest.after_ms)}: {shown.summary or shown.title}"
    if notice.reason is NoticeReason.CALM:
        return f"Flapping is over, it fires steadily: {shown.summary or shown.title}"
    if not notice.firing:
        worst = _worst_first(notice.resolved)[0]
        now = _now(worst, _summary([worst]))
        return f"{shown.word.capitalize()} after {lasted(shown.lasted_ms)}{f', now {now}' if now else ''}"
    parts = []
    if fresh:
        parts.append(f"+{len(fresh)} new: {listed(who(notice, fresh))}")
    if over:
        parts.append(f"{len(over)} of {len(notice.alerts)} resolved: {listed(who(notice, over))}")
    return "; ".join(parts)


def became_worse(notice: Notice) -> bool:
    """Whether an alert that is new to the receiver is worse than everything it already knew to fire."""
    known = [rank(alert) for alert in notice.firing if alert.fingerprint not in notice.changed]
    fresh = [rank(alert) for alert in notice.firing if alert.fingerprint in notice.changed]
    return bool(known and fresh) and max(fresh) > max(known)


def utc_stamp(ms: int) -> str:
    """`12:06 UTC`: for channels that cannot show a reader's own time."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%H:%M UTC")


def clip(text: str, limit: int) -> str:
    """`text` on one line, cut to `limit` characters with an ellipsis."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1].rstrip() + "…"


def _worst_first(alerts: Iterable[Alert]) -> list[Alert]:
    return sorted(alerts, key=lambda alert: (-rank(alert), alert.starts_ms, alert.labels))


def _how_long(shown: Card) -> str:
    if shown.until_ms is None and shown.lasted_ms < _NOW_MS:
        return "just now"
    return f"{'for' if shown.until_ms is None else 'after'} {lasted(shown.lasted_ms)}"


def _tone(notice: Notice, worst: Alert, ended: str) -> Tone:
    if not notice.firing:
        return Tone.ENDED if ended else Tone.RESOLVED
    care, level = notice.care, rank(worst)
    if care.silence or care.ack:
        return Tone.SILENCED if care.silence else Tone.ACKED
    if care.flaps:
        return Tone.FLAPPING
    return Tone.CRITICAL if level >= 3 else Tone.WARNING if level == 2 else Tone.INFO


def _word(notice: Notice, tone: Tone, ended: str) -> str:
    if notice.reason is NoticeReason.TEST:
        return "TEST"
    if notice.firing:
        return tone.value.upper() if tone in _CARE_TONES else "FIRING"
    return f"ENDED ({ended})" if ended else "RESOLVED"


def _marks(notice: Notice) -> tuple[Mark, ...]:
    care, found = notice.care, [Mark(clip(notice.instead, _LINE_LENGTH))] if notice.instead else []
    if care.ack:
        where = f" in {care.ack.where}" if care.ack.where else ""
        said = f"({care.ack.note})" if care.ack.note else ""
        found.append(Mark(f"acked by {care.ack.by}{where}", care.ack.t_ms, said))
    if care.silence and notice.firing:
        why = f"({care.silence.why})" if care.silence.why else ""
        found.append(Mark(f"silenced by {care.silence.by} until", care.silence.until_ms, why))
    found += [Mark(f"escalated to {each.to} after {lasted(each.after_ms)}") for each in care.escalated]
    if care.flaps and notice.firing:
        found.append(Mark(f"{care.flaps} changes in the last hour"))
    return tuple(found)


def _deploy(notice: Notice, since_ms: int, until_ms: int | None) -> str:
    near = near_deploy(notice.context.deploys, since_ms, until_ms or notice.decided_ms)
    return clip(deploy_text(near, since_ms), _LINE_LENGTH) if near else ""


def _error(notice: Notice) -> str:
    top = notice.context.top_error
    return f"Top error ({top.count} times): {clip(top.pattern, _LINE_LENGTH)}" if top and notice.firing else ""


def _peak(notice: Notice, since_ms: int, until_ms: int | None, unit: str) -> str:
    worst = None if notice.firing else peak(notice.context, since_ms, until_ms or notice.decided_ms)
    return "" if worst is None else figure(worst, unit)


def _ended(alerts: Iterable[Alert]) -> str:
    # Alerts from outside (the Alertmanager API) name no reason: they recovered, as far as anybody knows.
    reasons = {alert.resolve_reason for alert in alerts} - {None, ResolveReason.RECOVERED}
    return ", ".join(sorted(reason.value for reason in reasons if reason))


def _title(alerts: Sequence[Alert]) -> str:
    names = list(dict.fromkeys(alert.name or "alert" for alert in alerts))
    more = f" +{len(names) - _NAMES_SHOWN}" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def _summary(alerts: Sequence[Alert]) -> str:
    worst = alerts[0]
    said = worst.annotations.get("summary") or worst.annotations.get("description")
    if said:
        return " ".join(said.split())
    return f"value {worst.value:.6g}" if math.isfinite(worst.value) else ""


def _was(worst: Alert, summary: str) -> str:
    """What it said while it fired, and what the rule measures now, if that is known."""
    now = _now(worst, summary)
    return ", ".join(part for part in (f"was: {summary}" if summary else "", f"now: {now}" if now else "") if part)


def _now(alert: Alert, summary: str) -> str:
    """The value an alert recovered with, as its summary writes it: with the unit that stands behind it."""
    if alert.resolved_value is None:
        return ""
    written = _difference(summary.split(), alert.resolved_summary.split())
    return written or f"{alert.resolved_value:.6g}"


def _difference(was: Sequence[str], now: Sequence[str]) -> str:
    """The words of `now` that are others than in `was`; empty when there are none, or more than a value."""
    start = next((at for at, (one, other) in enumerate(zip(was, now, strict=False)) if one != other), None)
    if start is None:
        return ""
    rest = zip(reversed(was[start:]), reversed(now[start:]), strict=False)
    same = next((count for count, (one, other) in enumerate(rest) if one != other), 0)
    end = len(now) - same
    if end - start > _VALUE_WORDS:
        return ""
    unit = now[end : end + 1]
    return " ".join([*now[start:end], *(word for word in unit if word.strip(".,;:") in UNIT_WORDS)]).rstrip(".,;:")


def _detail(alerts: Sequence[Alert], summary: str) -> str:
    said = " ".join(_annotation(alerts, "description").split())
    return "" if said == summary else said


def _span(notice: Notice, alerts: Sequence[Alert]) -> tuple[int, int | None]:
    since = min(alert.starts_ms for alert in alerts)
    if notice.firing:
        return since, None
    return since, max(alert.ends_ms or notice.decided_ms for alert in alerts)


def _members(notice: Notice, alerts: Sequence[Alert]) -> list[str]:
    """One line per firing alert of several: what sets it apart, and what it says unless the message has just said it."""
    if len(alerts) < 2 or not notice.firing:
        return []
    said = [_summary([alert]) for alert in alerts]
    told = [f": {clip(text, _MEMBER_LENGTH)}" if text and text != said[0] else "" for text in said]
    return [who + more for who, more in zip(who(notice, alerts), told, strict=True)]


def _shared(alerts: Sequence[Alert], fact: Callable[[Alert], str]) -> str:
    """The fact that all alerts which have one agree on; else the worst alert's."""
    found = {fact(alert) for alert in alerts} - {""}
    return found.pop() if len(found) == 1 else fact(alerts[0])


def _links(alerts: Sequence[Alert]) -> tuple[Link, ...]:
    found = (Link(text, _web(_annotation(alerts, key))) for text, key in _LINKS)
    return tuple(link for link in found if link.url)


def _annotation(alerts: Sequence[Alert], key: str) -> str:
    return _shared(alerts, lambda alert: alert.annotations.get(key, ""))


def _web(url: str) -> str:
    return url if url.startswith(("http://", "https://")) and url.split() == [url] else ""
