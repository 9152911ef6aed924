"""Beside blackbox_exporter: the same nginx, asked by both, and the same answers under the same names."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from obskit.clock import SystemClock
from obskit.collect import Captured, Source, find_kind, run_once
from obskit.errors import CollectorError
from obskit.outbound import httpx
from tests.collectors.certificates import Authority, authority
from tests.servers import free_port, wait_for_port

__all__ = ["authority"]

pytestmark = [pytest.mark.server("nginx"), pytest.mark.server("prometheus-blackbox-exporter")]

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{http};
    root {folder};
    location = /page.html {{ }}
    location = /moved {{ return 301 /page.html; }}
    location = /twice {{ return 302 /moved; }}
    location = /down {{ return 503 "no database\\n"; }}
    location = /none {{ return 204; }}
  }}
  server {{
    listen 127.0.0.1:{https} ssl; server_name localhost;
    ssl_certificate {certificates}/good.pem; ssl_certificate_key {certificates}/good.pem;
    root {folder};
  }}
  server {{
    listen 127.0.0.1:{expired} ssl; server_name localhost;
    ssl_certificate {certificates}/expired.pem; ssl_certificate_key {certificates}/expired.pem;
    root {folder};
  }}
}}
"""
BLACKBOX = """
modules:
  page: {{ prober: http, http: {{ {http} }} }}
  text: {{ prober: http, http: {{ {http}, fail_if_body_not_matches_regexp: ["hello"] }} }}
  other: {{ prober: http, http: {{ {http}, fail_if_body_not_matches_regexp: ["goodbye"] }} }}
  still: {{ prober: http, http: {{ {http}, follow_redirects: false }} }}
  none: {{ prober: http, http: {{ {http}, valid_status_codes: [204] }} }}
  tls: {{ prober: http, http: {{ {http}, tls_config: {{ ca_file: {ca} }} }} }}
  port: {{ prober: tcp, tcp: {{ {tcp} }} }}
  tls_port: {{ prober: tcp, tcp: {{ {tcp}, tls: true, tls_config: {{ ca_file: {ca} }} }} }}
"""
SAME = {
    "probe_success",
    "probe_http_status_code",
    "probe_http_redirects",
    "probe_http_ssl",
    "probe_http_version",
    "probe_http_content_length",
    "probe_http_uncompressed_body_length",
    "probe_http_last_modified_timestamp_seconds",
    "probe_failed_due_to_regex",
    "probe_ip_protocol",
    "probe_ip_addr_hash",
    "probe_ssl_earliest_cert_expiry",
    "probe_ssl_last_chain_info",
    "probe_tls_version_info",
}
"""Names whose values do not depend on how long something took."""
NOT_COMPARED = {"__name__", "job", "instance", "serialnumber"}
"""The last came with a blackbox_exporter newer than Debian's."""

UNREAD = {"probe_http_redirects", "probe_http_uncompressed_body_length"}
"""Of a redirect that it does not follow blackbox_exporter reads no body, and counts it all the same."""


@dataclass(frozen=True)
class Ports:
    http: int
    https: int
    expired: int
    blackbox: int


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Ports]:
    folder = tmp_path_factory.mktemp("nginx")
    ports = Ports(*(free_port() for _ in range(4)))
    (folder / "page.html").write_text("hello there\n")
    (folder / "nginx.conf").write_text(
        NGINX.format(
            folder=folder, certificates=authority.folder, **{k: getattr(ports, k) for k in ("http", "https", "expired")}
        )
    )
    only_4 = "preferred_ip_protocol: ip4, ip_protocol_fallback: false"
    (folder / "blackbox.yml").write_text(BLACKBOX.format(http=only_4, tcp=only_4, ca=authority.pem))
    commands = {
        ports.http: ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")],
        ports.blackbox: [
            "prometheus-blackbox-exporter",
            f"--config.file={folder / 'blackbox.yml'}",
            f"--web.listen-address=127.0.0.1:{ports.blackbox}",
        ],
    }
    processes = []
    try:
        for port, command in commands.items():
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            processes.append(process)
            wait_for_port(port, process)
        yield ports
    finally:
        for process in processes:
            process.kill()
            process.wait()


def theirs(ports: Ports, module: str, target: str) -> dict[str, float | str]:
    page = httpx.get(
        f"http://127.0.0.1:{ports.blackbox}/probe", params={"module": module, "target": target}, timeout=30
    )
    return {
        _key(sample.name, sample.labels): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


def ours(**settings: Any) -> dict[str, float | str]:
    captured = Captured()
    source = Source("probes", find_kind("probes").settings(timeout="20s", confirm=1, **settings))
    with suppress(CollectorError):
        asyncio.run(run_once(source, SystemClock(), captured))
    return {
        _key(
            sample.labels["__name__"],
            {k: v for k, v in sample.labels.items() if k not in NOT_COMPARED},
        ): sample.value
        for sample in captured.samples
    }


def _key(name: str, labels: dict[str, str]) -> str:
    told = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return f"{name}{{{told}}}" if told else name


def chosen(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key.partition("{")[0] in SAME}


CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("page", "http://localhost:{http}/page.html", {}),
    ("text", "http://localhost:{http}/page.html", {"body_matches": ["hello"]}),
    ("other", "http://localhost:{http}/page.html", {"body_matches": ["goodbye"]}),
    ("page", "http://localhost:{http}/moved", {}),
    ("page", "http://localhost:{http}/twice", {}),
    ("still", "http://localhost:{http}/moved", {"redirects": False}),
    ("page", "http://localhost:{http}/down", {}),
    ("page", "http://localhost:{http}/not-there", {}),
    ("none", "http://localhost:{http}/none", {"status": "204"}),
    ("tls", "https://localhost:{https}/page.html", {"tls": True}),
]


@pytest.mark.parametrize(("module", "url", "wanted"), CASES, ids=str)
def test_a_page_is_found_as_blackbox_exporter_finds_it(
    module: str, url: str, wanted: dict[str, Any], ports: Ports, authority: Authority
) -> None:
    url = url.format(http=ports.http, https=ports.https)
    wanted = {key: {"ca_file": str(authority.pem)} if key == "tls" else value for key, value in wanted.items()}
    found, expected = ours(http=[{"url": url, "ip": "4", **wanted}]), theirs(ports, module, url)
    apart = UNREAD if module == "still" else set()
    assert {k: v for k, v in chosen(found).items() if k not in apart} == {
        k: v for k, v in chosen(expected).items() if k not in apart
    }
    assert {key for key in expected if key.startswith("probe_http_duration_seconds")} <= set(found)
    assert "probe_duration_seconds" in found
    assert "probe_dns_lookup_time_seconds" in found


@pytest.mark.parametrize(
    "url", ["http://localhost:1/", "http://nowhere.invalid/", "https://localhost:{expired}/page.html"]
)
def test_what_fails_fails_for_both(url: str, ports: Ports, authority: Authority) -> None:
    url = url.format(expired=ports.expired)
    found = ours(http=[{"url": url, "ip": "4", "tls": {"ca_file": str(authority.pem)}}])
    expected = theirs(ports, "tls", url)
    assert found["probe_success"] == expected["probe_success"] == 0
    assert found["probe_http_status_code"] == expected["probe_http_status_code"] == 0


@pytest.mark.parametrize(("module", "port", "tls"), [("port", "http", False), ("tls_port", "https", True)])
def test_a_port_is_found_as_blackbox_exporter_finds_it(
    module: str, port: str, tls: bool, ports: Ports, authority: Authority
) -> None:
    address = f"localhost:{getattr(ports, port)}"
    trusted = {"tls": {"ca_file": str(authority.pem)}} if tls else {}
    found, expected = ours(tcp=[{"address": address, "ip": "4", **trusted}]), theirs(ports, module, address)
    assert chosen(found) | {"probe_failed_due_to_regex": 0} == chosen(expected)
