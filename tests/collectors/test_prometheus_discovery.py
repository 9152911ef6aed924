from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from obskit.errors import CollectorError
from obskit.testing.clock import run
from obskit_collectors import prometheus_discovery
from obskit_collectors.prometheus_discovery import (
    Discovery,
    DnsDiscovery,
    DnsSettings,
    FileDiscovery,
    FileSettings,
    HttpDiscovery,
    HttpSettings,
    TargetGroup,
)

GROUPS = [{"targets": ["a:1", "b:2"], "labels": {"env": "prod"}}, {"targets": ["c:3"]}]


def read(discovery: Discovery, answer: Any = None) -> Sequence[TargetGroup]:
    async def fetch(url: str) -> Any:
        return answer

    return run(discovery.read(fetch))  # type: ignore[arg-type]  # every read here is a coroutine


def files(*patterns: Path | str) -> FileDiscovery:
    return FileDiscovery(FileSettings(files=tuple(map(str, patterns))))


def addresses(groups: Sequence[TargetGroup]) -> list[str]:
    return [target for group in groups for target in group.targets]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.json", json.dumps(GROUPS)),
        ("t.yml", "- targets: ['a:1', 'b:2']\n  labels: {env: prod}\n- targets: [c:3]\n"),
    ],
)
def test_files_hold_groups_in_json_or_yaml(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read(files(path)) == [
        TargetGroup(("a:1", "b:2"), {"env": "prod", "__meta_filepath": str(path)}),
        TargetGroup(("c:3",), {"__meta_filepath": str(path)}),
    ]


def test_files_that_come_change_and_go_are_noticed(tmp_path: Path) -> None:
    discovery = files(tmp_path / "*.json")
    assert read(discovery) == []
    (tmp_path / "one.json").write_text('[{"targets": ["a:1"]}]')
    assert addresses(read(discovery)) == ["a:1"]
    (tmp_path / "two.json").write_text('[{"targets": ["b:1"]}]')
    (tmp_path / "one.json").write_text('[{"targets": ["a:1", "a:2"]}]')
    assert addresses(read(discovery)) == ["a:1", "a:2", "b:1"]
    (tmp_path / "one.json").unlink()
    assert addresses(read(discovery)) == ["b:1"]


def test_an_empty_yaml_file_has_no_targets(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("")
    assert read(files(tmp_path / "t.yaml")) == []


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("t.json", "[{", "line 1 column"),
        ("t.yml", "- targets: [a:1\n", "t.yml:"),
        ("t.json", '{"targets": []}', "not a list of target groups"),
        ("t.json", '["a:1"]', "a target group is"),
        ("t.json", '[{"targets": "a:1"}]', "a target group is"),
        ("t.json", '[{"targets": [1]}]', "targets are text"),
        ("t.json", '[{"targets": [], "labels": {"a": 1}}]', "label 'a'"),
        ("t.json", '[{"targets": [], "labels": {"a-b": "1"}}]', "label 'a-b'"),
    ],
)
def test_a_bad_file_is_bad_data_with_its_place(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CollectorError) as caught:
        read(files(tmp_path / name))
    assert caught.value.reason == "bad_data"
    assert says in str(caught.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CollectorError, match="cannot read") as caught:
        read(files(tmp_path / "nowhere.json"))
    assert caught.value.reason == "config"


def test_a_url_lists_groups() -> None:
    discovery = HttpDiscovery(HttpSettings(url="http://user:pw@sd.internal/targets?token=secret"))
    groups = read(discovery, GROUPS)
    assert addresses(groups) == ["a:1", "b:2", "c:3"]
    assert groups[0].labels["env"] == "prod"
    assert discovery.title == "http_sd sd.internal/targets"


def test_a_url_that_lists_something_else_is_bad_data() -> None:
    with pytest.raises(CollectorError, match="not a list"):
        read(HttpDiscovery(HttpSettings(url="http://sd.internal")), {"error": "no"})


def test_names_are_resolved_by_the_system() -> None:
    discovery = DnsDiscovery(DnsSettings(names=("localhost",), type="A", port=9100))
    assert read(discovery) == [TargetGroup(("127.0.0.1:9100",), {"__meta_dns_name": "localhost"})]


@pytest.mark.parametrize("type_", ["A", "AAAA"])
def test_a_name_that_does_not_exist_has_no_targets(type_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert read(DnsDiscovery(DnsSettings(names=("gone.internal",), type=type_, port=1))) == []  # type: ignore[arg-type]


def test_a_resolver_that_does_not_answer_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(CollectorError, match="Temporary failure in name resolution") as caught:
        read(DnsDiscovery(DnsSettings(names=("x.internal",), type="A", port=1)))
    assert caught.value.reason == "network"


def test_a_name_that_cannot_be_one_is_a_mistake() -> None:
    with pytest.raises(CollectorError, match="not a host name"):
        read(DnsDiscovery(DnsSettings(names=("a" * 64 + ".internal",), type="A", port=1)))


def test_addresses_of_version_six_stand_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fdaa:0:1::2", 9100, 0, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    discovery = DnsDiscovery(DnsSettings(names=("app.internal",), type="AAAA", port=9100))
    assert addresses(read(discovery)) == ["[fdaa:0:1::2]:9100"]


class ServiceRecord:
    """One SRV record, as dnspython gives it."""

    def __init__(self, target: str, port: int) -> None:
        self.target = target
        self.port = port

    def __str__(self) -> str:
        return f"0 0 {self.port} {self.target}"


def test_srv_records_give_host_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = pytest.importorskip("dns.asyncresolver")

    async def resolve(name: str, kind: str) -> list[ServiceRecord]:
        assert (name, kind) == ("_http._tcp.internal", "SRV")
        return [ServiceRecord("b.internal.", 2), ServiceRecord("a.internal.", 1)]

    monkeypatch.setattr(resolver, "resolve", resolve)
    groups = read(DnsDiscovery(DnsSettings(names=("_http._tcp.internal",))))
    assert addresses(groups) == ["a.internal:1", "b.internal:2"]
    assert groups[0].labels["__meta_dns_srv_record_target"] == "a.internal."


@pytest.mark.parametrize(("error", "reason"), [("NXDOMAIN", None), ("NoAnswer", None), ("NoNameservers", "network")])
def test_srv_look_ups_that_fail(monkeypatch: pytest.MonkeyPatch, error: str, reason: str | None) -> None:
    resolver = pytest.importorskip("dns.asyncresolver")
    errors = pytest.importorskip("dns.resolver")

    async def resolve(name: str, kind: str) -> list[ServiceRecord]:
        raise getattr(errors, error).__new__(getattr(errors, error))

    monkeypatch.setattr(resolver, "resolve", resolve)
    discovery = DnsDiscovery(DnsSettings(names=("_http._tcp.internal",)))
    if reason is None:
        assert read(discovery) == []
        return
    with pytest.raises(CollectorError) as caught:
        read(discovery)
    assert caught.value.reason == reason


def test_srv_without_dnspython_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dns.asyncresolver", None)
    with pytest.raises(CollectorError, match="install the extra dns-srv, or use type A"):
        read(DnsDiscovery(DnsSettings(names=("_http._tcp.internal",))))


@pytest.mark.parametrize(
    ("model", "given", "says"),
    [
        (DnsSettings, {"names": ["x"], "type": "A"}, "dns_sd with type A needs a port"),
        (DnsSettings, {"names": []}, "names"),
        (FileSettings, {"files": ["targets.txt"]}, "must end in .json, .yml or .yaml"),
        (HttpSettings, {"url": "sd.internal"}, "must begin with http"),
    ],
)
def test_settings_that_cannot_work_are_refused(model: type[Any], given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model(**given)
    assert says in str(caught.value)


def test_files_are_looked_at_every_five_seconds() -> None:
    assert files("x.json").every_ms == 5000
    assert FileDiscovery(FileSettings(files=("x.json",), refresh_interval=1000)).every_ms == 1000
    assert prometheus_discovery.HttpDiscovery(HttpSettings(url="http://x")).every_ms == 60_000
