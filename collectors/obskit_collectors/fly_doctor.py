"""The doctor of `fly`: each API that the settings need is asked once; what is refused comes with the command for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from obskit.clock import Clock
from obskit.collect import Ask, Check, failed, ok
from obskit.errors import CollectorError
from obskit_collectors.fly_access import FlyApi, items, text_at
from obskit_collectors.fly_settings import FlySettings

_NETWORK: Final = "see whether this machine reaches the address (proxy, DNS, firewall)"


async def doctor(settings: FlySettings, clock: Clock) -> Sequence[Check]:  # noqa: ARG001 - the Kind's shape
    """One check per API."""
    api = FlyApi(settings.api_url, settings.token, settings.organization)
    machines_api = FlyApi(settings.machines_url, settings.token, settings.organization)
    incidents_api = FlyApi(settings.incidents_url, None, "")
    checks: list[Check] = []
    try:
        apps = list(settings.apps)
        if not apps and settings.asks and settings.organization:
            apps = await _apps(settings, machines_api, checks)
        for what, needed, ask in _asks(settings, api, machines_api, incidents_api, apps):
            if needed:
                checks.append(await _check(what, settings, ask))
    finally:
        for one in (api, machines_api, incidents_api):
            await one.close()
    if settings.logs == "push":
        checks.append(_shipper(settings))
    return checks


def _asks(
    settings: FlySettings, api: FlyApi, machines_api: FlyApi, incidents_api: FlyApi, apps: Sequence[str]
) -> list[tuple[str, bool, Callable[[], Awaitable[Any]]]]:
    """What is asked: how it is called, whether the settings need it, and the question."""
    organization = settings.organization
    found: list[tuple[str, bool, Callable[[], Awaitable[Any]]]] = []
    for app in apps[:20]:
        logs = Ask(f"/api/v1/apps/{app}/logs", params={"next_token": ""})
        found.append((f"logs of {app}", settings.logs == "poll", lambda ask=logs: api.json(ask)))  # type: ignore[misc]  # bound at once
    if apps:
        releases = Ask(f"/api/v1/apps/{apps[0]}/releases", params={"limit": "1"})
        found.append(("releases", settings.releases == "api", lambda: api.json(releases)))
    machines = Ask(f"/v1/orgs/{organization}/machines", params={"limit": "1"})
    volumes = Ask(f"/v1/orgs/{organization}/volumes")
    query = Ask(f"/prometheus/{organization}/api/v1/query", params={"query": "up"})
    return [
        *found,
        ("machines", settings.machines, lambda: machines_api.json(machines)),
        ("volumes", settings.volumes, lambda: machines_api.json(volumes)),
        ("managed Prometheus", bool(settings.queries or settings.federate), lambda: api.json(query)),
        ("incidents", settings.incidents, lambda: incidents_api.json(Ask("/v1/incidents"))),
    ]


async def _apps(settings: FlySettings, machines_api: FlyApi, checks: list[Check]) -> list[str]:
    try:
        answer = await machines_api.json(Ask("/v1/apps", params={"org_slug": settings.organization}))
        apps = [name for app in items(answer, "apps") if (name := text_at(app, "name"))]
    except CollectorError as error:
        checks.append(_failed("list of apps", settings, error))
        return []
    checks.append(ok(f"list of apps: {len(apps)}"))
    return apps


async def _check(what: str, settings: FlySettings, ask: Callable[[], Awaitable[Any]]) -> Check:
    try:
        await ask()
    except CollectorError as error:
        return _failed(what, settings, error)
    return ok(what)


def _failed(what: str, settings: FlySettings, error: CollectorError) -> Check:
    organization = settings.organization or "ORGANIZATION"
    token = f"fly tokens create readonly {organization}, and put what it prints into `token`"
    fixes = {
        "auth": token,
        "missing": f"see that the name is right (fly apps list, fly orgs list); else {token}",
        "network": _NETWORK,
        "timeout": _NETWORK,
        "rate_limited": "ask again in a minute",
    }
    if what == "releases" and error.reason in ("auth", "missing", "bad_data"):
        return failed(f"{what}: {error}", f"{fixes['missing']}; or set releases: machines")
    return failed(f"{what}: {error}", fixes.get(error.reason, "see status.flyio.net; obskit asks again by itself"))


def _shipper(settings: FlySettings) -> Check:
    path = f"/in/{settings.own_name}"
    return ok(
        f"log shipper: set HTTP_URL=https://YOUR-OBSKIT{path} and HTTP_TOKEN there (fly secrets set -a SHIPPER …)"
    )
