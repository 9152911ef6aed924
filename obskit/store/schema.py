"""The tables of main.db, as the ordered list of migrations that made them.

A migration that has landed is never edited: the next change is a new entry. `PRAGMA user_version` counts them.
Times are Unix milliseconds in `_ms` columns and nanoseconds in `_ns` columns; labels are JSON objects with sorted keys.
"""

from __future__ import annotations

from typing import Final

MIGRATIONS: Final[tuple[str, ...]] = (
    # 1: the spine
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

    -- Samples: an appended batch is one row of metric_head; fold moves old rows into one chunk per series.
    CREATE TABLE series (id INTEGER PRIMARY KEY, labels TEXT NOT NULL UNIQUE);
    CREATE TABLE metric_head (
        id INTEGER PRIMARY KEY AUTOINCREMENT, t0_ms INTEGER NOT NULL, t1_ms INTEGER NOT NULL,
        n INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE TABLE metric_chunk (
        series_id INTEGER NOT NULL, t0_ms INTEGER NOT NULL, t1_ms INTEGER NOT NULL,
        n INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (series_id, t0_ms)) WITHOUT ROWID;
    CREATE INDEX metric_chunk_end ON metric_chunk (t1_ms);
    CREATE TABLE metric_meta (
        name TEXT PRIMARY KEY, type TEXT NOT NULL, help TEXT NOT NULL, unit TEXT NOT NULL) WITHOUT ROWID;

    -- Records: an appended batch is one row of log_head.
    CREATE TABLE stream (id INTEGER PRIMARY KEY, labels TEXT NOT NULL UNIQUE);
    CREATE TABLE log_head (
        id INTEGER PRIMARY KEY AUTOINCREMENT, t0_ns INTEGER NOT NULL, t1_ns INTEGER NOT NULL,
        n INTEGER NOT NULL, raw_bytes INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE INDEX log_head_time ON log_head (t1_ns, t0_ns);

    CREATE TABLE cursor (owner TEXT PRIMARY KEY, value TEXT NOT NULL, updated_ms INTEGER NOT NULL) WITHOUT ROWID;

    -- Rules: one row per pending, firing or lately resolved alert, written in the transaction of its evaluation.
    CREATE TABLE alert_state (
        rule TEXT NOT NULL, fingerprint TEXT NOT NULL, labels TEXT NOT NULL, annotations TEXT NOT NULL,
        state TEXT NOT NULL, value REAL, active_ms INTEGER NOT NULL, fired_ms INTEGER, resolved_ms INTEGER,
        keep_firing_since_ms INTEGER, resolve_reason TEXT, PRIMARY KEY (rule, fingerprint)) WITHOUT ROWID;
    CREATE TABLE rule_group (
        name TEXT PRIMARY KEY, last_slot_ms INTEGER NOT NULL, series TEXT NOT NULL DEFAULT '[]') WITHOUT ROWID;

    -- Routing: the alerts it knows, the groups that wait for a flush, and what each receiver was last told.
    CREATE TABLE alert (
        fingerprint TEXT PRIMARY KEY, labels TEXT NOT NULL, annotations TEXT NOT NULL, starts_ms INTEGER NOT NULL,
        ends_ms INTEGER, value REAL, generator_url TEXT NOT NULL, source TEXT NOT NULL, resolve_reason TEXT,
        updated_ms INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE alert_group (
        group_key TEXT PRIMARY KEY, labels TEXT NOT NULL, incident TEXT NOT NULL, created_ms INTEGER NOT NULL,
        next_flush_ms INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE notification (
        group_key TEXT NOT NULL, destination TEXT NOT NULL, incident TEXT NOT NULL, firing TEXT NOT NULL,
        resolved TEXT NOT NULL, content TEXT NOT NULL DEFAULT '', t_ms INTEGER NOT NULL,
        PRIMARY KEY (group_key, destination)) WITHOUT ROWID;

    -- Outbox: what was decided and is not yet known to have arrived; done rows are kept for a while as receipts.
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, destination TEXT NOT NULL, lane TEXT NOT NULL,
        step TEXT NOT NULL, payload TEXT NOT NULL, coalesce TEXT, handle_key TEXT,
        state TEXT NOT NULL DEFAULT 'waiting', created_ms INTEGER NOT NULL, due_ms INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, leased_until_ms INTEGER NOT NULL DEFAULT 0,
        degraded INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '',
        done_ms INTEGER);
    CREATE INDEX outbox_waiting ON outbox (due_ms) WHERE state = 'waiting';
    CREATE INDEX outbox_lane ON outbox (destination, lane, id) WHERE state = 'waiting';
    CREATE INDEX outbox_done ON outbox (done_ms) WHERE state <> 'waiting';
    CREATE TABLE handle (
        destination TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, updated_ms INTEGER NOT NULL,
        PRIMARY KEY (destination, key)) WITHOUT ROWID;
    """,
    # 2: the outbox finds what is due per destination, and knows how fresh a coalesced row is
    """
    ALTER TABLE outbox ADD COLUMN renewed_ms INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX outbox_due ON outbox (destination, due_ms) WHERE state = 'waiting';
    DROP INDEX outbox_waiting;
    """,
    # 3: series are found by metric name, and forgotten when nothing of them is left
    """
    ALTER TABLE series ADD COLUMN name TEXT NOT NULL DEFAULT '';
    ALTER TABLE series ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX series_name ON series (name);
    """,
    # 4: streams are forgotten when nothing of them is left
    """
    ALTER TABLE stream ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
    """,
    # 5: what a rule measured when an alert recovered, and since when there is nothing to judge one by
    """
    ALTER TABLE alert_state ADD COLUMN resolved_value REAL;
    ALTER TABLE alert_state ADD COLUMN resolved_summary TEXT NOT NULL DEFAULT '';
    ALTER TABLE alert_state ADD COLUMN missing_since_ms INTEGER;
    ALTER TABLE alert ADD COLUMN resolved_value REAL;
    ALTER TABLE alert ADD COLUMN resolved_summary TEXT NOT NULL DEFAULT '';
    """,
    # 6: native histograms lie beside the samples, which name them by id (never given again); when counters began
    """
    CREATE TABLE histogram (id INTEGER PRIMARY KEY AUTOINCREMENT, t_ms INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE INDEX histogram_time ON histogram (t_ms);
    CREATE TABLE series_start (
        series_id INTEGER NOT NULL, since_ms INTEGER NOT NULL, start_ms INTEGER NOT NULL,
        PRIMARY KEY (series_id, since_ms)) WITHOUT ROWID;
    """,
    # 7: log head rows of one UTC day each, as blocks have them; lines of before this form are gone
    """
    DROP TABLE log_head;
    CREATE TABLE log_head (
        id INTEGER PRIMARY KEY AUTOINCREMENT, day INTEGER NOT NULL, t0_ns INTEGER NOT NULL, t1_ns INTEGER NOT NULL,
        n INTEGER NOT NULL, raw_bytes INTEGER NOT NULL, streams BLOB NOT NULL, columns BLOB NOT NULL,
        text BLOB NOT NULL);
    CREATE INDEX log_head_time ON log_head (t1_ns, t0_ns);
    CREATE INDEX log_head_day ON log_head (day, id);
    """,
    # 8: error groups, and when releases of a program were first seen in an error
    """
    CREATE TABLE error_issue (
        id TEXT PRIMARY KEY, app TEXT NOT NULL, kind TEXT NOT NULL, fingerprint TEXT NOT NULL, title TEXT NOT NULL,
        culprit TEXT NOT NULL, level TEXT NOT NULL, state TEXT NOT NULL, count INTEGER NOT NULL,
        first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, first_release TEXT NOT NULL, last_release TEXT NOT NULL,
        changed_ms INTEGER NOT NULL, resolved_release TEXT NOT NULL, muted_until_ms INTEGER NOT NULL,
        untold TEXT NOT NULL, hours TEXT NOT NULL, samples TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE error_release (
        app TEXT NOT NULL, release TEXT NOT NULL, first_ms INTEGER NOT NULL, PRIMARY KEY (app, release)) WITHOUT ROWID;
    """,
    # 9: who has taken an incident on
    """
    CREATE TABLE ack (
        incident TEXT NOT NULL, fingerprint TEXT NOT NULL, group_key TEXT NOT NULL, state TEXT NOT NULL,
        by_whom TEXT NOT NULL, said_where TEXT NOT NULL, t_ms INTEGER NOT NULL,
        PRIMARY KEY (incident, fingerprint)) WITHOUT ROWID;
    """,
    # 10: silences; alerts that others post end by themselves
    """
    CREATE TABLE silence (
        id TEXT PRIMARY KEY, matchers TEXT NOT NULL, starts_ms INTEGER NOT NULL, ends_ms INTEGER NOT NULL,
        created_by TEXT NOT NULL, comment TEXT NOT NULL, annotations TEXT NOT NULL,
        updated_ms INTEGER NOT NULL) WITHOUT ROWID;
    ALTER TABLE alert ADD COLUMN expires_ms INTEGER;
    ALTER TABLE alert ADD COLUMN timed_out INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX alert_expires ON alert (expires_ms) WHERE expires_ms IS NOT NULL;
    """,
    # 11: what waits has a priority, or is held back for newer content; an attempt that may have arrived is known; floods
    """
    ALTER TABLE outbox ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE outbox ADD COLUMN hold_ms INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE outbox ADD COLUMN doubtful INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE flood (destination TEXT PRIMARY KEY, recent TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE digest (
        id TEXT PRIMARY KEY, destination TEXT NOT NULL, receiver TEXT NOT NULL, since_ms INTEGER NOT NULL,
        joined_ms INTEGER NOT NULL, total INTEGER NOT NULL, moved INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
    CREATE INDEX digest_destination ON digest (destination, joined_ms);
    CREATE TABLE digest_group (
        destination TEXT NOT NULL, group_key TEXT NOT NULL, digest TEXT NOT NULL, name TEXT NOT NULL, place TEXT NOT NULL,
        severity TEXT NOT NULL, rank INTEGER NOT NULL, since_ms INTEGER NOT NULL, firing INTEGER NOT NULL,
        PRIMARY KEY (destination, group_key)) WITHOUT ROWID;
    CREATE INDEX digest_members ON digest_group (digest, name, place);
    """,
    # 12: a head row may be a block that is sealed but for the file it is to lie in
    """
    ALTER TABLE log_head ADD COLUMN counts BLOB;
    ALTER TABLE log_head ADD COLUMN filter BLOB;
    """,
    # 13: which days of log lines were copied to cold storage, as which objects, and which objects are to be deleted
    """
    CREATE TABLE cold_day (
        day INTEGER PRIMARY KEY, head INTEGER NOT NULL DEFAULT 0, listing TEXT NOT NULL DEFAULT '',
        copying_head INTEGER NOT NULL DEFAULT 0, copying_listing TEXT NOT NULL DEFAULT '',
        gone INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE cold_part (
        id INTEGER PRIMARY KEY AUTOINCREMENT, day INTEGER NOT NULL, source TEXT NOT NULL, key TEXT NOT NULL UNIQUE,
        size INTEGER NOT NULL, sha256 TEXT NOT NULL, n INTEGER NOT NULL, raw_bytes INTEGER NOT NULL,
        t0_ns INTEGER NOT NULL, t1_ns INTEGER NOT NULL, blocks INTEGER NOT NULL, state TEXT NOT NULL);
    CREATE INDEX cold_part_day ON cold_part (day);
    CREATE TABLE cold_garbage (key TEXT PRIMARY KEY) WITHOUT ROWID;
    """,
    # 14: what each destination was told besides, since when and how often; what an ack was about; groups that flap
    """
    ALTER TABLE notification ADD COLUMN since_ms INTEGER NOT NULL DEFAULT 0;
    UPDATE notification SET since_ms = t_ms;
    ALTER TABLE notification ADD COLUMN repeats INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE notification ADD COLUMN care TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE ack ADD COLUMN note TEXT NOT NULL DEFAULT '';
    ALTER TABLE ack ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE flap (
        group_key TEXT PRIMARY KEY, turns TEXT NOT NULL, firing INTEGER NOT NULL, flaps INTEGER NOT NULL,
        home TEXT NOT NULL, last_ms INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX flap_last ON flap (last_ms);
    """,
)
