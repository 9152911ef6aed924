"""Silences: which alerts a person does not want to hear of for a while, kept in the store.

States and the rules of change are Alertmanager's (silence/silence.go): what was silenced in the past is never
rewritten, so a change that would do so ends the silence and makes a new one. Silences that ended are kept for five days.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from obskit.clock import Clock
from obskit.model.alert_matchers import AlertMatcher
from obskit.model.labels import Labels
from obskit.model.matchers import MatchOp, match_all
from obskit.model.telemetry import REGISTRY, Gauge
from obskit.store.database import Database, Transaction

RETENTION_MS: Final = 120 * 3_600_000
_COLUMNS: Final = "id, matchers, starts_ms, ends_ms, created_by, comment, annotations, updated_ms"
_SELECT: Final = f"SELECT {_COLUMNS} FROM silence"  # noqa: S608 - a constant

COUNT = Gauge("obskit_silences", "Silences that are kept, by state.", ("state",), registry=REGISTRY)


class SilenceState(StrEnum):
    """Where a silence stands at a moment, in the order they are listed."""

    ACTIVE = "active"
    PENDING = "pending"
    EXPIRED = "expired"


class SilenceRefused(ValueError):  # noqa: N818 - an answer, not a fault
    """A silence that cannot be: the message is Alertmanager's."""


class SilenceUnknown(LookupError):  # noqa: N818 - as above
    """No silence has this id."""

    def __init__(self) -> None:
        super().__init__("silence not found")


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that satisfy every matcher are not told of from `starts_ms` to `ends_ms` (Unix milliseconds)."""

    matchers: tuple[AlertMatcher, ...]
    starts_ms: int
    ends_ms: int
    created_by: str = ""
    comment: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    id: str = ""
    updated_ms: int = 0

    def state(self, now_ms: int) -> SilenceState:
        """Where it stands."""
        if now_ms < self.starts_ms:
            return SilenceState.PENDING
        return SilenceState.EXPIRED if now_ms > self.ends_ms else SilenceState.ACTIVE

    def covers(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels is one it means."""
        return match_all(self.matchers, labels)


def changes_in_place(old: Silence, new: Silence, now_ms: int) -> bool:
    """Whether `new` may take the place of `old` without another past."""
    if old.matchers != new.matchers:
        return False
    match old.state(now_ms):
        case SilenceState.ACTIVE:
            return old.starts_ms // 1000 == new.starts_ms // 1000 and new.ends_ms >= now_ms
        case SilenceState.PENDING:
            return new.starts_ms >= now_ms
        case SilenceState.EXPIRED:
            return False


def check(silence: Silence, now_ms: int) -> None:
    """SilenceRefused when it could not be set."""
    if silence.starts_ms >= silence.ends_ms:
        raise SilenceRefused("Failed to create silence: start time must be before end time")
    if silence.ends_ms < now_ms:
        raise SilenceRefused("Failed to create silence: end time can't be in the past")
    if not silence.matchers:
        raise SilenceRefused("silence invalid: at least one matcher required")
    for index, matcher in enumerate(silence.matchers):
        if not matcher.name:
            raise SilenceRefused(f'silence invalid: invalid label matcher {index}: invalid label name ""')
    if all(not each.op.negative and each.matches_empty for each in silence.matchers):
        raise SilenceRefused("silence invalid: at least one matcher must not match the empty string")


class ActiveSilences:
    """The silences that keep alerts quiet at a moment.

    A thousand of them are looked up, not gone through: most ask for one value of some label.
    """

    def __init__(self, silences: Iterable[Silence] = ()) -> None:
        self.all = tuple(silences)
        self._with = self
        self._by_pair: dict[tuple[str, str], list[Silence]] = {}
        self._others: list[Silence] = []
        for each in self.all:
            pair = next(((one.name, one.value) for one in each.matchers if one.op is MatchOp.EQUAL and one.value), None)
            (self._others if pair is None else self._by_pair.setdefault(pair, [])).append(each)

    def __bool__(self) -> bool:
        return bool(self.all)

    def plus(self, others: Sequence[Silence]) -> ActiveSilences:
        """These and others: the same object again while the others are the same."""
        if not others:
            return self
        every = (*self.all, *others)
        if self._with.all != every:
            self._with = ActiveSilences(every)
        return self._with

    def covering(self, labels: Labels) -> list[Silence]:
        """Those that cover an alert with these labels, by id."""
        asked = list(self._others)
        if self._by_pair:
            for pair in labels.pairs:
                asked += self._by_pair.get(pair, ())
        return sorted((each for each in asked if each.covers(labels)), key=lambda each: each.id)


class _Held:
    """Which silences are active from one moment until another begins or ends."""

    def __init__(self, kept: Mapping[str, Silence], now_ms: int) -> None:
        turns = [turn for each in kept.values() for turn in (each.starts_ms, each.ends_ms + 1) if turn > now_ms]
        self.kept = kept
        self.since_ms = now_ms
        self.until_ms = min(turns, default=now_ms + RETENTION_MS)
        self.active = ActiveSilences(each for each in kept.values() if each.state(now_ms) is SilenceState.ACTIVE)


class Silences:
    """Every silence there is. Read from anywhere; changed in the writer's thread, after the COMMIT that keeps it.

    `changed` hears of those that were set or have been ended, in the event loop's thread.
    """

    def __init__(
        self, database: Database, clock: Clock, changed: Callable[[Sequence[Silence]], None] = lambda _: None
    ) -> None:
        self._database = database
        self._clock = clock
        self._changed = changed
        self._all = {each.id: each for each in map(_read, database.read(_SELECT))}
        self._active = _Held(self._all, clock.now_ms())
        for state in SilenceState:
            COUNT.labels(state.value).set_function(self._counting(state))

    def all(self) -> list[Silence]:
        """Those that are kept: active ones that end next, then pending ones that start next, then the last to end."""
        now_ms = self._clock.now_ms()
        kept = [each for each in self._all.values() if each.ends_ms + RETENTION_MS > now_ms]
        return sorted(kept, key=lambda each: _rank(each, now_ms))

    def get(self, id: str) -> Silence | None:
        """The one with this id."""
        return next((each for each in self.all() if each.id == id), None)

    def active(self, now_ms: int) -> ActiveSilences:
        """Those that keep alerts quiet now: the same object for as long as they are the same."""
        held, kept = self._active, self._all
        if held.kept is not kept or not held.since_ms <= now_ms < held.until_ms:
            held = self._active = _Held(kept, now_ms)
        return held.active

    def silencing(self, labels: Labels, now_ms: int) -> tuple[str, ...]:
        """The ids of those that keep an alert with these labels quiet now, sorted."""
        return tuple(each.id for each in self.active(now_ms).covering(labels))

    async def set(self, silence: Silence) -> str:
        """Add one, or change the one whose id it has; the id it has now. SilenceRefused, SilenceUnknown."""
        now_ms = self._clock.now_ms()
        check(silence, now_ms)
        rows = await self._database.write(lambda tx: self._put(tx, silence, now_ms), committed=self._keep)
        self._changed(rows)
        return rows[0].id

    async def expire(self, id: str) -> None:
        """End it now; nothing when it has ended. SilenceUnknown."""
        now_ms = self._clock.now_ms()
        self._changed(await self._database.write(lambda tx: self._end(tx, id, now_ms), committed=self._keep))

    def _put(self, tx: Transaction, silence: Silence, now_ms: int) -> list[Silence]:
        old = self.get(silence.id) if silence.id else None
        if silence.id and old is None:
            raise SilenceUnknown
        if old is not None and changes_in_place(old, silence, now_ms):
            return _save(tx, [replace(silence, updated_ms=now_ms)])
        new = replace(silence, id=str(uuid.uuid4()), starts_ms=max(silence.starts_ms, now_ms), updated_ms=now_ms)
        ended = [_ended(old, now_ms)] if old is not None else []
        _purge(tx, now_ms)
        return _save(tx, [new, *ended])

    def _end(self, tx: Transaction, id: str, now_ms: int) -> list[Silence]:
        old = self.get(id)
        if old is None:
            raise SilenceUnknown
        return _save(tx, [_ended(old, now_ms)])

    def _keep(self, changed: Iterable[Silence]) -> None:
        # A new mapping each time: whoever goes through the old one on another thread is not disturbed.
        oldest_ms = self._clock.now_ms() - RETENTION_MS
        kept = [each for each in self._all.values() if each.ends_ms > oldest_ms]
        self._all = {each.id: each for each in (*kept, *changed)}

    def _counting(self, state: SilenceState) -> Callable[[], int]:
        return lambda: sum(each.state(self._clock.now_ms()) is state for each in self.all())


def _rank(silence: Silence, now_ms: int) -> tuple[int, int]:
    state = silence.state(now_ms)
    moment = {
        SilenceState.ACTIVE: silence.ends_ms,
        SilenceState.PENDING: silence.starts_ms,
        SilenceState.EXPIRED: -silence.ends_ms,
    }
    return list(SilenceState).index(state), moment[state]


def _ended(silence: Silence, now_ms: int) -> Silence:
    match silence.state(now_ms):
        case SilenceState.EXPIRED:
            return silence
        case SilenceState.PENDING:
            return replace(silence, starts_ms=now_ms - 1, ends_ms=now_ms - 1, updated_ms=now_ms)
        case SilenceState.ACTIVE:
            # A millisecond ago, so that it is over now and not in a millisecond.
            return replace(silence, ends_ms=now_ms - 1, updated_ms=now_ms)


def _save(tx: Transaction, silences: list[Silence]) -> list[Silence]:
    tx.executemany(
        f"INSERT OR REPLACE INTO silence ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)",  # noqa: S608 - a constant
        [
            (
                each.id,
                json.dumps([[matcher.name, matcher.op.value, matcher.value] for matcher in each.matchers]),
                each.starts_ms,
                each.ends_ms,
                each.created_by,
                each.comment,
                json.dumps(dict(each.annotations), sort_keys=True),
                each.updated_ms,
            )
            for each in silences
        ],
    )
    return silences


def _purge(tx: Transaction, now_ms: int) -> None:
    tx.execute("DELETE FROM silence WHERE ends_ms <= ?", (now_ms - RETENTION_MS,))


def _read(row: tuple[str, str, int, int, str, str, str, int]) -> Silence:
    its_id, matchers, starts_ms, ends_ms, created_by, comment, annotations, updated_ms = row
    return Silence(
        matchers=tuple(AlertMatcher(name, MatchOp(op), value) for name, op, value in json.loads(matchers)),
        starts_ms=starts_ms,
        ends_ms=ends_ms,
        created_by=created_by,
        comment=comment,
        annotations=json.loads(annotations),
        id=its_id,
        updated_ms=updated_ms,
    )
