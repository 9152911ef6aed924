"""FakeSupabase: a project's metrics endpoint, with the names that differ from postgres_exporter's, and its refusals."""

from __future__ import annotations

from base64 import b64encode
from typing import Final

from obskit.clock import Clock
from obskit.testing.http import Answer, FakeServer, Received

KEY: Final = "sb_secret_fake-and-long-enough"
PATH: Final = "/customer/v1/privileged/metrics"
_LABELS: Final = 'supabase_project_ref="fakeref",supabase_identifier="fakeref",service_type="db"'
PAGE: Final = f"""\
# HELP pg_up Whether the last scrape of metrics from PostgreSQL was able to connect to the server.
# TYPE pg_up gauge
pg_up{{{_LABELS}}} 1
# TYPE pg_database_size_bytes gauge
pg_database_size_bytes{{datname="postgres",{_LABELS}}} 5.1e+08
# TYPE pg_stat_database_num_backends gauge
pg_stat_database_num_backends{{datname="postgres",{_LABELS}}} 7
# TYPE pg_stat_database_deadlocks_total counter
pg_stat_database_deadlocks_total{{datname="postgres",{_LABELS}}} 2
# TYPE physical_replication_lag_physical_replication_lag_seconds gauge
physical_replication_lag_physical_replication_lag_seconds{{{_LABELS}}} 0.04
# TYPE supavisor_connections_active gauge
supavisor_connections_active{{{_LABELS}}} 3
# TYPE node_cpu_seconds_total counter
node_cpu_seconds_total{{cpu="0",mode="idle",{_LABELS}}} 1234.5
# TYPE node_filesystem_avail_bytes gauge
node_filesystem_avail_bytes{{mountpoint="/data",fstype="ext4",{_LABELS}}} 4e+09
# TYPE go_goroutines gauge
go_goroutines{{{_LABELS}}} 12
"""


class FakeSupabase(FakeServer):
    """`page` is what it says; a `paused` project answers with an error."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.page = PAGE
        self.paused = False
        super().__init__(clock)

    def answer(self, request: Received) -> Answer:
        """The page for `service_role` with the secret key; 401 for others."""
        if request.path != PATH:
            return Answer(404, b'{"message":"not found"}')
        if self.paused:
            return Answer(540, b'{"message":"Project paused"}')
        expected = b64encode(f"service_role:{KEY}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            return Answer(401, b'{"message":"Unauthorized"}')
        return Answer(200, self.page.encode(), "text/plain; version=0.0.4; charset=utf-8")
