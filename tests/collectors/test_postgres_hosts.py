"""Postgres as a host's own API tells it (Neon, Supabase), and its backups: against fakes, a real command, a real file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from obskit.clock import SystemClock
from obskit.collect import Captured, Feed
from obskit.errors import CollectorError
from obskit.model.telemetry import REGISTRY
from obskit.testing.clock import run
from obskit.testing.http import Failure
from obskit.testing.neon import API_KEY, FakeNeon, NeonProject
from obskit.testing.supabase import KEY, FakeSupabase
from obskit_collectors.postgres import KIND, PostgresSettings

NOW_MS = 1_796_068_800_000  # 2026-11-30T20:00:00Z
NEON_HOST = "postgresql://u@ep-cool-1.us-east-2.aws.neon.tech/shop?sslmode=require&channel_binding=require"


class StoppedWall(SystemClock):
    """Real waiting (a FakeClock knows nothing of child processes) at a time of the test's."""

    def now_ms(self) -> int:
        return NOW_MS


def collect(captured: Captured | None = None, **settings: Any) -> dict[str, float]:
    captured = captured or Captured()
    collector = KIND.build(PostgresSettings.model_validate(settings))
    run(collector.once(Feed("postgres", captured, StoppedWall())))
    return readings(captured)


def readings(captured: Captured) -> dict[str, float]:
    return {str(sample.labels.without("job")): sample.value for sample in captured.samples}


def failing(reason: str, said: str, **settings: Any) -> str:
    with pytest.raises(CollectorError, match=said) as raised:
        collect(**settings)
    assert raised.value.reason == reason
    checks = run(KIND.doctor(PostgresSettings.model_validate(settings), SystemClock()))
    (bad,) = [check for check in checks if not check.ok]
    assert bad.fix
    return f"{raised.value} {checks}"


def neon(fake: FakeNeon, **more: Any) -> dict[str, Any]:
    return {"neon": {"api_key": API_KEY, "url": fake.url, **more}}


SHOP = NeonProject(
    "p-shop",
    "shop",
    storage_bytes=3_000_000_000,
    computes={"ep-1": "active", "ep-2": "idle", "ep-3": "init"},
    days={
        "2026-10-31": {"compute_unit_seconds": 999_999},
        "2026-11-02": {"compute_unit_seconds": 3_600, "root_branch_bytes_month": 1e9, "a_new_one": 5},
        "2026-11-30": {"compute_unit_seconds": 7_200, "root_branch_bytes_month": 1e9},
    },
)


def test_neons_computes_storage_consumption_and_cost_are_told_without_a_statement() -> None:
    with FakeNeon(projects=(SHOP,)) as fake:
        found = collect(url=NEON_HOST, **neon(fake))
        assert {request.path.partition("?")[0] for request in fake.requests} == {
            "/api/v2/projects",
            "/api/v2/projects/p-shop/endpoints",
            "/api/v2/consumption_history/v2/projects",
        }
    of = 'project="shop", project_id="p-shop"'
    assert found[f'neon_endpoint_active{{endpoint_id="ep-1", {of}, type="read_write"}}'] == 1
    assert found[f'neon_endpoint_active{{endpoint_id="ep-2", {of}, type="read_write"}}'] == 0
    assert not any(name.startswith("neon_endpoint_active") and "ep-3" in name for name in found), "unknown is not 0"
    assert found[f"neon_project_storage_bytes{{{of}}}"] == 3e9
    month = 'neon_consumption_month_to_date{{metric="{}", project_id="p-shop"}}'
    assert found[month.format("compute_unit_seconds")] == 10_800
    assert found[month.format("a_new_one")] == 5
    cost = 'obskit_cost_month_to_date_dollars{{item="{}", project_id="p-shop", vendor="neon"}}'
    assert found[cost.format("compute")] == pytest.approx(3 * 0.106)
    assert found[cost.format("storage")] == pytest.approx(2 * 0.35)
    assert not any(name.startswith("pg_") for name in found)


@pytest.mark.parametrize("repeats_cursor", [True, False])
def test_every_page_of_projects_is_read_and_the_reading_ends(repeats_cursor: bool) -> None:
    projects = tuple(NeonProject(f"p{n}", days={"2026-11-01": {"compute_unit_seconds": n}}) for n in range(7))
    with FakeNeon(projects=projects, page_size=3, repeats_cursor=repeats_cursor, tier="scale") as fake:
        found = collect(**neon(fake))
        some = collect(**neon(fake, projects=["p2"]))
    assert len([name for name in found if name.startswith("neon_project_storage_bytes")]) == 7
    assert len([name for name in found if "compute_unit_seconds" in name]) == 7
    assert len([name for name in some if name.startswith("neon_project_storage_bytes")]) == 1


def test_on_the_free_plan_the_rest_is_read() -> None:
    with FakeNeon(projects=(SHOP,), tier="free") as fake:
        found = collect(**neon(fake))
        checks = run(KIND.doctor(PostgresSettings.model_validate(neon(fake)), SystemClock()))
    assert not any("consumption" in name or "cost" in name for name in found)
    assert found['neon_project_storage_bytes{project="shop", project_id="p-shop"}'] == 3e9
    assert any("paid plans" in check.what for check in checks if check.ok)


@pytest.mark.parametrize(
    ("failure", "reason", "said"),
    [
        (Failure(status=429, retry_after=7), "rate_limited", "429"),
        (Failure(status=503), "server", "503"),
        (Failure(status=200, body='{"projects": [{"id"'), "bad_data", "not JSON"),
        (Failure(status=200, body="[]"), "bad_data", "no object"),
        (Failure(cut=True, status=200, body="{}"), "network", "GET"),
    ],
)
def test_a_neon_that_fails_has_its_reason(failure: Failure, reason: str, said: str) -> None:
    with FakeNeon(projects=(SHOP,)) as fake:
        fake.break_down(failure)
        failing(reason, said, **neon(fake))


def test_a_wrong_key_is_told_without_the_key() -> None:
    with FakeNeon(projects=(SHOP,)) as fake:
        assert "s3cret" not in failing("auth", "401", neon={"api_key": "s3cret-s3cret", "url": fake.url})


@pytest.mark.parametrize("body", ['{"projects": null}', '{"projects": [7, {"name": "x"}], "pagination": []}', "{}"])
def test_a_neon_that_says_something_else_gives_nothing(body: str) -> None:
    with FakeNeon(projects=(SHOP,)) as fake:
        fake.break_down(Failure(status=200, body=body))
        assert collect(**neon(fake)) == {}


def test_what_is_asked_of_neon_is_booked_as_requests() -> None:
    with FakeNeon(projects=(SHOP,)) as fake:
        collector = KIND.build(PostgresSettings.model_validate({"name": "booked", **neon(fake)}))
        run(collector.once(Feed(collector.name, Captured(), SystemClock())))
    booked = REGISTRY.get_sample_value("obskit_collector_requests_total", {"collector": "postgres/booked"})
    assert booked == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": NEON_HOST}, "SQL keeps a Neon compute awake"),
        ({"supabase": {"key": "k"}}, "give either project or url"),
        ({"supabase": {"key": "k", "project": "a/b"}}, "pattern"),
        ({"supabase": {"key": "k", "url": "db.example"}}, "must look like https://"),
        ({"supabase": {"key": "k", "project": "a", "every": "15s"}}, "greater than or equal to 60000"),
        ({"neon": {"api_key": "k", "every": "10m"}}, "less than or equal to 240000"),
        ({"pgbackrest": {"file": "a", "url": "https://b/c"}}, "either file or url"),
        ({"pgbackrest": {"url": "https://u:p@b/c"}}, "without a user"),
        ({"pgbackrest": {"command": []}}, "at least 1"),
    ],
)
def test_a_setting_of_a_part_is_refused_with_the_reason(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PostgresSettings.model_validate(settings)


def test_a_neon_server_is_asked_by_sql_when_that_is_wanted() -> None:
    settings = PostgresSettings.model_validate({"url": NEON_HOST, "keep_awake": True})
    assert settings.address is not None
    assert settings.address.sslmode == "require"


def test_supabases_page_has_the_exporters_names() -> None:
    with FakeSupabase() as fake:
        found = collect(name="shop", supabase={"url": fake.base_url, "key": KEY})
    of = 'instance="shop", service_type="db", supabase_identifier="fakeref", supabase_project_ref="fakeref"'
    assert found["pg_up{" + of + "}"] == 1
    assert found["pg_replication_lag_seconds{" + of + "}"] == 0.04
    assert found['pg_stat_database_numbackends{datname="postgres", ' + of + "}"] == 7
    assert found['pg_stat_database_deadlocks{datname="postgres", ' + of + "}"] == 2
    assert found['node_cpu_seconds_total{cpu="0", ' + of.replace(" service", ' mode="idle", service') + "}"] == 1234.5
    assert not any(name.startswith("go_") for name in found)


def test_a_supabase_that_refuses_is_told_without_the_key() -> None:
    with FakeSupabase() as fake:
        settings = {"url": fake.base_url, "key": "s3cret-s3cret"}
        assert "s3cret" not in failing("auth", "401", supabase=settings)
        fake.paused = True
        assert "resume the project" in failing("server", "540", supabase={"url": fake.base_url, "key": KEY})


def test_one_part_that_fails_does_not_stop_the_others() -> None:
    captured = Captured()
    with FakeSupabase() as fake, FakeNeon(projects=(SHOP,)) as other:
        other.break_down(Failure(status=500))
        with pytest.raises(CollectorError):
            collect(captured, supabase={"url": fake.base_url, "key": KEY}, **neon(other))
    assert any(name.startswith("pg_up") for name in readings(captured))


BACKUPS: list[dict[str, Any]] = [
    {
        "name": "shop",
        "status": {"code": 0, "message": "ok", "lock": {"backup": {"held": False}}},
        "cipher": "none",
        "db": [{"id": 1, "repo-key": 1, "system-id": 7, "version": "15"}],
        "archive": [{"id": "15-1", "min": "01", "max": "02", "database": {"id": 1, "repo-key": 1}}],
        "repo": [{"key": 1, "cipher": "none", "status": {"code": 0, "message": "ok"}}],
        "backup": [
            {
                "label": "F",
                "type": "full",
                "error": False,
                "timestamp": {"start": NOW_MS // 1000 - 90_100, "stop": NOW_MS // 1000 - 90_000},
                "info": {"size": 5000, "delta": 5000, "repository": {"size": 900, "delta": 900}},
            },
            {"label": "I", "type": "incr", "timestamp": {"start": NOW_MS // 1000 - 70, "stop": NOW_MS // 1000 - 60}},
            {"label": "?", "type": "a new one", "timestamp": {"stop": 1}},
            {"label": "!", "type": "full", "timestamp": None, "info": 7},
        ],
    },
    {"name": "broken", "status": {"code": 2, "message": "no valid backups"}, "backup": None, "repo": [None]},
]


def check_backups(found: dict[str, float]) -> None:
    age = 'pgbackrest_backup_since_last_completion_seconds{{backup_type="{}", stanza="shop"}}'
    assert found[age.format("full")] == 90_000
    assert found[age.format("diff")] == 90_000
    assert found[age.format("incr")] == 60, "the last of any type"
    assert found['pgbackrest_backup_last_size_bytes{backup_type="full", stanza="shop"}'] == 5000
    assert found['pgbackrest_backup_last_duration_seconds{backup_type="incr", stanza="shop"}'] == 10
    assert found['pgbackrest_backup_last_error_status{backup_type="full", stanza="shop"}'] == 0
    assert found['pgbackrest_stanza_status{stanza="shop"}'] == 0
    assert found['pgbackrest_stanza_status{stanza="broken"}'] == 2
    assert found['pgbackrest_repo_status{cipher="none", repo_key="1", stanza="shop"}'] == 0
    archive = 'database_id="1", pg_version="15", repo_key="1", stanza="shop"'
    assert found[f"pgbackrest_wal_archive_status{{{archive}}}"] == 1


def test_backups_are_read_from_a_file_and_from_a_command(tmp_path: Path) -> None:
    file = tmp_path / "info.json"
    file.write_text(json.dumps(BACKUPS))
    check_backups(collect(pgbackrest={"file": str(file)}))
    check_backups(collect(pgbackrest={"command": ["cat", str(file)]}))


def test_backups_are_read_from_a_url_whose_query_stays_secret() -> None:
    with FakeSupabase() as fake:
        fake.plan(Failure(status=200, body=json.dumps(BACKUPS)), route="/info")
        check_backups(collect(pgbackrest={"url": f"{fake.base_url}/info?token=s3cret"}))
        assert "s3cret" not in failing("missing", "404", pgbackrest={"url": f"{fake.base_url}/info?token=s3cret"})


@pytest.mark.parametrize(
    ("command", "reason", "said"),
    [
        (["/no/such/program"], "config", "No such file"),
        (["sh", "-c", "echo s3cret >&2; exit 3"], "server", "ended with 3"),
        (["echo", "[{"], "bad_data", "not the JSON"),
        (["echo", "{}"], "bad_data", "not a list"),
        (["sleep", "30"], "timeout", "no answer within"),
        (["yes"], "bad_data", "printed more than 16 MB"),
    ],
)
def test_a_command_that_fails_has_its_reason_and_is_ended(command: list[str], reason: str, said: str) -> None:
    timeout = "100ms" if command[0] == "sleep" else "30s"
    with pytest.raises(CollectorError, match=said) as raised:
        run(KIND.build(settings_of(command, timeout)).once(Feed("postgres", Captured(), SystemClock())))
    assert raised.value.reason == reason
    assert "s3cret" not in str(raised.value)


def settings_of(command: list[str], timeout: str) -> PostgresSettings:
    return PostgresSettings.model_validate({"pgbackrest": {"command": command, "timeout": timeout}})


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    said = failing("missing", "No such file", pgbackrest={"file": str(tmp_path / "none")})
    assert "let cron write it" in said


def test_no_stanza_is_told_by_the_doctor_and_gives_nothing() -> None:
    assert collect(pgbackrest={"command": ["echo", "[]"]}) == {}
    checks = run(KIND.doctor(settings_of(["echo", "[]"], "5s"), SystemClock()))
    assert [check.ok for check in checks] == [False]


def test_each_part_has_its_own_book(tmp_path: Path) -> None:
    (tmp_path / "info.json").write_text("[]")
    with FakeSupabase() as fake, FakeNeon(projects=(SHOP,)) as other:
        parts = {"supabase": {"url": fake.base_url, "key": KEY}, "pgbackrest": {"file": str(tmp_path / "info.json")}}
        collector = KIND.build(PostgresSettings.model_validate({"name": "books", **parts, **neon(other)}))
        run(collector.once(Feed(collector.name, Captured(), StoppedWall())))
    booked = [
        (sample.labels["target"].partition(" ")[0], sample.value)
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "obskit_collector_up" and sample.labels["collector"] == "postgres/books"
    ]
    page = f"{fake.base_url}/customer/v1/privileged/metrics"
    assert sorted(booked) == sorted((target, 1) for target in (page, other.url, str(tmp_path / "info.json")))
