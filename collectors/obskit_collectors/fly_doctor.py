"""The doctor of `fly`: each API that the settings need is asked once; what is refused comes with the command for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from obskit.clock import Clock
from obskit.collect import Ask, Check, failed, ok
from obskit.errors import CollectorError
from obskit_collectors.fly_access import FlyApi, items, text_at
from obskit_collectors.fly_settings import FlySettings

_MOST_APPS: Final = 20
_NETWORK: Final = "see whether this machine reaches the address (proxy, DNS, firewall)"


@dataclass(frozen=True, slots=True)
class _Question:
    """One API, and what it is asked."""

    what: str
    api: FlyApi
    ask: Ask


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
        questions = [*_of_apps(settings, api, apps), *_of_organization(settings, api, machines_api)]
        if settings.incidents:
            questions.append(_Question("incidents", incidents_api, Ask("/v1/incidents")))
        checks += [await _check(question, settings) for question in questions]
    finally:
        for one in (api, machines_api, incidents_api):
            await one.close()
    if settings.logs == "push":
        checks.append(_shipper(settings))
    return checks


def _of_apps(settings: FlySettings, api: FlyApi, apps: Sequence[str]) -> Iterator[_Question]:
    for app in apps[:_MOST_APPS] if settings.logs == "poll" else ():
        yield _Question(f"logs of {app}", api, Ask(f"/api/v1/apps/{app}/logs", params={"next_token": ""}))
    if apps and settings.releases == "api":
        yield _Question("releases", api, Ask(f"/api/v1/apps/{apps[0]}/releases", params={"limit": "1"}))


def _of_organization(settings: FlySettings, api: FlyApi, machines_api: FlyApi) -> Iterator[_Question]:
    place = f"/v1/orgs/{settings.organization}"
    if settings.machines:
        yield _Question("machines", machines_api, Ask(f"{place}/machines", params={"limit": "1"}))
    if settings.volumes:
        yield _Question("volumes", machines_api, Ask(f"{place}/volumes"))
    if settings.queries or settings.federate:
        query = Ask(f"/prometheus/{settings.organization}/api/v1/query", params={"query": "up"})
        yield _Question("managed Prometheus", api, query)


async def _apps(settings: FlySettings, machines_api: FlyApi, checks: list[Check]) -> list[str]:
    try:
        answer = await machines_api.json(Ask("/v1/apps", params={"org_slug": settings.organization}))
        apps = [name for app in items(answer, "apps") if (name := text_at(app, "name"))]
    except CollectorError as error:
        checks.append(_failed("list of apps", settings, error))
        return []
    checks.append(ok(f"list of apps: {len(apps)}"))
    return apps


async def _check(question: _Question, settings: FlySettings) -> Check:
    try:
        await question.api.json(question.ask)
    except CollectorError as error:
        return _failed(question.what, settings, error)
    return ok(question.what)


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
