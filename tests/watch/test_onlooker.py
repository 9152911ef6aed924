from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from obskit.clock import SystemClock
from obskit.grouping.issues import Issue, State
from obskit.grouping.rows import save_issues
from obskit.model.actions import Notice, NoticeReason
from obskit.model.alerts import Alert
from obskit.model.context import UNKNOWN, Context, Deploy, Limit, TopError
from obskit.model.deploys import deploy_record
from obskit.model.labels import EMPTY, Labels
from obskit.model.records import Record
from obskit.store.database import Database
from obskit.store.embedded import EmbeddedStore
from obskit.store.interface import Batch
from obskit.store.settings import StoreSettings
from obskit.watch.parts import Onlooker

HOUR_MS = 3_600_000
NOW_MS = 500_000 * HOUR_MS


class Backdrop:
    """Knows a limit, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def look(self, _: Notice) -> Context:
        if self.error:
            raise self.error
        return Context(limit=Limit(">", 1))


def issue(title: str, hours: dict[int, int], *, app: str = "api", state: State = State.OPEN) -> Issue:
    last_ms = NOW_MS - min(hours) * HOUR_MS
    counted = {(NOW_MS // HOUR_MS) - ago: count for ago, count in hours.items()}
    return Issue(title, app, "message", title, title, state=state, count=1, last_ms=last_ms, hours=counted)


def look(folder: Path, backdrop: Any, *issues: Issue, ended: bool = False, deploys: Sequence[Record] = ()) -> Context:
    alert = Alert(Labels({"alertname": "A", "app": "api"}), {}, NOW_MS, NOW_MS if ended else None)
    one = Notice("ops", "g", EMPTY, (alert,), NoticeReason.FIRST, "i", NOW_MS)

    async def scenario() -> Context:
        database = Database.open(folder, reserve_bytes=0)
        await database.write(lambda tx: save_issues(tx, issues))
        store = EmbeddedStore(database, SystemClock(), StoreSettings())
        await store.append(Batch(records=deploys))
        look = Onlooker(backdrop, database, store.logs, SystemClock(), app_labels=("service", "app"))
        known = await look(one)
        await database.close()
        return known

    return asyncio.run(scenario())


def test_the_top_error_is_the_programs_most_frequent_one_lately(tmp_path: Path) -> None:
    known = look(
        tmp_path,
        Backdrop(),
        issue("TimeoutError", {0: 40, 1: 3, 30: 9_000}),
        issue("KeyError", {0: 42}),
        issue("of long ago", {5: 99}),
        issue("known and muted", {0: 99}, state=State.MUTED),
        issue("of another program", {0: 99}, app="web"),
    )
    assert known == Context(limit=Limit(">", 1), top_error=TopError("TimeoutError", 43))


def test_what_is_over_has_no_top_error(tmp_path: Path) -> None:
    assert look(tmp_path, Backdrop(), issue("KeyError", {0: 1}), ended=True).top_error is None


def test_a_question_that_fails_leaves_the_message_without_context(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert look(tmp_path, Backdrop(RuntimeError("a defect"))) == UNKNOWN
    assert "messages go without their context: reason=RuntimeError" in caplog.text


def test_the_last_deploys_of_the_program_are_known_the_newest_first(tmp_path: Path) -> None:
    old, newer, newest = (
        Deploy(NOW_MS - ago * HOUR_MS, what, by, version)
        for ago, what, by, version in (
            (30, "long ago", "", ""),
            (3, "rollback", "", "v1"),
            (1, "retry on 502", "ann", "v2"),
        )
    )
    told = [deploy_record("api", one, vendor="fly") for one in (old, newer, newest)]
    of_another = deploy_record("web", newest, vendor="fly")
    known = look(tmp_path, Backdrop(), deploys=(*told, of_another))
    assert known.deploys == (newest, newer)
    assert look(tmp_path / "over", Backdrop(), deploys=told, ended=True).deploys == (newest, newer)


def test_a_deploy_is_an_event_that_a_person_can_read() -> None:
    record = deploy_record("shop", Deploy(NOW_MS, "retry on 502", "ann", "v213"), vendor="fly")
    assert record.line == "release shop v213 by ann: retry on 502"
    assert record.stream == Labels({"source": "event", "event": "deploy", "app": "shop"})
    assert record.metadata["name"] == "deploy"
    assert deploy_record("shop", Deploy(NOW_MS, ""), vendor="fly", kind="restart").line == "restart shop"
