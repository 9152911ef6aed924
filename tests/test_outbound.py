from __future__ import annotations

import contextlib
import importlib.util
import ssl
import sys

from obskit.outbound import trust


def begun_handshake() -> tuple[ssl.SSLObject, bytes]:
    """A client's side of TLS, and the first bytes it wants to send."""
    context, outgoing = trust(), ssl.MemoryBIO()
    context.set_alpn_protocols(["http/1.1"])
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="example.org")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return tls, outgoing.read()


def test_everybody_shares_one_trust_and_nothing_is_read_before_a_handshake() -> None:
    trust.cache_clear()
    assert trust() is trust()
    assert trust().get_ca_certs() == []
    begun_handshake()
    assert trust().get_ca_certs() == []


def test_a_handshake_verifies_name_and_chain_against_the_authorities_everybody_trusts() -> None:
    tls, _ = begun_handshake()
    assert tls.context.verify_mode is ssl.CERT_REQUIRED
    assert tls.context.check_hostname
    assert len(tls.context.get_ca_certs()) > 50


def test_a_handshake_offers_what_the_client_asked_for() -> None:
    _, hello = begun_handshake()
    assert b"http/1.1" in hello
    assert b"example.org" in hello


def test_no_request_searches_the_path_for_a_package_that_is_not_there() -> None:
    there = importlib.util.find_spec("sniffio") is not None
    assert there or sys.modules["sniffio"] is None
