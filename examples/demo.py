"""`make demo`: the main job end to end in under a minute, with no account and no token.

Starts examples/stack/service.py (a real service, with a real Redis when one is installed), runs `obskit watch` on it
with the shipped rules at 60 times the speed, and makes three things go wrong. The Slack messages are posted through
slack_sdk to a Slack of our own (obskit.testing) and printed as they would look.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from resp_stand_in import RespStandIn
from rich.console import Console
from rich.rule import Rule

from obskit.clock import FasterClock, SystemClock
from obskit.config import Config, load_config
from obskit.outbound import httpx
from obskit.testing.slack import TOKEN, FakeSlack, SlackMessage
from obskit.testing.slack_view import print_message
from obskit.watch import Daemon

SPEED = 60
HERE = Path(__file__).resolve().parent
console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
clock = SystemClock()
started = clock.monotonic()


def say(text: str) -> None:
    """A line of the story, with the seconds since the start."""
    console.print(f"\n[bold blue]{clock.monotonic() - started:5.1f} s[/]  {text}")


class Stage:
    """The processes and servers of the demo, and what was seen of each alert."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.redis_url = ""
        self.seen: dict[str, set[str]] = {}
        self.first_alert_s: float | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._service: subprocess.Popen[bytes] | None = None
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=2)

    async def start_queue(self) -> None:
        """A real Redis when there is one, else our stand-in."""
        if shutil.which("redis-server"):
            port = free_port()
            command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder]
            self._processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            self.redis_url = f"redis://127.0.0.1:{port}/0"
            await listens(port)
            say("A real redis-server holds the queue.")
        else:
            self.redis_url = await RespStandIn().start()
            say("No redis-server is installed: the demo's own stand-in (RESP on a socket) holds the queue.")

    async def start_service(self) -> None:
        """The example service; called again after each crash, as Fly or systemd would."""
        command = [sys.executable, str(HERE / "stack" / "service.py"), "--port", str(self.port)]
        command += ["--redis", self.redis_url, "--log", str(self.folder / "service.log")]
        self._service = subprocess.Popen(command)
        await listens(self.port)

    async def chaos(self, what: str, switch: str) -> None:
        """Make the service misbehave, or behave."""
        with suppress(httpx.HTTPError):
            await self.http.post(f"/chaos/{what}/{switch}")

    async def put_jobs(self, count: int) -> None:
        """Ask the service for jobs."""
        for _ in range(count):
            await self.http.get("/jobs")

    async def traffic(self) -> None:
        """Visitors: a request every few milliseconds, a job with every fifth."""
        number = 0
        while True:
            number += 1
            with suppress(httpx.HTTPError):
                await self.http.get("/jobs" if number % 5 == 0 else "/")
            await clock.sleep(0.01)

    async def crash_loop(self, times: int) -> None:
        """Crash and restart."""
        for _ in range(times):
            await self.chaos("crash", "on")
            if self._service is not None:
                await asyncio.to_thread(self._service.wait)
            await self.start_service()
            await clock.sleep(0.6)

    def show(self, message: SlackMessage) -> None:
        """Called by the Slack of ours for each post and edit."""
        text = f"{message.text} {json.dumps(message.blocks)}"
        for name in ("QueueDeep", "ApiErrorsHigh", "ErrorsInLogs", "ProcessCrashLooping"):
            if name in text or name in message.text:
                moments = self.seen.setdefault(name, set())
                moments.add("updated" if message.edits or message.thread_ts else "fired")
                if message.text.startswith("RESOLVED"):
                    moments.add("resolved")
        if self.first_alert_s is None:
            self.first_alert_s = clock.monotonic() - started
        console.print()
        print_message(message, "alerts", console)

    async def close(self) -> None:
        """End every process."""
        await self.http.aclose()
        for process in [*self._processes, *([self._service] if self._service else [])]:
            process.terminate()
            process.wait()


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def listens(port: int) -> None:
    """Return when something listens on the port."""
    for _ in range(500):
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await clock.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


def config_for(stage: Stage, slack: FakeSlack) -> Config:
    """examples/stack/obskit.yaml, delivering to our Slack instead of the console."""
    stack = stage.folder / "obskit.yaml"
    text = (HERE / "stack" / "obskit.yaml").read_text()
    text = text.replace("[rules/logs.yaml]", f"[{HERE / 'stack' / 'rules' / 'logs.yaml'}]")
    receiver = {"app_token": TOKEN, "app_url": slack.api_url, "channel": "#alerts"}
    stack.write_text(text.replace("console_configs: [{}]", f"slack_configs: [{json.dumps(receiver)}]"))
    environment = {
        **os.environ,
        "OBSKIT_STORE": str(stage.folder / "data"),
        "OBSKIT_LISTEN": "127.0.0.1:0",
        "SERVICE_PORT": str(stage.port),
        "SERVICE_LOG": str(stage.folder / "service.log"),
        "REDIS_URL": stage.redis_url,
    }
    return load_config(stack, environment)


async def story(stage: Stage) -> None:
    """What goes wrong, and how it ends."""
    say("[bold]A backlog.[/] The worker hangs while jobs arrive: the queue grows past its limit of 50, then of 100.")
    await stage.chaos("worker", "off")
    await stage.put_jobs(60)
    await until(stage, "QueueDeep", "fired", 12)
    await stage.put_jobs(60)
    await until(stage, "QueueDeep", "updated", 12)
    say("[bold]An error burst.[/] Half of all requests begin to fail.")
    await stage.chaos("errors", "on")
    await until(stage, "ApiErrorsHigh", "fired", 14)
    say("The worker is back, the errors are fixed.")
    await stage.chaos("worker", "on")
    await stage.chaos("errors", "off")
    await until(stage, "QueueDeep", "resolved", 10)
    say("[bold]A crash loop.[/] The service dies and is restarted, four times.")
    await stage.crash_loop(4)
    await until(stage, "ProcessCrashLooping", "fired", 10)
    say("It stays up now; 15 quiet minutes (15 seconds here) end the last alert.")
    for name in sorted(stage.seen):
        await until(stage, name, "resolved", 25)


async def until(stage: Stage, name: str, moment: str, seconds: float) -> None:
    """Wait until an alert has fired or resolved in Slack."""
    deadline = clock.monotonic() + seconds
    while moment not in stage.seen.get(name, set()) and clock.monotonic() < deadline:
        await clock.sleep(0.05)


async def main() -> int:
    logging.getLogger().setLevel(logging.CRITICAL)  # the demo breaks things on purpose: no need to say so twice
    console.print(Rule("obskit demo: no account, no token, one minute", style="blue"))
    with tempfile.TemporaryDirectory(prefix="obskit-demo-") as folder:
        stage = Stage(Path(folder))
        try:
            await stage.start_queue()
            await stage.start_service()
            say(f"A service runs on port {stage.port}: /metrics, a JSON log, jobs in the queue.")
            faster = FasterClock(SPEED)
            with FakeSlack(faster, channels={"alerts": "C0ALERTS"}, on_message=stage.show) as slack:
                return await run(stage, config_for(stage, slack), faster)
        finally:
            await stage.close()


async def run(stage: Stage, config: Config, faster: FasterClock) -> int:
    """Watch while the story is told."""
    daemon = Daemon(config, faster)
    await daemon.start()
    ended = asyncio.Event()
    watching = asyncio.ensure_future(daemon.run(ended))
    traffic = asyncio.ensure_future(stage.traffic())
    say(f"obskit watch runs with {config.rule_count} rules at {SPEED} times the speed: a minute passes every second.")
    try:
        await clock.sleep(1.5)
        await story(stage)
    finally:
        traffic.cancel()
        ended.set()
        await watching
        await daemon.close()
    return summary(stage)


def summary(stage: Stage) -> int:
    """What was seen, and what to try next; 1 when something did not happen."""
    console.print()
    console.print(Rule("what happened", style="blue"))
    complete = True
    for name in ("QueueDeep", "ApiErrorsHigh", "ErrorsInLogs", "ProcessCrashLooping"):
        moments = stage.seen.get(name, set())
        complete = complete and {"fired", "resolved"} <= moments
        marks = "  ".join(
            f"[green]✓[/] {m}" if m in moments else f"[red]✗ {m}[/]" for m in ("fired", "updated", "resolved")
        )
        console.print(f"  {name:<22} {marks}")
    console.print(
        f"\n  first alert after {stage.first_alert_s or 0:.1f} s, all over after {clock.monotonic() - started:.0f} s"
    )
    console.print(NEXT)
    return 0 if complete else 1


NEXT = """
[bold]Try next[/]
  The same stack by hand, on your own terminal: "Run it by hand" in README.md.
  Break a key in examples/stack/obskit.yaml and read the error:
      .venv/bin/obskit check examples/stack/obskit.yaml
  The shipped rules are unit-tested, and so can yours be:
      .venv/bin/obskit test rules alert_rules/tests/queues.yaml
"""


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
