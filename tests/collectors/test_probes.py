"""Probes against real servers on loopback: what is found, and what is said when something is not as it should be."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from obskit.clock import SystemClock
from obskit.collect import Captured, Check, Feed, Source, find_kind, run_once
from obskit.errors import CollectorError
from obskit.testing.clock import FakeClock, run
from obskit_collectors.probes_addresses import Resolver
from obskit_collectors.probes_certificates import validity
from obskit_collectors.probes_found import Cause, Found, ProbeError
from tests.collectors.certificates import Authority, authority, server_context
from tests.collectors.pages import Pages, serving

__all__ = ["authority"]

NOBODY = "127.0.0.1:1"
SECRET = "t0ken-in-the-query"


def probe(**settings: Any) -> tuple[Captured, CollectorError | None]:
    """What one read finds, and how it failed. On the machine's clock: nothing waits for a time here."""
    captured = Captured()
    source = Source("probes", find_kind("probes").settings(**{"timeout": "20s", **settings}))
    try:
        asyncio.run(run_once(source, SystemClock(), captured))
    except CollectorError as error:
        return captured, error
    return captured, None


def values(captured: Captured) -> dict[str, float]:
    """By name; a phase has its name behind it."""
    return {
        sample.labels["__name__"] + (f" {sample.labels['phase']}" if "phase" in sample.labels else ""): sample.value
        for sample in captured.samples
    }


def cause(captured: Captured) -> str:
    return next(s.labels["cause"] for s in captured.samples if s.labels["__name__"] == "obskit_probe_failed")


@pytest.fixture
def tls_pages(authority: Authority) -> Iterator[Pages]:
    with serving(server_context(authority.folder / "good.pem")) as pages:
        pages.serve("fine", "/")
        yield pages


def at(pages: Pages, path: str = "/", scheme: str = "http") -> str:
    return f"{scheme}://localhost:{pages.port}{path}"


def test_a_page_that_answers_is_told_with_blackbox_exporters_names(pages: Pages) -> None:
    pages.serve("hello", "/health", Last_Modified="Wed, 21 Oct 2015 07:28:00 GMT")
    captured, error = probe(http=[f"{at(pages)}health"])
    found = values(captured)
    assert error is None
    assert found["probe_success"] == 1
    assert found["probe_http_status_code"] == 200
    assert found["probe_http_version"] == 1.1
    assert found["probe_http_ssl"] == 0
    assert found["probe_http_redirects"] == 0
    assert found["probe_http_content_length"] == 5
    assert found["probe_http_uncompressed_body_length"] == 5
    assert found["probe_http_last_modified_timestamp_seconds"] == 1445412480
    assert found["probe_failed_due_to_regex"] == 0
    assert found["probe_ip_protocol"] == 4
    phases = [name for name in found if name.startswith("probe_http_duration_seconds")]
    assert sorted(name.split()[1] for name in phases) == ["connect", "processing", "resolve", "tls", "transfer"]
    assert found["probe_duration_seconds"] >= sum(found[name] for name in phases) > 0
    assert {(s.labels["job"], s.labels["instance"]) for s in captured.samples} == {("probes", f"{at(pages)}health")}
    assert len(pages.requests) == 1


def test_headers_are_sent_and_the_host_is_the_urls(pages: Pages) -> None:
    pages.serve("ok", "/")
    _, error = probe(http=[{"url": at(pages), "headers": {"Authorization": "Bearer x"}}])
    assert error is None
    sent = pages.requests[0][1]
    assert sent["Authorization"] == "Bearer x"
    assert sent["Host"] == f"localhost:{pages.port}"
    assert sent["Accept-Encoding"] == "identity"


BAD_ANSWERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "status": ({"status": ["204", "3xx"]}, "status", "HTTP 200 (wanted: 204, 3xx)"),
    "missing text": ({"body_matches": ["ok", "bye"]}, "body", "bye is not in the body: "),
    "unwanted text": ({"body_not_matches": ["pass"]}, "body", "pass is in the body"),
    "missing header": ({"header_matches": {"X-Env": "prod"}}, "header", "there is no header X-Env"),
    "other header": ({"header_matches": {"Content-Type": "json"}}, "header", "does not match json: text/plain"),
    "other json": ({"json": {"db[0].status": "up"}}, "json", "db[0].status is down (wanted: up)"),
    "half a match": ({"json": {"status": "pas"}}, "json", "status is pass (wanted: pas)"),
    "number": ({"json": {"free": "[1-9].*"}}, "json", "free is 0 (wanted: [1-9].*)"),
    "missing json": ({"json": {"db[3].status": "up"}}, "json", "there is no db[3].status in the body"),
    "slow": ({"slower_than": 1}, "slow", "(limit 1 ms)"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_an_answer_that_is_not_as_wanted_fails_in_words(name: str, pages: Pages) -> None:
    wanted, kind, words = BAD_ANSWERS[name]
    body = '{"status": "pass", "ok": true, "free": 0, "db": [{"status": "down"}]}'

    pages.serve(body, "/")
    if name == "slow":
        pages.answers["/"] = _slowly(pages.answers["/"])
    captured, error = probe(http=[{"url": at(pages), **wanted}])
    assert error is not None
    assert words in str(error)
    assert cause(captured) == kind
    assert values(captured)["probe_success"] == 0
    assert values(captured)["probe_http_status_code"] == 200
    assert values(captured)["probe_failed_due_to_regex"] == (kind in ("body", "header"))


def _slowly(answer: Any) -> Any:
    def slow(request: Any) -> None:
        answered = SystemClock().monotonic() + 0.005
        while SystemClock().monotonic() < answered:
            pass
        answer(request)

    return slow


def test_an_answer_that_is_as_wanted_in_every_way_is_well(pages: Pages) -> None:
    pages.serve('{"status": "warn", "db": [{"up": true}]}', "/", content_type="application/json")
    wanted = {
        "status": "200",
        "body_matches": ['"up"'],
        "body_not_matches": ["fatal"],
        "header_matches": {"content-type": "^application/json$"},
        "json": {"status": "pass|warn", "db[0].up": "true"},
    }
    assert probe(http=[{"url": at(pages), **wanted}])[1] is None


def test_redirects_are_followed_and_carry_no_header_of_ours_to_another_origin(pages: Pages) -> None:
    with serving() as elsewhere:
        pages.serve("", "/", status=302, Location="/next")
        pages.serve("", "/next", status=307, Location=at(elsewhere))
        elsewhere.serve("there", "/")
        captured, error = probe(http=[{"url": at(pages), "headers": {"X-Token": SECRET}}])
        assert error is None
        assert values(captured)["probe_http_redirects"] == 2
        assert values(captured)["probe_http_uncompressed_body_length"] == 5
        assert [request[1].get("X-Token") for request in pages.requests] == [SECRET, SECRET]
        assert elsewhere.requests[0][1].get("X-Token") is None


def test_a_redirect_is_the_answer_when_redirects_are_not_followed(pages: Pages) -> None:
    pages.serve("", "/", status=301, Location="/next")
    assert probe(http=[{"url": at(pages), "redirects": False, "status": "3xx"}])[1] is None
    _, error = probe(http=[{"url": at(pages), "redirects": False}])
    assert "HTTP 301" in str(error)


@pytest.mark.parametrize(
    ("location", "kind", "words"),
    [
        ("/", "redirect", "more than 10 redirects"),
        ("ftp://x/", "redirect", "redirected to ftp"),
        ("http://x:y/", "protocol", "Invalid URL in location header"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_a_failure(location: str, kind: str, words: str, pages: Pages) -> None:
    pages.serve("", "/", status=302, Location=location)
    captured, error = probe(http=[at(pages)], confirm=1)
    assert words in str(error)
    assert cause(captured) == kind


def test_a_redirect_cannot_lead_to_the_metadata_service(pages: Pages) -> None:
    pages.serve("", "/", status=302, Location="http://169.254.169.254/latest/meta-data/")
    captured, error = probe(http=[at(pages)], confirm=1)
    assert "169.254.169.254 is link-local or a cloud's metadata service" in str(error)
    assert cause(captured) == "address"


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "[fd00:ec2::254]", "100.100.100.200"]
)
def test_an_address_of_metadata_is_refused_however_it_is_written(host: str) -> None:
    captured, error = probe(http=[f"http://{host}/"], tcp=[f"{host}:80"], confirm=1)
    assert error is not None
    assert {s.labels["cause"] for s in captured.samples if "cause" in s.labels} == {"address"}


def test_a_name_that_leads_to_metadata_and_elsewhere_is_asked_elsewhere_only() -> None:
    async def both(*_: Any) -> list[str]:
        return ["169.254.169.254", "192.0.2.1"]

    clock = FakeClock()
    found = asyncio.run(Resolver(lookup=both).resolve("x.example", "any", Found(clock), "http"))
    allowed = asyncio.run(Resolver(link_local=True, lookup=both).resolve("x.example", "any", Found(clock), "http"))
    assert [str(address) for address in found] == ["192.0.2.1"]
    assert len(allowed) == 2


def test_a_name_that_cannot_be_resolved_is_told_apart_from_a_refused_connection() -> None:
    captured, error = probe(http=["http://nowhere.invalid/"])
    assert "nowhere.invalid: cannot be resolved" in str(error)
    assert cause(captured) == "resolve"
    assert values(captured)["probe_http_status_code"] == 0
    captured, error = probe(http=[f"http://{NOBODY}/"])
    assert f"{NOBODY}: cannot connect: Connection refused" in str(error)
    assert cause(captured) == "connect"


def test_a_server_that_never_answers_is_given_up_at_the_timeout(pages: Pages) -> None:
    pages.serve_nothing("/")
    captured, clock = Captured(), FakeClock()
    source = Source("probes", find_kind("probes").settings(http=[at(pages)], timeout="5s", confirm=1))
    with pytest.raises(CollectorError, match="no answer within 5 s") as caught:
        run(run_once(source, clock, captured), clock, patience_s=0.2)
    assert caught.value.reason == "timeout"
    assert cause(captured) == "timeout"
    assert values(captured)["probe_duration_seconds"] == 5


def test_an_endless_body_is_read_up_to_a_limit(pages: Pages) -> None:
    pages.serve_endless(b"x" * 65536, "/")
    captured, error = probe(http=[at(pages)])
    assert error is None
    assert values(captured)["probe_http_uncompressed_body_length"] == 4 * 1024 * 1024
    assert values(captured)["probe_http_content_length"] == -1


def test_an_answer_that_is_not_http_is_a_failure_of_the_protocol() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        captured, error = probe(http=[f"http://127.0.0.1:{listener.getsockname()[1]}/"], confirm=1)
        thread.join()
    assert error is not None
    assert cause(captured) == "protocol"


# TLS


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_the_end_of_a_certificate_is_what_openssl_says(kind: str, tls_pages: Pages, authority: Authority) -> None:
    captured, error = probe(**_over_tls(kind, tls_pages, ca_file=str(authority.pem)))
    found = values(captured)
    assert error is None
    assert found["probe_ssl_earliest_cert_expiry"] == authority.ends("good")
    (info,) = [s.labels for s in captured.samples if s.labels["__name__"] == "probe_ssl_last_chain_info"]
    assert (info["subject"], info["issuer"]) == ("CN=localhost,O=obskit", "CN=obskit tests")
    assert info["subjectalternative"] == "localhost"
    (version,) = [s.labels for s in captured.samples if s.labels["__name__"] == "probe_tls_version_info"]
    assert version["version"] == "TLS 1.3"


def _over_tls(kind: str, pages: Pages, **tls: Any) -> dict[str, Any]:
    if kind == "http":
        return {"http": [{"url": at(pages, scheme="https"), "tls": tls}]}
    return {"tcp": [{"address": f"localhost:{pages.port}", "tls": tls}]}


REFUSED = {
    "expired": ("certificate_expired", "certificate has expired (ended "),
    "other": ("certificate_name", "certificate is not valid for 'localhost'"),
    "stranger": ("certificate_untrusted", "certificate refused: "),
}


@pytest.mark.parametrize("kind", ["http", "tcp"])
@pytest.mark.parametrize("file", REFUSED)
def test_why_a_certificate_is_refused_is_told_apart_and_its_end_is_known_all_the_same(
    file: str, kind: str, authority: Authority
) -> None:
    name, words = REFUSED[file]
    trusted = {} if file == "stranger" else {"ca_file": str(authority.pem)}
    served = "good" if file == "stranger" else file
    with serving(server_context(authority.folder / f"{served}.pem")) as pages:
        captured, error = probe(**_over_tls(kind, pages, **trusted), confirm=1)
    assert words in str(error)
    assert cause(captured) == name
    assert values(captured)["probe_ssl_earliest_cert_expiry"] == authority.ends(served)


def test_a_certificate_that_nobody_verifies_still_tells_its_end(tls_pages: Pages, authority: Authority) -> None:
    captured, error = probe(**_over_tls("http", tls_pages, insecure_skip_verify=True))
    assert error is None
    assert values(captured)["probe_ssl_earliest_cert_expiry"] == authority.ends("good")


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_a_port_without_tls_is_told(kind: str, pages: Pages) -> None:
    captured, error = probe(**_over_tls(kind, pages), confirm=1)
    assert "no TLS" in str(error)
    assert cause(captured) == "tls"


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x05\x30\x03\x02\x01\x01", b"\xff" * 40, b"\x30\x80"])
def test_what_is_no_certificate_has_no_end(der: bytes) -> None:
    with pytest.raises(ValueError):
        validity(der)


# TCP and DNS


def test_a_port_that_takes_a_connection_is_well(pages: Pages) -> None:
    captured, error = probe(tcp=[f"127.0.0.1:{pages.port}"])
    assert error is None
    assert values(captured)["probe_success"] == 1
    assert values(captured)["probe_tcp_duration_seconds connect"] >= 0


def test_addresses_of_a_name_are_answers() -> None:
    captured, error = probe(dns=[{"query": "localhost", "answers": [r"127\.0\.0\.1"]}])
    assert error is None
    assert values(captured)["probe_dns_query_succeeded"] == 1
    assert values(captured)["probe_dns_answer_rrs"] == 1
    _, error = probe(dns=[{"query": "localhost", "answers": ["10[.].*"]}], confirm=1)
    assert "localhost A: no answer matches 10[.].*: 127.0.0.1" in str(error)


@pytest.fixture
def name_server() -> Iterator[str]:
    """A DNS server that knows a few records of shop.example; of `silent.example` it says nothing."""
    message, rdatatype, rrset = (pytest.importorskip(f"dns.{name}") for name in ("message", "rdatatype", "rrset"))
    records = {
        ("shop.example.", "MX"): ["10 mx1.shop.example.", "20 mx2.shop.example."],
        ("shop.example.", "TXT"): ['"v=spf1 " "-all"'],
        ("shop.example.", "A"): ["192.0.2.7"],
    }

    def answer(query: Any) -> Any:
        (question,) = query.question
        response = message.make_response(query)
        kind = rdatatype.to_text(question.rdtype)
        found = records.get((question.name.to_text(), kind))
        if found:
            response.answer = [rrset.from_text(question.name, 60, "IN", kind, *found)]
        elif question.name.to_text() != "shop.example.":
            response.set_rcode(3)
        return response

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                packet, sender = server.recvfrom(4096)
                if not packet:
                    return
                query = message.from_wire(packet)
                if query.question[0].name.to_text() != "silent.example.":
                    server.sendto(answer(query).to_wire(), sender)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.sendto(b"", server.getsockname())
        thread.join()


DNS: list[tuple[dict[str, Any], str, str]] = [
    ({"query": "shop.example", "type": "MX", "answers": ["10 mx1[.].*", "20 .*"]}, "", ""),
    ({"query": "shop.example", "type": "TXT", "answers": ["v=spf1 -all"]}, "", ""),
    ({"query": "shop.example", "answers": [r"192\.0\.2\.7"]}, "", ""),
    ({"query": "shop.example", "type": "MX", "answers": ["30 .*"]}, "answer", "no answer matches 30 .*: 10 mx1"),
    ({"query": "shop.example", "type": "CAA"}, "answer", "shop.example CAA: no answer"),
    ({"query": "gone.example", "type": "NS"}, "resolve", "does not exist"),
    ({"query": "silent.example", "timeout": "100ms"}, "timeout", "no answer within 0.1 s"),
]


@pytest.mark.parametrize(("asked", "kind", "words"), DNS)
def test_a_name_server_of_choice_is_asked(asked: dict[str, Any], kind: str, words: str, name_server: str) -> None:
    captured, error = probe(dns=[{"server": name_server, **asked}], confirm=1)
    assert words in str(error or "")
    assert values(captured)["probe_success"] == (not kind)
    assert not kind or cause(captured) == kind


def test_other_records_need_a_package_and_the_failure_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dns.asyncresolver", None)
    captured, error = probe(dns=[{"query": "shop.example", "type": "MX"}], confirm=1)
    assert "MX records need a package that is missing" in str(error)
    assert cause(captured) == "unsupported"


# Rhythm, confirmation, events


def test_a_blip_is_not_told(pages: Pages) -> None:
    pages.serve("down", "/", status=503)
    down = pages.answers["/"]

    def once(request: Any) -> None:
        down(request)
        pages.serve("up", "/")

    pages.answers["/"] = once
    captured, error = probe(http=[at(pages)])
    assert error is None
    assert values(captured)["probe_success"] == 1
    assert "obskit_probe_failed" not in values(captured)
    assert captured.records == []
    assert len(pages.requests) == 2


def test_an_event_tells_when_it_begins_and_when_it_is_over_and_the_rhythm_does_not_slow_down(pages: Pages) -> None:
    pages.serve("down", "/", status=503)
    clock, captured = FakeClock(), Captured()
    probes = find_kind("probes").settings(http=[{"url": at(pages), "name": "shop"}], every="30s", confirm=1)

    async def scenario() -> None:
        collector = find_kind("probes").build(probes)
        task = asyncio.create_task(collector.run(Feed("probes", captured, clock)))
        while len(captured.batches) < 10:
            await clock.sleep(1)
        pages.serve("up", "/")
        while len(captured.records) < 2:
            await clock.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(scenario(), clock, patience_s=20)
    assert [record.line for record in captured.records] == [
        "probe.failed: shop: HTTP 503 (wanted: 2xx)",
        "probe.recovered: shop",
    ]
    assert dict(captured.records[0].stream) == {"source": "event", "app": "shop"}
    assert captured.records[0].metadata == {"name": "probe.failed", "level": "warning", "cause": "status"}
    times = [batch.samples.times_ms[0] for batch in captured.batches[1:10]]
    assert {later - earlier for earlier, later in pairwise(times)} == {30_000}


def test_no_more_are_asked_at_once_than_is_allowed(pages: Pages) -> None:
    busy, most, lock = 0, 0, threading.Lock()

    pages.serve("ok", "/")
    fine = pages.answers["/"]

    def counted(request: Any) -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        fine(request)
        with lock:
            busy -= 1

    pages.answers["/"] = counted
    probes = find_kind("probes").settings(
        http=[{"url": at(pages), "name": str(n)} for n in range(8)], at_once=2, timeout="20s"
    )

    async def all_together() -> None:
        collector: Any = find_kind("probes").build(probes)
        feed = Feed("probes", Captured(), SystemClock())
        await asyncio.gather(*(part.once(feed) for part in collector.parts))

    asyncio.run(all_together())
    assert len(pages.requests) == 8
    assert most <= 2


# Settings and doctor

WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "nothing to probe"),
    ({"http": ["ftp://x/"]}, "must begin with http"),
    ({"http": ["http://user:pw@x/"]}, "Authorization: Basic"),
    ({"http": ["http://x:y/"]}, "not a URL"),
    ({"http": [{"url": "http://x/", "status": "2x"}]}, "not a status: 2x"),
    ({"http": [{"url": "http://x/", "body_matches": ["("]}]}, "not an RE2 pattern"),
    ({"http": [{"url": "http://x/", "json": {"a": "("}}]}, "not an RE2 pattern"),
    ({"http": [{"url": "http://x/", "headers": {"a b": "c"}}]}, "not a header"),
    ({"http": [{"url": "http://x/", "labels": {"job": "c"}}]}, "cannot be a label"),
    ({"http": ["http://x/?a", "http://x/?b"]}, "two probes are called http://x/"),
    ({"tcp": ["localhost"]}, "must be host:port"),
    ({"tcp": ["localhost:99999"]}, "must be host:port"),
    ({"dns": [{"query": "x", "answers": ["("]}]}, "not an RE2 pattern"),
    ({"dns": [{"query": "x", "type": "PTR"}]}, "Input should be"),
    ({"http": ["http://x/"], "confirm": 0}, "greater than or equal to 1"),
]


@pytest.mark.parametrize(("settings", "words"), WRONG)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="(?s)" + words.replace("(", r"\(")):
        find_kind("probes").settings(**settings)


def test_a_token_in_the_url_is_told_to_nobody(pages: Pages) -> None:
    captured, error = probe(http=[f"{at(pages)}?token={SECRET}"], confirm=1)
    assert "HTTP 404" in str(error)
    assert SECRET not in str(error)
    assert SECRET not in repr(captured.batches)
    assert SECRET in pages.requests[0][0]


def test_a_page_that_repeats_what_it_was_sent_tells_no_secret(pages: Pages) -> None:
    pages.serve(f'{{"you": "Bearer {SECRET}"}}', "/")
    wanted = {"headers": {"Authorization": f"Bearer {SECRET}"}, "json": {"you": "me"}}
    captured, error = probe(http=[{"url": at(pages), **wanted}])
    assert "you is Bearer <secret> (wanted: me)" in str(error)
    assert SECRET not in repr(captured.batches)


def doctor(**settings: Any) -> list[Check]:
    return asyncio.run(find_kind("probes").doctor(find_kind("probes").settings(**settings), SystemClock()))


def test_the_doctor_says_what_answers_and_how_to_mend_the_rest(pages: Pages) -> None:
    pages.serve("ok", "/")
    good, refused, wrong = doctor(
        http=[at(pages), {"url": at(pages), "name": "x", "tls": {"ca_file": "/nowhere.pem"}}], tcp=[NOBODY]
    )[:3]
    assert good.ok
    assert "HTTP 200" in good.what
    assert "tls.ca_file /nowhere.pem" in refused.what
    assert not wrong.ok
    assert wrong.fix == Cause.CONNECT.fix


def test_every_cause_has_a_reason_that_the_books_know_and_a_fix() -> None:
    for each in Cause:
        assert ProbeError(each, "words").reason in CollectorError.REASONS
        assert each.fix
