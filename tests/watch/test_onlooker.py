from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from obskit.clock import SystemClock
from obskit.grouping.issues import Issue, State
from obskit.grouping.rows import save_issues
from obskit.model.actions import Notice, NoticeReason
from obskit.model.alerts import Alert
from obskit.model.context import UNKNOWN, Context, Limit, TopError
from obskit.model.labels import EMPTY, Labels
from obskit.store.database import Database
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


def look(folder: Path, backdrop: Any, *issues: Issue, ended: bool = False) -> Context:
    alert = Alert(Labels({"alertname": "A", "app": "api"}), {}, NOW_MS, NOW_MS if ended else None)
    one = Notice("ops", "g", EMPTY, (alert,), NoticeReason.FIRST, "i", NOW_MS)

    async def scenario() -> Context:
        database = Database.open(folder, reserve_bytes=0)
        await database.write(lambda tx: save_issues(tx, issues))
        known = await Onlooker(backdrop, database, SystemClock(), app_labels=("service", "app"))(one)
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
