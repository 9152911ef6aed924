from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "rich",
    "pygments",
    "slack_sdk",
    "opentelemetry",
    "unittest",
    "difflib",
    "numpy.ma",
    "numpy.random",
    "dns",
    "redis",
    "logging.config",
    "multiprocessing",
    "obskit.ingest.remote_write",
    "obskit.ingest.write_columns",
    "obskit.notify.text",
    "obskit.store.cold.moving",
    "obskit.store.cold.parquet",
    "obskit.store.cold.ranges",
    "uvicorn.main",
)
"""What a daemon with the commonest collectors and a webhook has no use for: 0.2 to 22 MB each."""

START = """
import sys
import obskit.cli.watch, obskit.cli.log_lines, obskit.watch, obskit.watch.memory
import obskit_collectors.file, obskit_collectors.host, obskit_collectors.prometheus
import obskit.notify.webhook
print(*sys.modules, sep="\\n")
"""


def test_a_daemon_imports_nothing_heavy_that_its_config_does_not_ask_for() -> None:
    started = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True)
    assert sorted(set(HEAVY) & set(started.stdout.split())) == []
