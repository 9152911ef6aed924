"""Prometheus remote write, 1.0 and 2.0: from a request's headers and body to a Delivery, and the headers of its answer.

Bodies of the usual shape go through columns (write_columns.py), any other message through write_messages.py. Exemplars
are counted and let go of. Source: prometheus.io, Remote-Write 1.0 and 2.0; storage/remote/write_handler.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from obskit.ingest.delivery import Delivery, UnsupportedError
from obskit.ingest.known_series import KnownSeries, Layouts
from obskit.ingest.snappy import unpacked, unpacked_size
from obskit.ingest.write_request import WriteRequest
from obskit.ingest.write_request_2 import WriteRequest2

ONE: Final = "prometheus.WriteRequest"
TWO: Final = "io.prometheus.write.v2.Request"
_WRITTEN: Final = "X-Prometheus-Remote-Write-{}-Written"
_KINDS: Final = {"Samples": "sample", "Histograms": "histogram", "Exemplars": "exemplar"}


class RemoteWrite:
    """The format `remote_write`. Keep one: it remembers the series that senders repeat in every request."""

    name = "remote_write"

    def __init__(self) -> None:
        known, layouts = KnownSeries(), Layouts()
        self._readers: dict[str, WriteRequest | WriteRequest2] = {
            ONE: WriteRequest(known, layouts),
            TWO: WriteRequest2(known, layouts),
        }

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise UnsupportedError for what is neither version, or not packed with snappy."""
        _message_of(headers)
        encoding = headers.get("content-encoding", "snappy")
        if encoding != "snappy":
            raise UnsupportedError(
                f"{encoding[:80]} encoding is not accepted by this server; only snappy is acceptable"
            )

    def size(self, headers: Mapping[str, str], body: bytes) -> int:  # noqa: ARG002 - always packed alike
        """The bytes of the message."""
        return unpacked_size(body)

    def decode(self, headers: Mapping[str, str], body: bytes, most: int) -> Delivery:  # noqa: ARG002 - it said its size
        """The samples, histograms and metadata of a body."""
        return self._readers[_message_of(headers)].read(unpacked(body))

    def written(self, headers: Mapping[str, str], stored: Mapping[str, int]) -> Mapping[str, str]:
        """How much was written, for senders of 2.0: they take silence for a receiver of 1.0."""
        if _message_of(headers) != TWO:
            return {}
        return {_WRITTEN.format(what): str(stored.get(kind, 0)) for what, kind in _KINDS.items()}


def _message_of(headers: Mapping[str, str]) -> str:
    """The protobuf message a body is. Without a word about it 1.0, whose senders have never had to say."""
    content_type = headers.get("content-type", "application/x-protobuf")
    media_type, *parameters = (part.strip() for part in content_type.split(";"))
    if media_type.lower() == "application/x-protobuf":
        message = dict(part.partition("=")[::2] for part in parameters).get("proto", ONE)
        if message in (ONE, TWO):
            return message
    raise UnsupportedError(
        f"{content_type[:80]} content type is not accepted: application/x-protobuf, proto={ONE} or {TWO}"
    )
