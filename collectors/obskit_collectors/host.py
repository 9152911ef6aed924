"""The collector `host`: this machine's CPU, memory, disks and network, under node_exporter's names.

What the kernel offers only as files (pressure, vmstat, cgroup) is in host_linux.py and absent elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import psutil
from pydantic import Field

from obskit.clock import Clock
from obskit.collect import Check, Collector, Kind, Reading, Snapshots, failed, ok, poll
from obskit.model.samples import MetricMeta, MetricType
from obskit.model.settings import Duration, Settings
from obskit.store.interface import Batch
from obskit_collectors.host_linux import LinuxFiles

log = logging.getLogger(__name__)

_NO_LABELS: Final[dict[str, str]] = {}
_CPU_MODES: Final = ("idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user")
# node_exporter:collector/filesystem_linux.go, diskstats_linux.go: what it leaves out unless told otherwise.
_PSEUDO_TYPES: Final = frozenset(
    [
        "autofs",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "devtmpfs",
        "fusectl",
        "hugetlbfs",
        "iso9660",
        "mqueue",
        "nsfs",
        "overlay",
        "proc",
        "procfs",
        "pstore",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "squashfs",
        "erofs",
        "sysfs",
        "tracefs",
    ]
)
_PSEUDO_MOUNTS: Final = re.compile(
    r"/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)"
)
_PARTITIONS: Final = re.compile(r"(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+")
_CONTAINER_ENDS: Final = re.compile(r"veth")
"""One interface per container, another at each start: a machine's own traffic is counted elsewhere already."""
_MOUNT_PATIENCE_S: Final = 2.0


class HostSettings(Settings):
    """`host:` how often to read, and the labels its series carry (`instance` is the host name unless given)."""

    every: Duration = Field(default=15_000, gt=0, description="how often to read")
    job: str = Field("node", description="the `job` label")
    instance: str = Field("", description="the `instance` label; default: the host name")


class FileSystems:
    """Sizes of mounted file systems. A dead network mount blocks whoever asks, so a thread of its own does."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="obskit-mounts")
        self._asking: asyncio.Future[list[Reading]] | None = None

    async def read(self) -> list[Reading]:
        """The readings; none while the kernel does not answer for a mount."""
        if self._asking is not None and not self._asking.done():
            return []
        asking = asyncio.get_running_loop().run_in_executor(self._thread, _file_systems)
        self._asking = asking
        await asyncio.wait([asking], timeout=_MOUNT_PATIENCE_S)
        if asking.done():
            return asking.result()
        log.warning("file systems left out: a mount does not answer")
        return []

    async def close(self) -> None:
        """Let the thread go, stuck or not."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class Host:
    """This machine."""

    def __init__(self, settings: HostSettings, linux: LinuxFiles | None = None) -> None:
        self.instance = settings.instance or socket.gethostname()
        self._snapshots = Snapshots({"job": settings.job, "instance": self.instance})
        self._file_systems = FileSystems()
        self._linux = linux if linux is not None else LinuxFiles()

    async def read(self, now_ms: int) -> Batch:
        """Everything, once: about a millisecond."""
        readings = [
            ("node_time_seconds", _NO_LABELS, now_ms / 1000),
            *_processor(),
            *_memory(),
            *_disks(self._linux.weighted_io_seconds()),
            *_network(),
            *self._linux.readings(),
            *await self._file_systems.read(),
        ]
        return Batch(self._snapshots.take(readings, now_ms), metadata=_METADATA)

    async def close(self) -> None:
        """Release the thread."""
        await self._file_systems.close()


def _processor() -> Iterator[Reading]:
    for number, times in enumerate(psutil.cpu_times(percpu=True)):
        cpu = str(number)
        for mode in _CPU_MODES:
            if (seconds := getattr(times, mode, None)) is not None:
                yield "node_cpu_seconds_total", {"cpu": cpu, "mode": mode}, seconds
    for minutes, load in zip(("1", "5", "15"), os.getloadavg(), strict=True):
        yield f"node_load{minutes}", _NO_LABELS, load
    yield "node_boot_time_seconds", _NO_LABELS, psutil.boot_time()
    machine = os.uname()
    labels = ("sysname", "nodename", "release", "version", "machine")
    yield "node_uname_info", {name: getattr(machine, name) for name in labels}, 1


def _memory() -> Iterator[Reading]:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    for name, value in (
        ("MemTotal", memory.total),
        ("MemAvailable", memory.available),
        ("MemFree", memory.free),
        ("Buffers", getattr(memory, "buffers", None)),
        ("Cached", getattr(memory, "cached", None)),
        ("SwapTotal", swap.total),
        ("SwapFree", swap.free),
    ):
        if value is not None:
            yield f"node_memory_{name}_bytes", _NO_LABELS, value


def _disks(weighted_s: dict[str, float]) -> Iterator[Reading]:
    counters: dict[str, Any] = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
    for device, disk in counters.items():
        if _PARTITIONS.fullmatch(device):
            continue
        labels = {"device": device}
        yield "node_disk_reads_completed_total", labels, disk.read_count
        yield "node_disk_writes_completed_total", labels, disk.write_count
        yield "node_disk_read_bytes_total", labels, disk.read_bytes
        yield "node_disk_written_bytes_total", labels, disk.write_bytes
        yield "node_disk_read_time_seconds_total", labels, disk.read_time / 1000
        yield "node_disk_write_time_seconds_total", labels, disk.write_time / 1000
        if hasattr(disk, "busy_time"):
            yield "node_disk_io_time_seconds_total", labels, disk.busy_time / 1000
        if device in weighted_s:
            yield "node_disk_io_time_weighted_seconds_total", labels, weighted_s[device]


def _network() -> Iterator[Reading]:
    for device, card in psutil.net_io_counters(pernic=True, nowrap=False).items():
        if _CONTAINER_ENDS.match(device):
            continue
        labels = {"device": device}
        yield "node_network_receive_bytes_total", labels, card.bytes_recv
        yield "node_network_transmit_bytes_total", labels, card.bytes_sent
        yield "node_network_receive_packets_total", labels, card.packets_recv
        yield "node_network_transmit_packets_total", labels, card.packets_sent
        yield "node_network_receive_errs_total", labels, card.errin
        yield "node_network_transmit_errs_total", labels, card.errout
        yield "node_network_receive_drop_total", labels, card.dropin
        yield "node_network_transmit_drop_total", labels, card.dropout


def is_watched(mountpoint: str, fstype: str) -> bool:
    """Whether a mount is a file system that can fill up. A container's root counts, although it is an overlay."""
    if fstype == "overlay" and mountpoint == "/":
        return True
    return fstype not in _PSEUDO_TYPES and not _PSEUDO_MOUNTS.match(mountpoint)


def _file_systems() -> list[Reading]:
    mounts = {mount.mountpoint: mount for mount in psutil.disk_partitions(all=True)}
    watched = (mount for mount in mounts.values() if is_watched(mount.mountpoint, mount.fstype))
    return [reading for mount in watched for reading in _file_system(mount)]


def _file_system(mount: Any) -> Iterable[Reading]:
    labels = {"device": mount.device, "fstype": mount.fstype, "mountpoint": mount.mountpoint}
    try:
        state = os.statvfs(mount.mountpoint)
    except OSError:
        return [("node_filesystem_device_error", labels, 1)]
    if not state.f_blocks:
        return []  # holds nothing, so it cannot fill up
    return [
        ("node_filesystem_device_error", labels, 0),
        ("node_filesystem_size_bytes", labels, state.f_blocks * state.f_frsize),
        ("node_filesystem_free_bytes", labels, state.f_bfree * state.f_frsize),
        ("node_filesystem_avail_bytes", labels, state.f_bavail * state.f_frsize),
        ("node_filesystem_files", labels, state.f_files),
        ("node_filesystem_files_free", labels, state.f_ffree),
        ("node_filesystem_readonly", labels, 1 if state.f_flag & os.ST_RDONLY else 0),
    ]


_METADATA: Final = {
    name: MetricMeta(MetricType.COUNTER if name.endswith("_total") else MetricType.GAUGE, text)
    for name, text in {
        "node_cpu_seconds_total": "Seconds the CPUs spent in each mode.",
        "node_load1": "1m load average.",
        "node_memory_MemTotal_bytes": "Memory of the machine.",
        "node_memory_MemAvailable_bytes": "Memory that can be had without swapping.",
        "node_filesystem_size_bytes": "Size of the file system.",
        "node_filesystem_avail_bytes": "Space left for everybody but root.",
        "node_disk_read_bytes_total": "Bytes read.",
        "node_disk_written_bytes_total": "Bytes written.",
        "node_disk_io_time_seconds_total": "Seconds spent doing I/O.",
        "node_network_receive_bytes_total": "Bytes received.",
        "node_network_transmit_bytes_total": "Bytes sent.",
        "node_boot_time_seconds": "When the machine was started.",
    }.items()
}


def build(settings: HostSettings) -> Collector:
    """The collector of this machine."""
    host = Host(settings)
    return poll(host.read, name="host", target=host.instance, every_ms=settings.every, close=host.close)


async def doctor(settings: HostSettings, clock: Clock) -> Sequence[Check]:
    """Whether the file systems answer, and what of this machine cannot be seen."""
    host = Host(settings)
    batch = await host.read(clock.now_ms())
    await host.close()
    names = {labels.name for labels in batch.samples.labels}
    if "node_filesystem_size_bytes" not in names:
        return [failed("no file system answers", "run `df`: unmount the one on which it hangs")]
    checks = [ok(f"{host.instance}: {len(batch.samples)} samples")]
    if "node_pressure_cpu_waiting_seconds_total" not in names:
        checks.append(ok("no pressure figures: the kernel does not give them (boot with psi=1 for them)"))
    return checks


KIND: Final = Kind(HostSettings, build, doctor)
