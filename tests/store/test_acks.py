from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from obskit.store.acks import KEPT_MS, AckRow, AckState, note_ack, read_acks
from obskit.store.database import Database

ROW = AckRow("i1", "{}:{}", AckState.ACKED, "Ann", "PagerDuty", 1_000)


def note(folder: Path, *rows: AckRow) -> tuple[list[bool], list[AckRow]]:
    async def scenario() -> tuple[list[bool], list[AckRow]]:
        database = Database.open(folder)
        changed = [await database.write(lambda tx, row=row: note_ack(tx, row)) for row in rows]  # type: ignore[misc]
        found = read_acks(database, "i1")
        await database.close()
        return changed, found

    return asyncio.run(scenario())


def test_the_last_word_counts(tmp_path: Path) -> None:
    later = replace(ROW, state=AckState.OPEN, by="Bob", t_ms=2_000)
    assert note(tmp_path, ROW, ROW, later, ROW) == ([True, False, True, False], [later])


def test_it_survives_a_restart(tmp_path: Path) -> None:
    note(tmp_path, ROW)
    assert note(tmp_path)[1] == [ROW]


def test_the_row_of_the_group_comes_before_those_of_its_alerts(tmp_path: Path) -> None:
    one = replace(ROW, fingerprint="00ff")
    assert note(tmp_path, one, ROW)[1] == [ROW, one]


def test_what_is_a_month_old_is_forgotten(tmp_path: Path) -> None:
    other = replace(ROW, incident="i2", t_ms=ROW.t_ms + KEPT_MS + 1)
    assert note(tmp_path, ROW, other)[1] == []
