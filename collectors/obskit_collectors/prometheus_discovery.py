"""Where Prometheus targets come from: static_configs, file_sd, http_sd, dns_sd. Each reads its groups of targets once.

When to read again, what a failure means and what becomes of the targets is the scrape job's business.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self

from pydantic import Field, field_validator, model_validator

from obskit.errors import CollectorError
from obskit.model.documents import parse_document
from obskit.model.labels import is_label_name
from obskit.model.settings import Duration, LocalPath, Settings

FetchJson = Callable[[str], Awaitable[Any]]
"""GET a URL with the job's client and authorization; the decoded JSON, or CollectorError."""

_MAX_FILE_BYTES: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """Addresses (`host:port`) that share labels."""

    targets: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)


class Discovery(Protocol):
    """One source of targets."""

    @property
    def title(self) -> str:
        """Kind and place, as in `file_sd targets/*.json`: for errors and status."""
        ...

    @property
    def every_ms(self) -> int:
        """How often to read."""
        ...

    async def read(self, fetch: FetchJson) -> Sequence[TargetGroup]:
        """Every group there is now. CollectorError when the source cannot be read: the targets stay as they were."""
        ...


class StaticSettings(Settings):
    """One item of `static_configs`."""

    targets: tuple[str, ...] = Field(description="addresses, `host:port`")
    labels: dict[str, str] = Field({}, description="labels for all of them")


class FileSettings(Settings):
    """One item of `file_sd_configs`: JSON or YAML files; a `*` may stand in the last part of a path.

    Files are looked at every 5 s (or `refresh_interval`, when that is shorter).
    """

    files: tuple[LocalPath, ...] = Field(
        min_length=1, description="paths ending in .json, .yml or .yaml; a `*` may stand in the last part"
    )
    refresh_interval: Duration = Field(300_000, description="how often to look, when shorter than 5 s")

    @field_validator("files")
    @classmethod
    def _names(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for name in files:
            if not name.endswith((".json", ".yml", ".yaml")):
                raise ValueError(f"{name} must end in .json, .yml or .yaml")
        return files


class HttpSettings(Settings):
    """One item of `http_sd_configs`; asked with the scrape job's own authorization and TLS settings."""

    url: str = Field(description="answers with a JSON list of target groups")
    refresh_interval: Duration = Field(default=60_000, gt=0, description="how often to ask")

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("url must begin with http:// or https://")
        return url


class DnsSettings(Settings):
    """One item of `dns_sd_configs`."""

    names: tuple[str, ...] = Field(min_length=1, description="DNS names, such as `my-app.internal`")
    type: Literal["A", "AAAA", "SRV"] = Field("SRV", description="the kind of record; SRV needs the extra dns-srv")
    port: int = Field(default=0, ge=0, le=65535, description="the port of A and AAAA targets; SRV has its own")
    refresh_interval: Duration = Field(default=30_000, gt=0, description="how often to resolve")

    @model_validator(mode="after")
    def _has_port(self) -> Self:
        if self.type != "SRV" and not self.port:
            raise ValueError(f"dns_sd with type {self.type} needs a port")
        return self


class FileDiscovery:
    """Targets from files. A file is parsed again only when it changed."""

    def __init__(self, settings: FileSettings) -> None:
        self.title = f"file_sd {', '.join(settings.files)}"
        self.every_ms = max(1, min(settings.refresh_interval, 5_000))
        self._patterns = settings.files
        self._parsed: dict[Path, tuple[tuple[int, int], list[TargetGroup]]] = {}

    async def read(self, fetch: FetchJson) -> Sequence[TargetGroup]:  # noqa: ARG002 - the Discovery's shape
        """The groups of every matching file, in order of their paths."""
        parsed: dict[Path, tuple[tuple[int, int], list[TargetGroup]]] = {}
        try:
            for path in self._paths():
                state = path.stat()
                version = (state.st_mtime_ns, state.st_size)
                known = self._parsed.get(path)
                parsed[path] = known if known and known[0] == version else (version, _parse_file(path))
        except OSError as error:
            raise CollectorError(f"cannot read {error.filename}: {error.strerror}", reason="config") from None
        self._parsed = parsed
        return [group for _, groups in parsed.values() for group in groups]

    def _paths(self) -> list[Path]:
        paths: set[Path] = set()
        for pattern in map(Path, self._patterns):
            paths.update(pattern.parent.glob(pattern.name) if "*" in pattern.name else [pattern])
        return sorted(paths)


class HttpDiscovery:
    """Targets from a URL (prometheus docs/http_sd.md)."""

    def __init__(self, settings: HttpSettings) -> None:
        self._url = settings.url
        self.title = f"http_sd {settings.url.partition('?')[0].rpartition('@')[2]}"
        self.every_ms = settings.refresh_interval

    async def read(self, fetch: FetchJson) -> Sequence[TargetGroup]:
        """The groups the URL lists."""
        groups = _groups(await fetch(self._url), self.title)
        return [TargetGroup(group.targets, {**group.labels, "__meta_url": self._url}) for group in groups]


class DnsDiscovery:
    """Targets from the DNS. A and AAAA ask the system's resolver, SRV needs the package dnspython."""

    def __init__(self, settings: DnsSettings) -> None:
        self._settings = settings
        self.title = f"dns_sd {', '.join(settings.names)}"
        self.every_ms = settings.refresh_interval

    async def read(self, fetch: FetchJson) -> Sequence[TargetGroup]:  # noqa: ARG002 - the Discovery's shape
        """One group per record."""
        look_up = self._services if self._settings.type == "SRV" else self._addresses
        return [group for name in self._settings.names for group in await look_up(name)]

    async def _addresses(self, name: str) -> list[TargetGroup]:
        family = socket.AF_INET if self._settings.type == "A" else socket.AF_INET6
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(name, self._settings.port, family=family, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise CollectorError(f"cannot resolve {name}: not a host name", reason="config") from None
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
                return []  # the name is gone: so are its targets (a Fly app that was scaled to zero)
            raise CollectorError(f"cannot resolve {name}: {error.strerror}", reason="network") from None
        hosts = sorted({str(address[0]) for *_, address in found})
        port = self._settings.port
        return [self._group(name, f"[{host}]:{port}" if ":" in host else f"{host}:{port}") for host in hosts]

    async def _services(self, name: str) -> list[TargetGroup]:
        try:
            import dns.asyncresolver  # noqa: PLC0415 - an extra, and heavy: only where SRV is configured
            import dns.exception  # noqa: PLC0415
            import dns.resolver  # noqa: PLC0415
        except ImportError:
            raise CollectorError(
                "dns_sd with type SRV needs dnspython: install the extra dns-srv, or use type A with a port",
                reason="config",
            ) from None
        try:
            records = await dns.asyncresolver.resolve(name, "SRV")
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except dns.exception.DNSException as error:
            raise CollectorError(f"cannot resolve {name}: {type(error).__name__}", reason="network") from None
        return [
            self._group(
                name,
                f"{str(record.target).rstrip('.')}:{record.port}",
                {"__meta_dns_srv_record_target": str(record.target), "__meta_dns_srv_record_port": str(record.port)},
            )
            for record in sorted(records, key=str)
        ]

    def _group(self, name: str, address: str, meta: Mapping[str, str] | None = None) -> TargetGroup:
        return TargetGroup((address,), {"__meta_dns_name": name, **(meta or {})})


def _parse_file(path: Path) -> list[TargetGroup]:
    """The groups of one file; CollectorError with the place of the first mistake."""
    text = path.read_bytes()[:_MAX_FILE_BYTES].decode(errors="replace")
    if path.suffix == ".json":
        try:
            data = json.loads(text)
        except ValueError as error:
            raise CollectorError(f"{path}: {error}", reason="bad_data") from None
    else:
        document = parse_document(text, str(path))
        if document.problems:
            raise CollectorError(str(document.problems[0]), reason="bad_data")
        data = document.data
    groups = _groups(data or [], str(path))
    return [TargetGroup(group.targets, {**group.labels, "__meta_filepath": str(path)}) for group in groups]


def _groups(data: Any, origin: str) -> list[TargetGroup]:
    """The list of `{targets, labels}` that files and URLs hold."""
    try:
        if not isinstance(data, list):
            raise TypeError("not a list of target groups")
        return [_group_of(item) for item in data]
    except (TypeError, ValueError) as error:
        raise CollectorError(f"{origin}: {error}", reason="bad_data") from None


def _group_of(item: Any) -> TargetGroup:
    targets = item.get("targets", []) if isinstance(item, dict) else None
    labels = (item.get("labels") or {}) if isinstance(item, dict) else None
    if not isinstance(targets, list) or not isinstance(labels, dict):
        raise TypeError('a target group is {"targets": ["host:port", …], "labels": {…}}')
    if not all(isinstance(target, str) and target for target in targets):
        raise TypeError("targets are text: host:port")
    for name, value in labels.items():
        if not is_label_name(name) or not isinstance(value, str):
            raise ValueError(f"label {name!r} must be a plain name with a text value")
    return TargetGroup(tuple(targets), labels)
