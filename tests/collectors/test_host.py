from __future__ import annotations

import logging
import threading
from pathlib import Path

import psutil
import pytest

from obskit.clock import SystemClock
from obskit.model.samples import MetricType, is_stale
from obskit.store.interface import Batch
from obskit.testing.clock import run
from obskit_collectors import host
from obskit_collectors.host import KIND, FileSystems, Host, HostSettings, is_watched
from obskit_collectors.host_linux import LinuxFiles


def read_this_machine() -> Batch:
    async def scenario() -> Batch:
        machine = Host(HostSettings(instance="me"))
        try:
            return await machine.read(5000)
        finally:
            await machine.close()

    return run(scenario())


def by_name(batch: Batch) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for sample in batch.samples:
        found.setdefault(sample.labels.name, []).append(sample.value)
    return found


def test_this_machine_has_what_the_shipped_rules_ask_for() -> None:
    batch = read_this_machine()
    found = by_name(batch)
    assert found["node_time_seconds"] == [5]
    assert len(found["node_cpu_seconds_total"]) % (psutil.cpu_count() or 1) == 0
    assert found["node_memory_MemTotal_bytes"] == [psutil.virtual_memory().total]
    assert 0 < found["node_memory_MemAvailable_bytes"][0] <= found["node_memory_MemTotal_bytes"][0]
    assert found["node_load1"][0] >= 0
    assert found["node_boot_time_seconds"] == [psutil.boot_time()]
    assert found["node_network_receive_bytes_total"]
    sizes = zip(found["node_filesystem_avail_bytes"], found["node_filesystem_size_bytes"], strict=True)
    assert all(0 <= available <= size for available, size in sizes)
    assert all(labels["job"] == "node" and labels["instance"] == "me" for labels in batch.samples.labels)
    assert batch.metadata["node_cpu_seconds_total"].type is MetricType.COUNTER
    assert len(set(batch.samples.labels)) == len(batch.samples)


@pytest.mark.parametrize(
    ("mountpoint", "fstype", "watched"),
    [
        ("/", "ext4", True),
        ("/data", "xfs", True),
        ("/tmp", "tmpfs", True),
        ("/", "overlay", True),
        ("/var/lib/docker/overlay2/x/merged", "overlay", False),
        ("/var/lib/docker/volumes", "ext4", False),
        ("/proc", "proc", False),
        ("/dev/shm", "tmpfs", False),
        ("/sys/fs/cgroup", "cgroup2", False),
        ("/snap/core/1", "squashfs", False),
        ("/devices", "ext4", True),
    ],
)
def test_pseudo_file_systems_are_left_out_as_node_exporter_does(mountpoint: str, fstype: str, watched: bool) -> None:
    assert is_watched(mountpoint, fstype) is watched


def test_a_file_system_that_cannot_be_asked_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = psutil.disk_partitions(all=True)[0]._replace(mountpoint=str(tmp_path / "gone"), fstype="ext4")
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: [mount])
    assert by_name(read_this_machine())["node_filesystem_device_error"] == [1]
    assert "node_filesystem_size_bytes" not in by_name(read_this_machine())


def test_a_mount_that_does_not_answer_costs_only_the_file_systems(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = threading.Event()

    def stuck() -> list[host.Reading]:
        answers.wait()
        return [("node_filesystem_device_error", {}, 0)]

    monkeypatch.setattr(host, "_file_systems", stuck)
    monkeypatch.setattr(host, "_MOUNT_PATIENCE_S", 0.02)

    async def scenario() -> list[int]:
        file_systems = FileSystems()
        counts = [len(await file_systems.read()) for _ in range(3)]
        answers.set()
        while not counts[-1]:
            await SystemClock().sleep(0.01)
            counts.append(len(await file_systems.read()))
        await file_systems.close()
        return counts

    with caplog.at_level(logging.WARNING):
        counts = run(scenario())
    assert counts[:3] == [0, 0, 0]
    assert counts[-1] == 1
    assert len(caplog.records) == 1


def test_a_device_that_is_gone_is_marked_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        machine = Host(HostSettings(instance="me"), LinuxFiles(Path("/nowhere"), Path("/nowhere")))
        await machine.read(1000)
        monkeypatch.setattr(psutil, "net_io_counters", lambda **_: {})
        gone = [sample.labels.name for sample in (await machine.read(2000)).samples if is_stale(sample.value)]
        assert "node_network_receive_bytes_total" in gone
        assert all(name.startswith("node_network_") for name in gone)
        await machine.close()

    run(scenario())


def kernel(folder: Path, files: dict[str, str]) -> LinuxFiles:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return LinuxFiles(folder / "proc", folder / "cgroup")


def test_the_kernels_files_are_read(tmp_path: Path) -> None:
    files = kernel(
        tmp_path,
        {
            "proc/vmstat": "nr_free_pages 1\npgmajfault 7\noom_kill 2\n",
            "proc/sys/fs/file-nr": "1184\t0\t9223372036854775807\n",
            "proc/pressure/io": (
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n"
                "full avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n"
            ),
            "proc/diskstats": " 259 0 nvme0n1 1 2 3 4 5 6 7 8 9 10 11500 12 13\n 7 0 short\n",
        },
    )
    assert {name: value for name, _, value in files.readings()} == {
        "node_vmstat_oom_kill": 2,
        "node_vmstat_pgmajfault": 7,
        "node_filefd_allocated": 1184,
        "node_filefd_maximum": 2.0**63,
        "node_pressure_io_waiting_seconds_total": 2.5,
        "node_pressure_io_stalled_seconds_total": 1,
    }
    assert files.weighted_io_seconds() == {"nvme0n1": 11.5}


@pytest.mark.parametrize(("limit", "shown"), [("268435456\n", [268435456]), ("max\n", [])])
def test_a_container_shows_its_own_memory_and_limit(tmp_path: Path, limit: str, shown: list[float]) -> None:
    files = kernel(
        tmp_path,
        {
            "cgroup/memory.current": "1000\n",
            "cgroup/memory.max": limit,
            "cgroup/memory.stat": "anon 600\ninactive_file 300\n",
            "cgroup/memory.events": "low 0\noom 1\noom_kill 1\n",
        },
    )
    found = {name: value for name, _, value in files.readings()}
    assert found["container_memory_usage_bytes"] == 1000
    assert found["container_memory_working_set_bytes"] == 700
    assert found["container_oom_events_total"] == 1
    assert [found[name] for name in found if name == "container_spec_memory_limit_bytes"] == shown


def test_a_system_without_these_files_gives_nothing(tmp_path: Path) -> None:
    assert list(LinuxFiles(tmp_path, tmp_path).readings()) == []


def test_the_doctor_looks_at_the_file_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(KIND.doctor(HostSettings(), SystemClock()))[0].ok
    monkeypatch.setattr(host, "_file_systems", list)
    (check,) = run(KIND.doctor(HostSettings(), SystemClock()))
    assert (check.ok, "`df`" in check.fix) == (False, True)
