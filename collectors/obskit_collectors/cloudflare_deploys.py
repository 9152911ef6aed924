"""Deployments of Workers and their builds: a record each, once, so that messages and graphs show what went live."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import Field

from obskit.clock import NS_PER_MS, Clock
from obskit.collect import Ask, Book, Check, Collector, PartialReadError, failed, ok
from obskit.errors import CollectorError
from obskit.model.context import Deploy
from obskit.model.deploys import deploy_record
from obskit.model.labels import Labels
from obskit.model.records import Record, whole_text
from obskit.model.settings import Duration, Settings
from obskit.store.interface import Batch, Cursor
from obskit_collectors.cloudflare_account import Account
from obskit_collectors.cloudflare_polled import Place, Polled
from obskit_collectors.cloudflare_values import time_ms

PERMISSION: Final = "Workers Scripts: Read"
BUILDS_PERMISSION: Final = "Workers CI: Read"
MOST: Final = 100
"""Workers that are asked for at each poll, one request each (two with builds)."""
FRESH_MS: Final = 24 * 3_600_000
"""What is older at its first sight is no news."""
_REMEMBERED: Final = 100
_ENDED: Final = {"success": "succeeded", "failure": "failed", "canceled": "canceled", "cancelled": "canceled"}
"""How a build can end, and the last word of its event's name."""


class DeploysSettings(Settings):
    """`deploys:` of the account's Workers."""

    scripts: list[str] = Field([], description="names of Workers; default: all, the first 100")
    builds: bool = Field(False, description="builds too; the token then needs Workers CI: Read")
    every: Duration = Field(120_000, ge=30_000, description="how often to ask: a request for each Worker")


@dataclass(frozen=True, slots=True)
class Seen:
    """Ids of deployments and builds that were told, by Worker: the cursor's value."""

    ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> Seen:
        """CollectorError when the cursor is not ours."""
        try:
            return cls({str(key): tuple(map(str, ids)) for key, ids in json.loads(text or "{}").items()})
        except (ValueError, TypeError, AttributeError):
            raise CollectorError("the stored cursor cannot be read", reason="config") from None

    def text(self) -> str:
        """As a cursor's value."""
        return json.dumps(self.ids, separators=(",", ":"))


class DeployReader:
    """Asks for each Worker's deployments; a Worker that fails is told after the others were read."""

    def __init__(self, account: Account, settings: DeploysSettings) -> None:
        self.owner = account.owner("deploys")
        self.seen = Seen()
        self._api = account.api(PERMISSION)
        self._builds = account.api(BUILDS_PERMISSION)
        self._settings = settings

    async def read(self, now_ms: int, book: Book | None = None) -> Batch:
        """What was not told before, oldest first."""
        ids: dict[str, tuple[str, ...]] = {}
        records: list[Record] = []
        wrong: list[CollectorError] = []
        for script, tag in (await self._scripts(book)).items():
            before = self.seen.ids.get(script, ())
            ids[script] = before
            try:
                found = await self._of(script, tag, book)
            except CollectorError as error:
                if error.reason in ("auth", "rate_limited"):
                    raise
                if error.reason != "missing":  # it was deleted since the list was made
                    wrong.append(error)
                continue
            news = [(id, record) for id, record in found.items() if id not in before]  # noqa: A001 - its id
            records += [record for _, record in news if record.t_ns >= (now_ms - FRESH_MS) * NS_PER_MS]
            ids[script] = (*before, *(id for id, _ in news))[-_REMEMBERED:]  # noqa: A001 - as above
        self.seen = Seen(ids)
        records.sort(key=lambda record: record.t_ns)
        batch = Batch(records=records, cursor=Cursor(self.owner, self.seen.text()))
        if wrong:
            raise PartialReadError(str(wrong[0]), batch, reason=wrong[0].reason, retry_after=wrong[0].retry_after)
        return batch

    def resume(self, cursor: str | None) -> None:
        """Go on where the cursor says."""
        self.seen = Seen.read(cursor)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()
        await self._builds.close()

    async def _scripts(self, book: Book | None) -> dict[str, str]:
        """Workers, and the tag by which their builds are asked for."""
        found = await self._api.result(Ask("/workers/scripts"), book)
        rows = [row for row in found if isinstance(row, dict) and row.get("id")] if isinstance(found, list) else []
        wanted = self._settings.scripts
        known = {str(row["id"]): str(row.get("tag") or "") for row in rows}
        missing = set(wanted) - known.keys()
        if missing:
            raise CollectorError(f"deploys: no Worker is named {', '.join(sorted(missing))}", reason="missing")
        return {name: known[name] for name in (wanted or list(known))[:MOST]}

    async def _of(self, script: str, tag: str, book: Book | None) -> dict[str, Record]:
        found = await self._api.result(Ask(f"/workers/scripts/{script}/deployments"), book)
        deployments = found.get("deployments") if isinstance(found, dict) else None
        records = dict(_deployments(script, deployments if isinstance(deployments, list) else []))
        if self._settings.builds and tag:
            rows = await self._builds.result(Ask(f"/builds/workers/{tag}/builds"), book)
            records |= dict(_builds(script, rows if isinstance(rows, list) else []))
        return records


def build_parts(account: Account, settings: DeploysSettings) -> Sequence[Collector]:
    """One poll."""
    reader = DeployReader(account, settings)
    place = Place(reader.owner, reader.resume)
    return [Polled(account, "deploys", settings.every, read=reader.read, close=reader.close, place=place)]


async def checks(account: Account, settings: DeploysSettings, clock: Clock) -> Sequence[Check]:
    """Whether deployments, and builds if they are wanted, can be read."""
    reader = DeployReader(account, settings)
    try:
        batch = await reader.read(clock.now_ms())
    except CollectorError as error:
        builds = settings.builds and BUILDS_PERMISSION in str(error)
        fix = "name Workers as `wrangler deploy` does" if error.reason == "missing" else _fix(account, builds=builds)
        return [failed(f"deploys: {error}", fix)]
    finally:
        await reader.close()
    return [ok(f"deploys: {len(batch.records)} deployments and builds in the last day")]


def _fix(account: Account, *, builds: bool) -> str:
    return account.api(BUILDS_PERMISSION if builds else PERMISSION).fix


def _deployments(script: str, rows: Sequence[Any]) -> Iterator[tuple[str, Record]]:
    """Newest first, as they come: a version that was live earlier, and not just before, is back."""
    known = [row for row in rows if isinstance(row, dict) and row.get("id")]
    versions = [_versions(row) for row in known]
    for at, row in enumerate(known):
        t_ms = time_ms(row.get("created_on"))
        if t_ms is None:
            continue
        told = row.get("annotations")
        notes: Mapping[str, Any] = told if isinstance(told, dict) else {}
        version, share = versions[at]
        again = any(version and version == earlier for earlier, _ in versions[at + 2 :])
        back = "rollback" in str(notes.get("workers/triggered_by", "")) or again
        what = str(notes.get("workers/message") or "")
        if share is not None and share < 100:
            what = f"{what} ({share:g} % of requests)".strip()
        deploy = Deploy(t_ms, whole_text(what), str(row.get("author_email") or row.get("source") or ""), version)
        yield str(row["id"]), deploy_record(script, deploy, vendor="cloudflare", kind="rollback" if back else "release")


def _versions(row: Mapping[str, Any]) -> tuple[str, float | None]:
    """The first version of a deployment, which is the new one, and its share of the requests."""
    versions = row.get("versions")
    first = versions[0] if isinstance(versions, list) and versions and isinstance(versions[0], dict) else {}
    share = first.get("percentage")
    return str(first.get("version_id") or ""), float(share) if isinstance(share, int | float) else None


def _builds(script: str, rows: Sequence[Any]) -> Iterator[tuple[str, Record]]:
    """Builds that ended. Names of fields are seen in two ways, `build_uuid` and `buildUuid`."""
    for row in rows:
        uuid = _field(row, "build_uuid")
        ended = _ENDED.get(str(_field(row, "build_outcome") or "").lower())
        t_ms = time_ms(_field(row, "stopped_on") or _field(row, "modified_on") or _field(row, "created_on"))
        if not uuid or ended is None or t_ms is None:
            continue
        trigger = _field(row, "build_trigger_metadata")
        told = {
            "name": f"build.{ended}",
            "level": "error" if ended == "failed" else "info",
            "id": str(uuid),
            **{key: str(_field(trigger, key) or "") for key in ("branch", "commit_hash", "commit_message", "author")},
        }
        line = f"build of {script} {ended}: {told['branch']} {told['commit_message']}".rstrip(" :")
        yield (
            str(uuid),
            Record(
                Labels({"source": "event", "app": script}),
                t_ms * NS_PER_MS,
                whole_text(line),
                {key: whole_text(value) for key, value in told.items() if value},
            ),
        )


def _field(row: Any, name: str) -> Any:
    if not isinstance(row, dict):
        return None
    head, *tail = name.split("_")
    return row.get(name, row.get(head + "".join(word.capitalize() for word in tail)))
