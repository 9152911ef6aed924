"""Certificates as a probe sees them: when they end, read also from those that do not verify, and why one is refused."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from pydantic import Field

from obskit.errors import CollectorError
from obskit.model.settings import LocalPath, Settings
from obskit.outbound import trust
from obskit_collectors.probes_addresses import Address
from obskit_collectors.probes_found import Cause, Found, ProbeError

# OpenSSL's X509_V_ERR_*: x509_vfy.h
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_NAME_CODES: Final = frozenset({62, 64})  # host name, IP address
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17


class TlsSettings(Settings):
    """`tls:` whom a probe trusts."""

    ca_file: LocalPath | None = Field(None, description="certificates to trust instead of the system's")
    server_name: str = Field("", description="the name the certificate must have; default: the host")
    insecure_skip_verify: bool = Field(False, description="accept any certificate; its end is still told")


@lru_cache(maxsize=32)
def context_of(settings: TlsSettings) -> ssl.SSLContext:
    """The context for these settings; CollectorError (config) when the file cannot be read."""
    if settings.insecure_skip_verify:
        return unverified()
    if settings.ca_file is None:
        return trust()
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise CollectorError(f"tls.ca_file {settings.ca_file}: {error}", reason="config") from None


def unverified() -> ssl.SSLContext:
    """A context that accepts everything: to look at what was refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when a certificate is good, in Unix seconds."""

    begins: float
    ends: float


def validity(der: bytes) -> Validity:
    """Of a certificate in DER; ValueError when it is none.

    `ssl` gives the fields of certificates that verified only, so this walks to the one field (RFC 5280, 4.1).
    """
    _, certificate, _ = _element(der)
    _, tbs, _ = _element(certificate)
    tag, _, rest = _element(tbs)
    if tag == _VERSION:
        _, _, rest = _element(rest)
    for _ in ("signature", "issuer"):
        _, _, rest = _element(rest)
    tag, dates, _ = _element(rest)
    if tag != _SEQUENCE:
        raise ValueError("no validity")
    tag, begins, rest = _element(dates)
    end_tag, ends, _ = _element(rest)
    return Validity(_time(tag, begins), _time(end_tag, ends))


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of the first element, and what follows it."""
    if len(data) < 2:
        raise ValueError("cut off")
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if start + size > len(data):
        raise ValueError("cut off")
    return data[0], data[start : start + size], data[start + size :]


def _time(tag: int, text: bytes) -> float:
    """UTCTime has two digits of the year; 50 is 1950 (RFC 5280, 4.1.2.5.1)."""
    digits = text.decode("ascii").rstrip("Z")
    if tag == _UTC_TIME:
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()


def chain_of(tls: Any) -> list[bytes]:
    """Every certificate that the server sent, its own first, in DER.

    `get_unverified_chain` is public from Python 3.13 on; before, the object below has it (3.10; truststore uses it too).
    """
    if hasattr(tls, "get_unverified_chain"):
        return list(tls.get_unverified_chain())
    inner = getattr(tls, "_sslobj", None)
    if inner is not None and hasattr(inner, "get_unverified_chain"):
        sent = inner.get_unverified_chain() or ()
        return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in sent]
    own = tls.getpeercert(binary_form=True)
    return [own] if own else []


def note_tls(tls: Any, found: Found) -> None:
    """The readings about a connection over TLS."""
    note_chain(chain_of(tls), found)
    found.add("probe_tls_version_info", 1.0, version=str(tls.version() or "").replace("TLSv", "TLS "))
    cipher = tls.cipher()
    if cipher:
        found.add("probe_tls_cipher_info", 1.0, cipher=str(cipher[0]))
    names = tls.getpeercert()
    if names:
        own = tls.getpeercert(binary_form=True)
        found.add(
            "probe_ssl_last_chain_info",
            1.0,
            fingerprint_sha256=hashlib.sha256(own).hexdigest(),
            subject=_name(names.get("subject", ())),
            issuer=_name(names.get("issuer", ())),
            subjectalternative=",".join(value for _, value in names.get("subjectAltName", ())),
            serialnumber=str(names.get("serialNumber", "")).lower(),
        )


def note_chain(chain: Sequence[bytes], found: Found) -> None:
    """When the first of these certificates ends; nothing when none can be read."""
    ends = []
    for der in chain:
        try:
            ends.append(validity(der).ends)
        except ValueError:  # not worth failing for: what it said was good enough for OpenSSL
            continue
    if ends:
        found.add("probe_ssl_earliest_cert_expiry", min(ends))


_SHORT: Final = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
}


def _name(parts: Sequence[Sequence[tuple[str, str]]]) -> str:
    """A distinguished name as Go prints it: the last part first."""
    return ",".join(f"{_SHORT.get(key, key)}={value}" for part in reversed(parts) for key, value in part)


async def refused(error: ssl.SSLCertVerificationError, host: str, at: tuple[Address, int], found: Found) -> ProbeError:
    """Why the certificate was refused, told apart by OpenSSL's code; with a second look that trusts it, for its end."""
    ends = await _look(host, at, found)
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        since = f" ({_day(ends)})" if ends is not None and error.verify_code == _EXPIRED else ""
        return ProbeError(Cause.CERTIFICATE_EXPIRED, f"{host}: {error.verify_message}{since}")
    cause = Cause.CERTIFICATE_NAME if error.verify_code in _NAME_CODES else Cause.CERTIFICATE_UNTRUSTED
    return ProbeError(cause, f"{host}: certificate refused: {error.verify_message}")


async def _look(host: str, at: tuple[Address, int], found: Found) -> float | None:
    """When the server's own certificate ends, seen without believing it; its chain's end goes into the readings."""
    address, port = at
    try:
        _, writer = await asyncio.open_connection(str(address), port, ssl=unverified(), server_hostname=host)
    except (OSError, ValueError):
        return None
    try:
        chain = chain_of(writer.get_extra_info("ssl_object"))
    finally:
        writer.transport.abort()
    note_chain(chain, found)
    try:
        return validity(chain[0]).ends
    except (ValueError, IndexError):
        return None


def _day(seconds: float) -> str:
    return f"ended {datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
