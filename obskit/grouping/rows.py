"""The tables of grouping: issues, the releases of each program, and the miner's templates.

Every function runs inside a transaction of the database, or reads; none decides anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from obskit.grouping.issues import Issue, Sample, State
from obskit.store.database import Database, Transaction

_COLUMNS: Final = (
    "id, app, kind, fingerprint, title, culprit, level, state, count, first_ms, last_ms, first_release, last_release,"
    " changed_ms, resolved_release, muted_until_ms, untold, hours, samples"
)
_TEMPLATES: Final = "grouping templates"


def save_issues(tx: Transaction, issues: Iterable[Issue]) -> None:
    """The issues as they are now, in place of what they were."""
    tx.executemany(
        f"INSERT OR REPLACE INTO error_issue ({_COLUMNS}) VALUES ({', '.join('?' * 19)})",  # noqa: S608 - a constant
        [_row_of(issue) for issue in issues],
    )


def delete_issues(tx: Transaction, ids: Iterable[str]) -> None:
    """Forget issues."""
    tx.executemany("DELETE FROM error_issue WHERE id = ?", [(id_,) for id_ in ids])


def save_releases(tx: Transaction, releases: Mapping[tuple[str, str], int]) -> None:
    """When a release of a program was first seen."""
    rows = [(*key, first_ms) for key, first_ms in releases.items()]
    tx.executemany("INSERT OR IGNORE INTO error_release (app, release, first_ms) VALUES (?, ?, ?)", rows)


def delete_releases(tx: Transaction, keys: Iterable[tuple[str, str]]) -> None:
    """Forget releases."""
    tx.executemany("DELETE FROM error_release WHERE app = ? AND release = ?", list(keys))


def save_templates(tx: Transaction, dumped: Sequence[Sequence[Any]]) -> None:
    """What the miner knows."""
    text = json.dumps(dumped, ensure_ascii=True, separators=(",", ":"))
    tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_TEMPLATES, text))


def read_issues(database: Database) -> list[Issue]:
    """All of them, the newest last."""
    return [_issue_of(row) for row in database.read(f"SELECT {_COLUMNS} FROM error_issue ORDER BY last_ms")]  # noqa: S608


def read_issues_since(database: Database, app: str, since_ms: int) -> list[Issue]:
    """Those of one program that were seen since, the newest last."""
    return [
        _issue_of(row)
        for row in database.read(
            f"SELECT {_COLUMNS} FROM error_issue WHERE app = ? AND last_ms >= ? ORDER BY last_ms",  # noqa: S608 - a constant
            (app, since_ms),
        )
    ]


def read_releases(database: Database) -> dict[tuple[str, str], int]:
    """When each was first seen."""
    rows = database.read("SELECT app, release, first_ms FROM error_release ORDER BY first_ms")
    return {(app, release): first_ms for app, release, first_ms in rows}


def read_templates(database: Database) -> list[list[Any]]:
    """What the miner knew."""
    rows = database.read("SELECT value FROM meta WHERE key = ?", (_TEMPLATES,))
    return list(json.loads(rows[0][0])) if rows else []


def _row_of(issue: Issue) -> tuple[Any, ...]:
    samples = [[each.number, each.t_ns, dict(each.stream), each.line] for each in issue.samples]
    return (
        issue.id, issue.app, issue.kind, issue.fingerprint, issue.title, issue.culprit, issue.level, issue.state.value,
        issue.count, issue.first_ms, issue.last_ms, issue.first_release, issue.last_release, issue.changed_ms,
        issue.resolved_release, issue.muted_until_ms, issue.untold, json.dumps(sorted(issue.hours.items())), json.dumps(samples),
    )  # fmt: skip


def _issue_of(row: Sequence[Any]) -> Issue:
    *plain, hours, samples = row
    issue = Issue(*plain)
    issue.state = State(issue.state)
    issue.hours = dict(json.loads(hours))
    issue.samples = [Sample(*each) for each in json.loads(samples)]
    return issue
