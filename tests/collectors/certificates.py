"""An authority of our own and what it signs: good, expired, for another name. Made once, when a test needs them."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


@dataclass(frozen=True)
class Authority:
    """`pem` is what a client has to trust."""

    folder: Path

    @property
    def pem(self) -> Path:
        return self.folder / "ca.pem"

    def create(self) -> None:
        request = ["req", "-x509", *_KEY, "-keyout", self.folder / "ca.key", "-out", self.pem, "-days", "30"]
        _openssl(*request, "-subj", "/CN=obskit tests")

    def sign(self, file: str, *, name: str = "localhost", days: int = 10) -> Path:
        """A PEM file with a key and a certificate for `name`."""
        key, request, cert, both = (self.folder / f"{file}.{kind}" for kind in ("key", "csr", "crt", "pem"))
        names = self.folder / f"{file}.ext"
        names.write_text(f"subjectAltName=DNS:{name}\n")
        _openssl("req", *_KEY, "-keyout", key, "-out", request, "-subj", f"/O=obskit/CN={name}")
        signed = ["-CA", self.pem, "-CAkey", self.folder / "ca.key", "-CAcreateserial", "-days", str(days)]
        _openssl("x509", "-req", "-in", request, *signed, "-extfile", names, "-out", cert)
        both.write_text(key.read_text() + cert.read_text())
        return both

    def ends(self, file: str) -> float:
        """When the certificate in a file ends, by openssl's own word."""
        run = ["openssl", "x509", "-in", str(self.folder / f"{file}.crt"), "-noout", "-enddate"]
        said = subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip().partition("=")[2]
        return float(ssl.cert_time_to_seconds(said))


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs `good` (10 days), `expired` (since yesterday), `other` (for another name)."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    authority.create()
    authority.sign("good")
    authority.sign("expired", days=-1)
    authority.sign("other", name="elsewhere.example")
    return authority


def server_context(certificate: Path) -> ssl.SSLContext:
    """What a server speaks TLS with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
