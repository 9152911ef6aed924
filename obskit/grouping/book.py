"""The book of issues: from records to issues and what happened to them. In memory, without waiting for anything.

It decides which issue a record belongs to; keeper.py feeds it, saves it and tells of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from obskit.grouping import telemetry
from obskit.grouping.entries import Entry, may_be_errors, read_entry
from obskit.grouping.fingerprints import Fingerprint
from obskit.grouping.issues import MAX_SAMPLE, Event, Issue, Sample
from obskit.grouping.miner import Miner, Template
from obskit.grouping.settings import GroupingSettings
from obskit.model.alert_matchers import parse_matchers
from obskit.model.labels import Labels
from obskit.model.matchers import Matcher, match_all
from obskit.model.records import Record
from obskit.store.log_interface import Records

SOURCE: Final = "error_group"
"""The stream in which groups are told of: what comes from us is not grouped again."""
MAX_RELEASES: Final = 50
_MAX_STREAMS: Final = 4_096


@dataclass(slots=True)
class Happened:
    """What a round changed, to be saved and told."""

    events: list[tuple[Event, Issue]] = field(default_factory=list)
    changed: dict[str, Issue] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    releases: dict[tuple[str, str], int] = field(default_factory=dict)
    old_releases: set[tuple[str, str]] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.events or self.changed or self.gone or self.releases)


class Book:
    """Issues by id, the miner that names those without an exception, and when releases were first seen."""

    def __init__(self, settings: GroupingSettings) -> None:
        self._settings = settings
        self._wanted = [parse_matchers(text) for text in settings.streams]
        self._ignored = [parse_matchers(text) for text in settings.ignore]
        self._choices: dict[Labels, bool | None] = {}
        self.miner = Miner()
        self.issues: dict[str, Issue] = {}
        self.releases: dict[tuple[str, str], int] = {}

    def load(self, issues: Iterable[Issue], releases: dict[tuple[str, str], int], templates: Iterable[Any]) -> None:
        """What was known before the restart."""
        self.issues = {issue.id: issue for issue in issues}
        self.releases = releases
        self.miner.load(templates)

    def candidates(self, records: Records) -> Records:
        """Those that may be errors; all of them where the config asks for whole streams. Keeps nothing: for any thread."""
        return records if self._wanted else may_be_errors(records)

    def read(self, records: Records, now_ms: int) -> Happened:
        """Group those of some candidates that are errors."""
        happened = Happened()
        for record in records:
            wanted = self._choice(record.stream)
            entry = None if wanted is None else read_entry(record, self._settings.app_labels, wanted=wanted)
            if entry is not None:
                self._see(entry, record, now_ms, happened)
        telemetry.SEEN.inc(sum(happened.seen.values()))
        self._follow_merges(happened)
        self._make_room(happened)
        return happened

    def group_of(self, record: Record) -> str:
        """The id of the issue a record belongs to, "" where it is none or not known yet. Changes nothing: for any thread."""
        wanted = self._choice(record.stream)
        entry = None if wanted is None else read_entry(record, self._settings.app_labels, wanted=wanted)
        if entry is None:
            return ""
        if entry.fingerprint is not None and entry.fingerprint.id:
            return issue_id(entry.app, entry.fingerprint.id)
        template = self.miner.find(entry.text)
        return issue_id(entry.app, template.id) if template is not None else ""

    def forget_before(self, before_ms: int) -> Happened:
        """Let go of issues that were not seen since."""
        happened = Happened()
        for issue in [issue for issue in self.issues.values() if issue.last_ms < before_ms]:
            del self.issues[issue.id]
            happened.gone.add(issue.id)
        return happened

    def _choice(self, stream: Labels) -> bool | None:
        """Whether every line of a stream is grouped; None where none is."""
        if stream not in self._choices:
            if len(self._choices) >= _MAX_STREAMS:
                self._choices.clear()
            ignored = stream.get("source") == SOURCE or _any_match(self._ignored, stream)
            self._choices[stream] = None if ignored else _any_match(self._wanted, stream)
        return self._choices[stream]

    def _see(self, entry: Entry, record: Record, now_ms: int, happened: Happened) -> None:
        known: Fingerprint | Template | None = entry.fingerprint
        if known is None or not known.id:
            known = self.miner.add(entry.text)
        id_ = issue_id(entry.app, known.id)
        issue = self.issues.pop(id_, None) or _begun(id_, entry, known)
        self.issues[id_] = issue  # the newest last
        later = self._note_release(entry, issue, record.t_ns // 1_000_000, happened)
        sample = Sample(issue.count + 1, record.t_ns, record.stream, record.line[:MAX_SAMPLE])
        event = issue.see(sample, entry.release, is_later_release=later, now_ms=now_ms)
        if event is not None:
            happened.events.append((event, issue))
            telemetry.EVENTS.labels(event.value).inc()
        happened.changed[id_] = issue
        happened.seen[id_] = happened.seen.get(id_, 0) + 1

    def _note_release(self, entry: Entry, issue: Issue, t_ms: int, happened: Happened) -> bool:
        """Whether the release began after the issue was resolved, as far as errors tell."""
        if not entry.release:
            return False
        key = entry.app, entry.release
        if key not in self.releases:
            self.releases[key] = happened.releases[key] = t_ms
            of_app = [each for each in self.releases if each[0] == entry.app]
            for old in sorted(of_app, key=self.releases.__getitem__)[:-MAX_RELEASES]:
                del self.releases[old]
                happened.releases.pop(old, None)
                happened.old_releases.add(old)
        return self.releases.get(key, 0) > issue.changed_ms

    def _follow_merges(self, happened: Happened) -> None:
        """Issues whose templates were merged are one: the one of the oldest template."""
        merges = self.miner.merges()
        if not merges:
            return
        for issue in [issue for issue in self.issues.values() if issue.fingerprint in merges]:
            to = merges[issue.fingerprint]
            whole = self.issues.get(issue_id(issue.app, to))
            del self.issues[issue.id]
            happened.gone.add(issue.id)
            happened.changed.pop(issue.id, None)
            happened.events = [(event, of) for event, of in happened.events if of is not issue]
            if whole is None:
                whole = Issue(
                    issue_id(issue.app, to), issue.app, issue.kind, to, issue.title, "", issue.level, issue.state
                )
                self.issues[whole.id] = whole
            whole.absorb(issue)
            happened.changed[whole.id] = whole
            happened.seen[whole.id] = happened.seen.get(whole.id, 0) + happened.seen.pop(issue.id, 0)
        for issue in happened.changed.values():
            template = self.miner.get(issue.fingerprint) if issue.kind == "message" else None
            if template is not None:
                issue.title = template.text[:200]
        happened.gone -= self.issues.keys()

    def _make_room(self, happened: Happened) -> None:
        """At the limit the issue that was not seen for longest is forgotten; those that were are at the end."""
        while len(self.issues) > self._settings.max_groups:
            id_ = next(iter(self.issues))
            del self.issues[id_]
            happened.gone.add(id_)
            happened.changed.pop(id_, None)
            telemetry.FORGOTTEN.inc()


def _begun(id_: str, entry: Entry, known: Fingerprint | Template) -> Issue:
    if isinstance(known, Template):
        return Issue(id_, entry.app, "message", known.id, known.text[:200], "", entry.level)
    return Issue(id_, entry.app, "exception", known.id, known.title, known.culprit, entry.level)


@lru_cache(maxsize=4_096)
def issue_id(app: str, fingerprint: str) -> str:
    """Short enough to be typed."""
    text = f"{app}\0{fingerprint}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=5).hexdigest()


def _any_match(selectors: Iterable[tuple[Matcher, ...]], stream: Labels) -> bool:
    return any(match_all(matchers, stream) for matchers in selectors)
