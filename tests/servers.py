"""Real servers from Debian packages, each on a free loopback port, for tests that need one.

A test that is marked `@pytest.mark.server("redis-server")` skips with its reason where the program is missing;
`.ci/run` installs them all and fails on such a skip.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = {
    "redis-server": "redis-server",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "prometheus-blackbox-exporter": "prometheus-blackbox-exporter",
    "nginx": "nginx-light",
    "postgres": "postgresql",
    "pgbouncer": "pgbouncer",
    "prometheus-postgres-exporter": "prometheus-postgres-exporter",
    "rabbitmq-server": "rabbitmq-server",
}


@pytest.fixture(autouse=True)
def _needs_its_server(request: pytest.FixtureRequest) -> None:
    for marker in request.node.iter_markers("server"):
        need(marker.args[0])


def need(name: str) -> None:
    """Skip the test, or fail it in CI, when a server's program is missing."""
    if program(name):
        return
    reason = f"needs {name}: apt-get install {PACKAGES.get(name, name)}"
    if os.environ.get("OBSKIT_SERVERS_REQUIRED"):
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str) -> str | None:
    """Where a program is. Debian keeps those of Postgres out of the PATH, one folder for each version, and daemons in sbin."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(beside[-1]) if beside else shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 10) -> None:
    """Return when something listens on the port; fail when the process ended or time ran out."""
    for _ in range(int(seconds / 0.02)):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        with socket.socket() as probe:
            probe.settimeout(0.02)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
    raise RuntimeError(f"nothing listens on port {port}")


class RedisServer:
    """A redis-server of our own: `url`, `command(…)` through redis-cli, `stop()` and `start()`."""

    def __init__(self, folder: Path, password: str | None = None) -> None:
        self.port = free_port()
        self.password = password
        self._folder = folder
        self.start()

    @property
    def url(self) -> str:
        """`redis://…` as a person would write it."""
        auth = f":{self.password}@" if self.password else ""
        return f"redis://{auth}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it listens."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self._folder]
        if self.password:
            command += ["--requirepass", self.password]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(self.port, self.process)

    def stop(self) -> None:
        """Stop it, as a crash would."""
        self.process.kill()
        self.process.wait()

    def command(self, *words: str) -> str:
        """What redis-cli prints for a command."""
        auth = ["--no-auth-warning", "-a", self.password] if self.password else []
        run = ["redis-cli", "-p", str(self.port), *auth, *words]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A real Redis; mark the test with `@pytest.mark.server("redis-server")`."""
    server = RedisServer(tmp_path)
    yield server
    server.stop()


class RabbitServer:
    """A rabbitmq-server of our own, with its management API: `amqp`, `api_url`, `control(…)` as rabbitmqctl."""

    PROGRAMS = Path("/usr/lib/rabbitmq/bin")
    """The programs themselves: Debian's wrappers in /usr/sbin change the user."""

    def __init__(self, folder: Path) -> None:
        self.amqp_port, self.api_port, epmd, distribution = (free_port() for _ in range(4))
        (folder / "plugins").write_text("[rabbitmq_management].\n")
        (folder / "rabbit.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.amqp_port}\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.api_port}\n"
            "collect_statistics_interval = 500\n"
        )
        self._env = {
            **os.environ,
            "HOME": str(folder),  # where the cookie is made
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(epmd),
            "RABBITMQ_NODENAME": "obskit@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbit"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "db"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }
        self._pid_file = folder / "pid"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([self.PROGRAMS / "rabbitmq-server"], env=self._env, **quiet)  # type: ignore[call-overload]
        wait_for_port(self.api_port, self.process, seconds=60)
        self.control("await_startup")

    @property
    def amqp(self) -> str:
        """The broker's URL."""
        return f"amqp://guest:guest@127.0.0.1:{self.amqp_port}//"

    @property
    def api_url(self) -> str:
        """The management API's URL."""
        return f"http://127.0.0.1:{self.api_port}"

    def control(self, *words: str) -> str:
        """What rabbitmqctl prints for a command."""
        run = [self.PROGRAMS / "rabbitmqctl", "--quiet", *words]
        return subprocess.run(run, env=self._env, capture_output=True, text=True, check=True).stdout.strip()

    def stop(self) -> None:
        """Stop it, as a crash would, and the name server that it has started."""
        os.kill(int(self._pid_file.read_text()), signal.SIGKILL)
        self.process.wait()
        epmd = ["epmd", "-port", self._env["ERL_EPMD_PORT"], "-kill"]
        subprocess.run(epmd, env=self._env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


@pytest.fixture(scope="session")
def rabbit_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """A real RabbitMQ, one for all tests: it takes seconds to start."""
    need("rabbitmq-server")
    server = RabbitServer(tmp_path_factory.mktemp("rabbit"))
    yield server
    server.stop()
