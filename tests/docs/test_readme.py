"""A newcomer's run: the README's commands, copied one by one into a shell, in a copy of the checkout."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Fence, fences
from tests.servers import free_port

STEPS = [fence for fence in fences(ROOT / "README.md") if fence.language == "sh" and "test" in fence.words]


class Shell:
    """Runs commands in the copy; the README's ports are exchanged for free ones."""

    def __init__(self, folder: Path) -> None:
        service, redis, listen = free_port(), free_port(), free_port()
        self._folder = folder
        self._ports = {"8000": str(service), "6379": str(redis)}
        self._background: list[subprocess.Popen[bytes]] = []
        self._environment = {
            **os.environ,
            "PYTHONPATH": f"{folder}:{folder / 'collectors'}",
            "SERVICE_PORT": str(service),
            "REDIS_URL": f"redis://127.0.0.1:{redis}/0",
            "OBSKIT_LISTEN": f"127.0.0.1:{listen}",
        }
        self.said: dict[str, str] = {}

    def run(self, fence: Fence) -> None:
        """Every line of a block, one after the other."""
        for line in fence.text.strip().splitlines():
            if "background" in fence.words:
                self._start(line.removesuffix("&"))
            else:
                self._finish(line)

    def close(self) -> None:
        """End what was started, and only that."""
        for process in reversed(self._background):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(15)

    def _command(self, line: str) -> list[str]:
        for port, free in self._ports.items():
            line = line.replace(port, free)
        return ["bash", "-c", line]

    def _start(self, line: str) -> None:
        command = self._command(f"exec {line}")
        log = (self._folder / f"background-{len(self._background)}.log").open("wb")
        with log:
            self._background.append(
                subprocess.Popen(
                    command, cwd=self._folder, env=self._environment, stdout=log, stderr=log, start_new_session=True
                )
            )

    def _finish(self, line: str) -> None:
        done = subprocess.run(
            self._command(line),
            check=False,
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.said[line] = done.stdout
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}\n{self.logs()}"

    def logs(self) -> str:
        """What the background processes said."""
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("background-*.log")))

    def answer(self, beginning: str) -> str:
        """What the first command with this beginning printed."""
        return next(said for line, said in self.said.items() if line.startswith(beginning))


def lend_environment(to: Path) -> None:
    """The environment that runs the tests, with a stamp of its own: `make setup` finds nothing to do."""
    to.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (to / name).symlink_to(Path(sys.prefix) / name)
    (to / ".installed").touch()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A copy of the checkout as it is now, with the environment that runs the tests."""
    copy = tmp_path / "obskit"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    lend_environment(copy / ".venv")
    shell = Shell(copy)
    yield shell
    shell.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="needs a virtual environment to lend")
@pytest.mark.skipif(not shutil.which("curl"), reason="the README uses curl")
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout: the list of files is git's")
def test_the_readme_s_commands_work_one_by_one(shell: Shell) -> None:
    for fence in STEPS:
        if "redis-server" not in fence.words or shutil.which("redis-server"):
            shell.run(fence)
    assert "0 errors" in shell.answer(".venv/bin/obskit check")
    assert "ErrorsInLogs" in shell.answer(".venv/bin/obskit alerts")
    assert "pool exhausted" in shell.answer(".venv/bin/obskit logs query")
    assert len(shell.answer(".venv/bin/obskit logs tail").splitlines()) == 3
    assert 'status="500"' in shell.answer(".venv/bin/obskit query promql")
    assert "ok    slack/console[0]: resolved" in shell.answer(".venv/bin/obskit test receiver")
    assert "FIRING warning: ErrorsInLogs" in shell.logs()
