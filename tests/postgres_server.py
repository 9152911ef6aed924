"""A real Postgres for tests: one server for the session, a database of its own for each test, replicas where wanted.

Postgres refuses to run as root: then it runs as the user of its Debian package.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from obskit.model.exposition import ExpositionParser
from tests.servers import free_port, program, wait_for_port

__all__ = [
    "PostgresServer",
    "database",
    "exporter_page",
    "pgbouncer_port",
    "postgres_folder",
    "postgres_server",
]

_FAST = (
    *("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=40"),
    *("shared_preload_libraries=pg_stat_statements", "autovacuum=off", "listen_addresses=127.0.0.1"),
    *("wal_receiver_status_interval=1", "archive_mode=on", "archive_command=/bin/true"),
)
_TLS = ("ssl=on", "ssl_cert_file=server.crt", "ssl_key_file=server.key")
_ACCESS = """\
local all all trust
host all secured 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
"""
_ROLES = """
CREATE ROLE obskit LOGIN; GRANT pg_monitor TO obskit;
CREATE ROLE plain LOGIN; CREATE ROLE secured LOGIN PASSWORD 'r1ght-and-long';
"""


class PostgresServer:
    """`url(…)` for clients, `sql(…)` through psql as a superuser, `stop()` and `start()`."""

    def __init__(self, data: Path) -> None:
        self.port = free_port()
        self.data = data
        self._databases = itertools.count(1)

    @classmethod
    def new(cls, folder: Path) -> PostgresServer:
        """A cluster with the roles of the tests."""
        server = cls(folder / "data")
        run_program("initdb", "--auth=trust", "--username=postgres", "--no-sync", "-D", str(server.data))
        (server.data / "pg_hba.conf").write_text(_ACCESS)
        subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
        files = ("-keyout", str(server.data / "server.key"), "-out", str(server.certificate))
        run_program(
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            *subject,
            *files,
        )
        server.start()
        server.sql(_ROLES)
        return server

    @property
    def certificate(self) -> Path:
        """Its certificate, signed by itself."""
        return self.data / "server.crt"

    def replica(self, folder: Path) -> PostgresServer:
        """A streaming replica of this server, with a slot, started."""
        copy = PostgresServer(folder / f"replica{next(self._databases)}")
        slot = f"slot_{copy.port}"
        source = f"host=127.0.0.1 port={self.port} user=postgres"
        flags = ("--no-sync", "--checkpoint=fast", "--write-recovery-conf", "--create-slot", "--slot", slot)
        run_program("pg_basebackup", "-d", source, "-D", str(copy.data), *flags)
        copy.start()
        return copy

    def start(self) -> None:
        """Start it and wait until it listens."""
        settings = (f"port={self.port}", f"unix_socket_directories={self.data}", *_FAST, *_TLS)
        flags = [word for setting in settings for word in ("-c", setting)]
        command = [str(program("postgres")), "-D", str(self.data), *flags]
        log = (self.data.parent / "log").open("ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, **_owner())
        log.close()
        wait_for_port(self.port, self.process)
        for _ in range(500):  # it listens before it answers
            if self._psql("SELECT 1").returncode == 0:
                return
        raise RuntimeError(f"Postgres in {self.data} does not answer")

    def stop(self) -> None:
        """Stop it at once."""
        run_program("pg_ctl", "stop", "-m", "fast", "-D", str(self.data))
        self.process.wait()

    def url(self, database: str = "postgres", user: str = "obskit", query: str = "sslmode=disable") -> str:
        """`postgresql://…` as a person would write it."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?{query}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What psql prints for a statement, unaligned."""
        done = self._psql(statement, database)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def new_database(self) -> str:
        """An empty database."""
        name = f"test{next(self._databases)}"
        self.sql(f"CREATE DATABASE {name}")
        return name

    def _psql(self, statement: str, database: str = "postgres") -> subprocess.CompletedProcess[str]:
        command = ["psql", "-XAtq", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database]
        return subprocess.run([*command, "-c", statement], capture_output=True, text=True, check=False)


def until(server: PostgresServer, condition: str) -> None:
    """Return when a statement says `t`."""
    for _ in range(500):
        if server.sql(condition) == "t":
            return
    raise AssertionError(condition)


def run_program(name: str, *words: str) -> None:
    """Run a program of the server's to its end."""
    done = subprocess.run(
        [str(program(name)), *words], capture_output=True, text=True, check=False, cwd="/", **_owner()
    )
    assert done.returncode == 0, done.stderr


def _owner() -> dict[str, Any]:
    """Whose processes these are."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """A folder that the server's user may enter: pytest's own are for root alone."""
    folder = Path(tempfile.mkdtemp(prefix="obskit-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server(postgres_folder: Path) -> Iterator[PostgresServer]:
    """A real Postgres; mark the test with `@pytest.mark.server("postgres")`."""
    server = PostgresServer.new(postgres_folder)
    yield server
    server.stop()


@pytest.fixture
def database(postgres_server: PostgresServer) -> str:
    """A database of the test's own."""
    return postgres_server.new_database()


_BOUNCER = """\
[databases]
* = host=127.0.0.1 port={server} user=obskit
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
server_round_robin = 1
"""


@pytest.fixture
def pgbouncer_port(postgres_server: PostgresServer, postgres_folder: Path) -> Iterator[int]:
    """A transaction pooler before the server; mark the test with `@pytest.mark.server("pgbouncer")`."""
    port = free_port()
    settings = postgres_folder / f"pgbouncer{port}.ini"
    settings.write_text(_BOUNCER.format(server=postgres_server.port, port=port))
    command = [str(program("pgbouncer")), "-q", str(settings)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **_owner())
    wait_for_port(port, process)
    yield port
    process.kill()
    process.wait()


@pytest.fixture
def exporter_page(postgres_server: PostgresServer) -> Iterator[Callable[[str], dict[str, float]]]:
    """What postgres_exporter says of a database; mark with `@pytest.mark.server("prometheus-postgres-exporter")`."""
    started: list[subprocess.Popen[bytes]] = []

    def page(database: str) -> dict[str, float]:
        port = free_port()
        command = [str(program("prometheus-postgres-exporter")), f"--web.listen-address=127.0.0.1:{port}"]
        source = {"DATA_SOURCE_NAME": postgres_server.url(database)}
        quiet = subprocess.DEVNULL
        started.append(subprocess.Popen(command, env={**os.environ, **source}, stdout=quiet, stderr=quiet))
        wait_for_port(port, started[-1])
        body = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).content
        found = ExpositionParser().parse(body, "text/plain;version=0.0.4", now_ms=0)
        names = (str(labels.without("server")) for labels in found.labels)
        return dict(zip(names, found.values, strict=True))

    yield page
    for process in started:
        process.kill()
        process.wait()
