"""What Linux tells of itself in files: vmstat, pressure, open files, disk queues, and the limits of our container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from obskit.collect import Reading

_NO_LABELS: Final[dict[str, str]] = {}
_VMSTAT: Final = ("oom_kill", "pgfault", "pgmajfault", "pswpin", "pswpout")
_PRESSURE: Final = (
    ("cpu", "some", "node_pressure_cpu_waiting_seconds_total"),
    ("memory", "some", "node_pressure_memory_waiting_seconds_total"),
    ("memory", "full", "node_pressure_memory_stalled_seconds_total"),
    ("io", "some", "node_pressure_io_waiting_seconds_total"),
    ("io", "full", "node_pressure_io_stalled_seconds_total"),
)
_WEIGHTED_MS: Final = 13
"""Column of /proc/diskstats (kernel Documentation/admin-guide/iostats.rst, field 11 after the name)."""


class LinuxFiles:
    """Reads below `proc` and `cgroup`. A file that is not there gives nothing."""

    def __init__(self, proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc = proc
        self._cgroup = cgroup

    def readings(self) -> Iterator[Reading]:
        """Everything but the disks."""
        yield from self._virtual_memory()
        yield from self._open_files()
        yield from self._pressure()
        yield from self._container()

    def weighted_io_seconds(self) -> dict[str, float]:
        """For each device, the seconds its requests spent waiting, summed over requests."""
        rows = (line.split() for line in _text(self._proc / "diskstats").splitlines())
        return {row[2]: int(row[_WEIGHTED_MS]) / 1000 for row in rows if len(row) > _WEIGHTED_MS}

    def _virtual_memory(self) -> Iterator[Reading]:
        counts = _pairs(self._proc / "vmstat")
        for name in _VMSTAT:
            if name in counts:
                yield f"node_vmstat_{name}", _NO_LABELS, counts[name]

    def _open_files(self) -> Iterator[Reading]:
        fields = _text(self._proc / "sys/fs/file-nr").split()
        if len(fields) == 3:
            yield "node_filefd_allocated", _NO_LABELS, float(fields[0])
            yield "node_filefd_maximum", _NO_LABELS, float(fields[2])

    def _pressure(self) -> Iterator[Reading]:
        for resource, share, name in _PRESSURE:
            for line in _text(self._proc / "pressure" / resource).splitlines():
                kind, _, rest = line.partition(" ")
                if kind == share:
                    yield name, _NO_LABELS, int(rest.rpartition("total=")[2]) / 1e6

    def _container(self) -> Iterator[Reading]:
        """cAdvisor's names for our own cgroup (version 2). The machine's root cgroup has none of these files."""
        used = _text(self._cgroup / "memory.current").strip()
        if not used:
            return
        labels = {"id": "/"}
        cache = _pairs(self._cgroup / "memory.stat").get("inactive_file", 0)
        yield "container_memory_usage_bytes", labels, float(used)
        yield "container_memory_working_set_bytes", labels, max(0.0, float(used) - cache)
        limit = _text(self._cgroup / "memory.max").strip()
        if limit.isdecimal():
            yield "container_spec_memory_limit_bytes", labels, float(limit)
        events = _pairs(self._cgroup / "memory.events")
        if "oom_kill" in events:
            yield "container_oom_events_total", labels, events["oom_kill"]


def _text(path: Path) -> str:
    """The file, or nothing: kernels leave files out, and refuse to read some of those they show."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _pairs(path: Path) -> dict[str, int]:
    """A file of `name number` lines."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}
