"""Alerts that others post: when one is over, and what becomes of one that is known already; pure.

The rules are Alertmanager's (api/v2, provider/mem, types.Alert.Merge). An alert that one of our own rules decided is
that rule's to end: a post about it changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from obskit.model.alerts import Alert, ResolveReason
from obskit.model.labels import Labels

SOURCE: Final = "Alertmanager API"


@dataclass(frozen=True, slots=True)
class Posted:
    """An alert as it was posted. Times are Unix milliseconds, None where none was given."""

    labels: Labels
    annotations: Mapping[str, str]
    starts_ms: int | None = None
    ends_ms: int | None = None
    generator_url: str = ""


class Intake:
    """Posted alerts as they are taken in: which of them `changed`, which are as they were and only `extended`.

    Most posts say again what is known, each minute: those need no look at routes and groups. `find` is asked for what
    is known of an alert, by its fingerprint.
    """

    def __init__(self, now_ms: int, resolve_timeout_ms: int, find: Callable[[str], Alert | None]) -> None:
        self._now_ms = now_ms
        self._resolve_timeout_ms = resolve_timeout_ms
        self._find = find
        self.changed: dict[str, Alert] = {}
        self.extended: dict[str, Alert] = {}

    def take(self, posted: Posted) -> None:
        """One of them."""
        place = _fingerprint(posted.labels)
        old = self.changed.get(place) or self.extended.get(place) or self._find(place)
        if old is not None and place not in self.changed and self._only_extends(old, posted):
            self.extended[place] = replace(old, expires_ms=self._end_ms(posted))
            return
        fresh = settle(posted, self._now_ms, self._resolve_timeout_ms)
        self.extended.pop(place, None)
        self.changed[place] = merge(old, fresh, self._now_ms)

    def _only_extends(self, old: Alert, posted: Posted) -> bool:
        """Whether `merge` would give `old` with a later end."""
        return (
            old.expires_ms is not None
            and self._now_ms < old.expires_ms <= self._end_ms(posted)
            and old.timed_out == (posted.ends_ms is None)
            and old.starts_ms in (posted.starts_ms, self._earliest_ms(old, posted))
            and old.generator_url == posted.generator_url
            and old.annotations == posted.annotations
        )

    def _earliest_ms(self, old: Alert, posted: Posted) -> int | None:
        """When it began if the post says neither that nor an end: now, unless it is known to have begun before."""
        return min(old.starts_ms, self._now_ms) if posted.starts_ms is posted.ends_ms is None else None

    def _end_ms(self, posted: Posted) -> int:
        return self._now_ms + self._resolve_timeout_ms if posted.ends_ms is None else posted.ends_ms


@lru_cache(maxsize=16_384)
def _fingerprint(labels: Labels) -> str:
    """Remembered for what is posted each minute: 5 µs are a quarter of what that takes."""
    return labels.fingerprint()


def settle(posted: Posted, now_ms: int, resolve_timeout_ms: int) -> Alert:
    """The alert with what was not given filled in: without an end it is over `resolve_timeout_ms` from now."""
    starts_ms = posted.starts_ms
    if starts_ms is None:
        starts_ms = now_ms if posted.ends_ms is None else posted.ends_ms
    end_ms = now_ms + resolve_timeout_ms if posted.ends_ms is None else posted.ends_ms
    return Alert(
        labels=posted.labels,
        annotations=posted.annotations,
        starts_ms=starts_ms,
        ends_ms=end_ms if end_ms <= now_ms else None,
        generator_url=posted.generator_url,
        source=_source(posted.generator_url),
        expires_ms=end_ms if end_ms > now_ms else None,
        timed_out=posted.ends_ms is None,
        fingerprint=_fingerprint(posted.labels),
    )


def merge(old: Alert | None, new: Alert, now_ms: int) -> Alert:
    """What is known of the alert now that `new` was posted."""
    if old is None:
        return new
    old_end, new_end = _end_ms(old), _end_ms(new)
    if old_end is None or new_end is None:  # one of our own that fires
        return old
    if not (old.starts_ms < new_end < old_end or old.starts_ms < new.starts_ms < old_end):
        return new
    kept = replace(new, starts_ms=min(old.starts_ms, new.starts_ms))
    later = old_end > new_end and (old_end <= now_ms if not new.firing else not old.timed_out)
    return until(kept, old_end, now_ms) if later else kept


def until(alert: Alert, end_ms: int, now_ms: int) -> Alert:
    """The alert with this end: over, or still on until then."""
    if end_ms <= now_ms:
        return replace(alert, ends_ms=end_ms, expires_ms=None)
    return replace(alert, ends_ms=None, expires_ms=end_ms)


def expired(alert: Alert) -> Alert:
    """An alert whose end has come without another word from its sender."""
    return replace(alert, ends_ms=alert.expires_ms, expires_ms=None, resolve_reason=ResolveReason.EXPIRED)


def _end_ms(alert: Alert) -> int | None:
    return alert.ends_ms if alert.ends_ms is not None else alert.expires_ms


def _source(generator_url: str) -> str:
    """Who sent it, as a person finds it: the host behind the alert's link."""
    try:
        return urlsplit(generator_url).netloc.rpartition("@")[2] or SOURCE
    except ValueError:
        return SOURCE
