from __future__ import annotations

import gzip
import shutil
import ssl
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from obskit.clock import SystemClock
from obskit.collect import within
from obskit.errors import CollectorError
from obskit.model.settings import Secret
from obskit.testing.clock import run
from obskit_collectors.prometheus_http import (
    Access,
    AuthorizationSettings,
    BasicAuthSettings,
    Client,
    Page,
    TlsSettings,
)
from tests.collectors.pages import Pages, serving


def access(**changes: Any) -> Access:
    given = {
        "authorization": None,
        "basic_auth": None,
        "tls": TlsSettings(),
        "follow_redirects": True,
        "compression": True,
    }
    return Access(**{**given, **changes})


def get(url: str, *, limit_bytes: int = 1000, patience_s: float = 10, **changes: Any) -> Page:
    async def scenario() -> Page:
        client = Client(access(**changes))
        try:
            return await within(SystemClock(), patience_s, client.get(url, limit_bytes=limit_bytes))
        finally:
            await client.close()

    return run(scenario())


def error_of(url: str, **how: Any) -> CollectorError:
    with pytest.raises(CollectorError) as caught:
        get(url, **how)
    return caught.value


def url(pages: Pages, path: str = "/metrics") -> str:
    return f"http://{pages.address}{path}"


def test_a_page_comes_with_its_type(pages: Pages) -> None:
    pages.serve("a 1\n")
    assert get(url(pages)) == Page(b"a 1\n", "text/plain; version=0.0.4; charset=utf-8")


@pytest.mark.parametrize("members", [1, 3])
def test_gzip_is_unpacked(pages: Pages, members: int) -> None:
    pages.serve(gzip.compress(b"a 1\n") * members, Content_Encoding="gzip")
    assert get(url(pages)).body == b"a 1\n" * members
    assert pages.requests[0][1]["Accept-Encoding"] == "gzip"


def test_compression_can_be_declined(pages: Pages) -> None:
    pages.serve("a 1\n")
    get(url(pages), compression=False)
    assert pages.requests[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("authorization", "basic_auth", "header"),
    [
        (AuthorizationSettings(credentials=Secret("s3cret")), None, "Bearer s3cret"),
        (AuthorizationSettings(type="Token", credentials=Secret("s3cret")), None, "Token s3cret"),
        (AuthorizationSettings(credentials=Secret("schlüssel")), None, "Bearer schl\u00c3\u00bcssel"),
        (None, BasicAuthSettings(username="me", password=Secret("s3cret")), "Basic bWU6czNjcmV0"),
        (None, BasicAuthSettings(username="me"), "Basic bWU6"),
        (None, None, None),
    ],
)
def test_requests_are_authorized(pages: Pages, authorization: Any, basic_auth: Any, header: str | None) -> None:
    pages.serve("a 1\n")
    get(url(pages), authorization=authorization, basic_auth=basic_auth)
    assert pages.requests[0][1].get("Authorization") == header


def test_a_redirect_is_followed_but_does_not_carry_the_secret_elsewhere(pages: Pages) -> None:
    with serving() as elsewhere:
        elsewhere.serve("a 1\n")
        pages.serve("", status=302, Location=url(elsewhere))
        assert get(url(pages), authorization=AuthorizationSettings(credentials=Secret("s3cret"))).body == b"a 1\n"
        assert "Authorization" not in elsewhere.requests[0][1]


def test_a_redirect_is_an_error_where_it_is_not_wanted(pages: Pages) -> None:
    pages.serve("", status=302, Location=url(pages))
    assert error_of(url(pages), follow_redirects=False).reason == "config"


def test_redirects_end(pages: Pages) -> None:
    pages.serve("", status=302, Location=url(pages))
    error = error_of(url(pages))
    assert (error.reason, str(error)) == ("config", "redirected more than 10 times")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "auth"),
        (403, "auth"),
        (404, "config"),
        (429, "rate_limited"),
        (500, "server"),
        (503, "server"),
        (204, "config"),
    ],
)
def test_a_status_has_a_reason(pages: Pages, status: int, reason: str) -> None:
    pages.serve("", status=status, Retry_After="7")
    error = error_of(url(pages))
    assert (error.reason, error.retry_after) == (reason, 7)
    assert f"server returned HTTP status {status}" in str(error)


def test_an_announced_body_over_the_limit_is_not_read(pages: Pages) -> None:
    pages.serve(b"x" * 1001)
    assert str(error_of(url(pages))) == "the body is larger than body_size_limit (1000 bytes)"


def test_an_endless_body_ends_at_the_limit_and_is_not_kept(pages: Pages) -> None:
    pages.serve_endless(b"a" * 65536)
    tracemalloc.start()
    error = error_of(url(pages), limit_bytes=4_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (error.reason, str(error)) == ("bad_data", "the body is larger than body_size_limit (4000000 bytes)")
    assert peak < 8_000_000


def test_a_gzip_bomb_ends_at_the_limit(pages: Pages) -> None:
    pages.serve(gzip.compress(b"\0" * 100_000_000, 9), Content_Encoding="gzip")
    tracemalloc.start()
    error = error_of(url(pages), limit_bytes=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(error) == "the body is larger than body_size_limit (1000000 bytes)"
    assert peak < 4_000_000


@pytest.mark.parametrize(
    ("body", "encoding", "says"),
    [
        (b"not gzip", "gzip", "not valid gzip"),
        (gzip.compress(b"a 1\n" * 50, mtime=0)[:-9], "gzip", "ends too early"),
        (b"", "gzip", "ends too early"),
        (b"a 1\n", "br", "encoded as br"),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_bad_data(pages: Pages, body: bytes, encoding: str, says: str) -> None:
    pages.serve(body, Content_Encoding=encoding)
    error = error_of(url(pages))
    assert error.reason == "bad_data"
    assert says in str(error)


def test_a_server_that_never_answers_is_a_timeout(pages: Pages) -> None:
    pages.serve_nothing()
    assert error_of(url(pages), patience_s=0.1).reason == "timeout"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("http://127.0.0.1:1/metrics", "network"),
        ("ftp://127.0.0.1/metrics", "config"),
        ("http://127.0.0.1:notaport/metrics", "config"),
        ("http://127.0.0.1:70000/metrics", "config"),
        ("http://[::1/metrics", "config"),
    ],
)
def test_an_address_that_leads_nowhere_has_a_reason(bad: str, reason: str) -> None:
    assert error_of(bad).reason == reason


def test_the_systems_own_words_are_shown() -> None:
    assert str(error_of("http://127.0.0.1:1/metrics")) == "Connection refused"


def test_a_server_without_tls_behind_https_is_a_network_error(pages: Pages) -> None:
    pages.serve("a 1\n")
    error = error_of(f"https://{pages.address}/metrics", patience_s=5)
    assert error.reason == "network"
    assert "SSL" in str(error)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of our own for scrape.internal, with its key in the same file."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl: apt-get install openssl")
    path = tmp_path / "both.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=x"
    names = ["-addext", "subjectAltName=DNS:scrape.internal", "-keyout", path, "-out", tmp_path / "cert.pem"]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    path.write_text(path.read_text() + (tmp_path / "cert.pem").read_text())
    return path


@pytest.mark.parametrize(
    ("trust", "says"),
    [
        ({"ca_file": "both.pem", "server_name": "scrape.internal"}, ""),
        ({"insecure_skip_verify": True}, ""),
        ({"ca_file": "both.pem", "server_name": "other.internal"}, "certificate not accepted: Hostname mismatch"),
        ({"server_name": "scrape.internal"}, "certificate not accepted: self-signed"),
    ],
)
def test_whom_to_trust_is_configured(certificate: Path, trust: dict[str, Any], says: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    tls = TlsSettings.model_validate(trust, context={"folder": certificate.parent})
    with serving(context) as pages:
        pages.serve("a 1\n")
        url = f"https://{pages.address}/metrics"
        if says:
            assert says in str(error_of(url, tls=tls)).replace("self signed", "self-signed")
        else:
            assert get(url, tls=tls).body == b"a 1\n"


def test_a_client_certificate_is_shown(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(context) as pages:
        pages.serve("a 1\n")
        tls = TlsSettings(insecure_skip_verify=True, cert_file=str(certificate))
        assert get(f"https://{pages.address}/metrics", tls=tls).body == b"a 1\n"


def test_a_connection_that_breaks_is_a_network_error(pages: Pages) -> None:
    def answer(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100")
        request.end_headers()
        request.wfile.write(b"a 1\n")
        request.close_connection = True

    pages.answers["/metrics"] = answer
    assert error_of(url(pages)).reason == "network"


def test_a_connection_that_the_server_closed_meanwhile_is_not_a_failure(pages: Pages) -> None:
    pages.serve("a 1\n")
    inner = pages.answers["/metrics"]
    served: list[Any] = []

    def answer(request: Any) -> None:
        if request.client_address in served:
            request.close_connection = True  # an answer of nothing at all
            return
        served.append(request.client_address)
        inner(request)

    pages.answers["/metrics"] = answer

    async def scenario() -> list[bytes]:
        client = Client(access())
        bodies = [(await client.get(url(pages), limit_bytes=1000)).body for _ in range(2)]
        await client.close()
        return bodies

    assert run(scenario()) == [b"a 1\n", b"a 1\n"]
    assert len(pages.requests) == 3


def test_connections_are_used_again(pages: Pages) -> None:
    pages.serve("a 1\n")
    peers = set()
    inner = pages.answers["/metrics"]

    def answer(request: Any) -> None:
        peers.add(request.client_address)
        inner(request)

    pages.answers["/metrics"] = answer

    async def scenario() -> None:
        client = Client(access())
        for _ in range(3):
            await client.get(url(pages), limit_bytes=1000)
        await client.close()

    run(scenario())
    assert len(peers) == 1


def test_a_certificate_file_that_is_missing_is_named(tmp_path: Any) -> None:
    error = error_of("https://127.0.0.1:1/", tls=TlsSettings(ca_file=str(tmp_path / "ca.pem")))
    assert (error.reason, "tls_config" in str(error)) == ("config", True)
