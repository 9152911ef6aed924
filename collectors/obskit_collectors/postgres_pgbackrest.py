"""pgBackRest: what `pgbackrest info --output=json` says, from the command, a file or a URL, with pgbackrest_exporter's names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator, model_validator

from obskit.clock import Clock
from obskit.collect import Ask, Check, Reading, Snapshots, VendorApi, failed, ok, within
from obskit.errors import CollectorError
from obskit.model.samples import MetricMeta, MetricType
from obskit.model.settings import Duration, LocalPath, Secret, Settings
from obskit.store.interface import Batch
from obskit_collectors.postgres_json import inside, items, number, text

COMMAND: Final = ("pgbackrest", "info", "--output=json")
_LARGEST: Final = 16 * 1024 * 1024
_COUNTED_BY: Final = {"full": ("full", "diff", "incr"), "diff": ("diff", "incr"), "incr": ("incr",)}
"""A full backup is also the newest that a differential or incremental one could be: `incr` is the last of any type."""
_METADATA: Final = {
    "pgbackrest_stanza_status": MetricMeta(MetricType.GAUGE, "0 is well; 2 no valid backup; see pgbackrest info."),
    "pgbackrest_backup_since_last_completion_seconds": MetricMeta(MetricType.GAUGE, "Age of the last backup, by type."),
}


class PgBackRestSettings(Settings):
    """`pgbackrest:` where the JSON comes from; without a key, the command is run here."""

    command: list[str] = Field(list(COMMAND), min_length=1, description="what prints the JSON")
    file: LocalPath | None = Field(None, description="a file that holds it instead, written by cron on another machine")
    url: Secret | None = Field(None, description="a URL that gives it instead")
    every: Duration = Field(120_000, gt=0, le=240_000, description="how often to look")
    timeout: Duration = Field(30_000, gt=0, description="when the command is ended")

    @field_validator("url")
    @classmethod
    def _readable(cls, url: Secret | None) -> Secret | None:
        parts = urlsplit(url.reveal()) if url else None
        if parts and (parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc):
            raise ValueError("the url must look like https://host/path, without a user")
        return url

    @model_validator(mode="after")
    def _one_place(self) -> PgBackRestSettings:
        if self.file and self.url:
            raise ValueError("give either file or url, not both")
        return self

    @property
    def shown(self) -> str:
        """Where it comes from, for a person."""
        return self.file or (self.url.reveal().partition("?")[0] if self.url else " ".join(self.command[:2]))


class PgBackRestReader:
    """Reads all stanzas once."""

    def __init__(self, settings: PgBackRestSettings) -> None:
        self._settings = settings
        self._snapshots = Snapshots({"job": "pgbackrest"})

    async def read(self, now_ms: int) -> Batch:
        """Every stanza's state and its last backups."""
        shown = self._settings.shown
        try:
            stanzas = json.loads(await self._text())
        except (ValueError, RecursionError):
            raise CollectorError(f"{shown}: not the JSON of pgbackrest info", reason="bad_data") from None
        if not isinstance(stanzas, list):
            raise CollectorError(f"{shown}: not a list of stanzas", reason="bad_data")
        readings = [reading for stanza in stanzas if isinstance(stanza, dict) for reading in _stanza(stanza, now_ms)]
        return Batch(self._snapshots.take(readings, now_ms), metadata=_METADATA)

    async def _text(self) -> bytes:
        if self._settings.file:
            return await asyncio.to_thread(_read_file, Path(self._settings.file))
        if self._settings.url:
            address, _, query = self._settings.url.reveal().partition("?")
            api = VendorApi(address, fix="check pgbackrest.url", largest=_LARGEST)
            try:
                return (await api.ask(Ask("", params=dict(parse_qsl(query))))).body
            finally:
                await api.close()
        return await _run(self._settings.command)


async def _run(command: list[str]) -> bytes:
    """What a command prints. One that is not done in time is ended with us: the caller's limit cancels this."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise CollectorError(f"{command[0]}: {error.strerror or error}", reason="config") from None
    assert process.stdout is not None
    try:
        output = bytearray()
        while chunk := await process.stdout.read(65_536):
            output += chunk
            if len(output) > _LARGEST:
                raise CollectorError(f"{command[0]} printed more than {_LARGEST >> 20} MB", reason="bad_data")
        code = await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if code:
        # What it says on stderr may hold keys of the repository.
        raise CollectorError(f"{command[0]} ended with {code}: run it by hand to see why", reason="server")
    return bytes(output)


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise CollectorError(f"{path}: {error.strerror}", reason="missing") from None


def _stanza(stanza: Mapping[str, Any], now_ms: int) -> Iterator[Reading]:
    name = {"stanza": text(stanza.get("name"))}
    code = number(inside(stanza, "status", "code"))
    if code is not None:
        yield "pgbackrest_stanza_status", name, code
    for repo in items(stanza, "repo"):
        code = number(inside(repo, "status", "code"))
        if code is not None:
            labels = {"cipher": text(repo.get("cipher")), "repo_key": text(repo.get("key")), **name}
            yield "pgbackrest_repo_status", labels, code
    yield from _backups(items(stanza, "backup"), name, now_ms)
    versions = {text(database.get("id")): text(database.get("version")) for database in items(stanza, "db")}
    for archive in items(stanza, "archive"):
        database = archive.get("database")
        of = database if isinstance(database, dict) else {}
        labels = {
            "database_id": text(of.get("id")),
            "pg_version": versions.get(text(of.get("id")), ""),
            "repo_key": text(of.get("repo-key")),
            **name,
        }
        yield "pgbackrest_wal_archive_status", labels, float(bool(archive.get("min") and archive.get("max")))


def _backups(backups: list[dict[str, Any]], name: dict[str, str], now_ms: int) -> Iterator[Reading]:
    """The last backup of each type, by when it ended."""
    last: dict[str, tuple[float, dict[str, Any]]] = {}
    for backup in backups:
        stop = number(inside(backup, "timestamp", "stop"))
        if stop is None:
            continue
        for kind in _COUNTED_BY.get(text(backup.get("type")), ()):
            if kind not in last or last[kind][0] <= stop:
                last[kind] = (stop, backup)
    for kind, (stop, backup) in last.items():
        labels = {"backup_type": kind, **name}
        yield "pgbackrest_backup_since_last_completion_seconds", labels, max(0.0, now_ms / 1000 - stop)
        start = number(inside(backup, "timestamp", "start"))
        if start is not None:
            yield "pgbackrest_backup_last_duration_seconds", labels, stop - start
        for metric, path in (
            ("size_bytes", ("info", "size")),
            ("delta_bytes", ("info", "delta")),
            ("repo_size_bytes", ("info", "repository", "size")),
        ):
            value = number(inside(backup, *path))
            if value is not None:
                yield f"pgbackrest_backup_last_{metric}", labels, value
        if isinstance(backup.get("error"), bool):
            yield "pgbackrest_backup_last_error_status", labels, float(backup["error"])


async def examine_backups(settings: PgBackRestSettings, clock: Clock) -> list[Check]:
    """Whether the JSON can be had, and whether there is a backup in it."""
    try:
        batch = await within(clock, settings.timeout / 1000, PgBackRestReader(settings).read(clock.now_ms()))
    except CollectorError as error:
        fixes = {
            "config": "install pgbackrest here, or name the file or url to which the database's machine writes",
            "missing": "let cron write it: pgbackrest info --output=json > FILE.new && mv FILE.new FILE",
        }
        return [failed(str(error), fixes.get(error.reason, f"look at what {settings.shown} gives"))]
    if not len(batch.samples):
        return [failed(f"{settings.shown}: no stanza", "pgbackrest --stanza=NAME stanza-create")]
    return [ok(f"{settings.shown}: {len(batch.samples)} samples")]
