"""Settings of the collector `fly`, and what follows from them."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from obskit.model.settings import Duration, Secret, Settings, Size

DAY_MS: Final = 86_400_000


class QuerySettings(Settings):
    """A query of the organisation's managed Prometheus, whose answer becomes samples."""

    query: str = Field(min_length=1, description="PromQL or MetricsQL; one instant is asked for")
    record: str = Field("", description="the metric's name; default: the name in the answer")
    labels: dict[str, str] = Field(default={}, description="labels that are added")


class FlySettings(Settings):
    """`fly:` one organisation of Fly.io."""

    name: str = Field("", description="own name, where there are several")
    organization: str = Field("", description="the organisation's slug; needed for all but the logs of named `apps`")
    token: Secret | None = Field(None, description="a read-only token: fly tokens create readonly ORGANIZATION")
    apps: list[str] = Field([], description="only these apps; default: all of the organisation")
    logs: Literal["poll", "push", "off"] = Field(
        "poll", description="poll: over HTTP; push: from fly-log-shipper, to `/in/fly` or `/in/fly/NAME`"
    )
    secret: Secret | None = Field(None, description="with `logs: push`: HTTP_TOKEN of the shipper")
    every: Duration = Field(2_000, gt=0, description="how often a quiet app's log is asked for; a busy one's at once")
    backfill: Duration = Field(3_600_000, ge=0, description="how far back the first start reads logs and events")
    late: Duration = Field(30_000, gt=0, description="how late a line may show up, and still be found")
    retention: Duration = Field(7 * DAY_MS, gt=0, description="how long Fly.io keeps log lines")
    max_line: Size = Field(64 * 1024, gt=0, description="longer lines are cut")
    machines: bool = Field(True, description="read machines, their checks and events")
    machines_every: Duration = Field(30_000, gt=0, description="how often")
    releases: Literal["api", "machines", "off"] = Field(
        "api", description="where deploys are read: the API of releases, or the release that machines say they run"
    )
    volumes: bool = Field(True, description="read the size of volumes, and what of it is used")
    incidents: bool = Field(True, description="read Fly.io's public incidents")
    slow_every: Duration = Field(60_000, gt=0, description="how often releases, volumes and incidents are read")
    queries: list[QuerySettings] = Field([], description="queries of the managed Prometheus")
    federate: list[str] = Field([], description="selectors whose series are copied from the managed Prometheus")
    queries_every: Duration = Field(60_000, gt=0, description="how often both are asked")
    queries_delay: Duration = Field(60_000, ge=0, description="how long before now: its newest samples come late")
    api_url: str = Field("https://api.fly.io", description="logs, releases, managed Prometheus")
    machines_url: str = Field("https://api.machines.dev", description="machines and volumes")
    incidents_url: str = Field("https://incidents.flyio.net", description="incidents")

    @model_validator(mode="after")
    def _complete(self) -> FlySettings:
        if self.logs == "push" and self.secret is None:
            raise ValueError("logs: push needs a `secret`, the shipper's HTTP_TOKEN")
        if self.secret is not None and self.logs != "push":
            raise ValueError("a `secret` is for logs: push; polled and pushed lines would be doubled")
        if self.asks and self.token is None:
            raise ValueError("give a `token`: fly tokens create readonly ORGANIZATION")
        if self.of_organization and not self.organization:
            raise ValueError(f"give the `organization` (needed by {', '.join(self.of_organization)})")
        if not (self.asks or self.incidents or self.logs == "push"):
            raise ValueError("everything is switched off")
        return self

    @property
    def asks(self) -> bool:
        """Whether anything is asked that needs the token."""
        return self.logs == "poll" or self.releases == "api" or bool(self.of_organization)

    @property
    def of_organization(self) -> list[str]:
        """The keys that need to know the organisation."""
        wanted = {
            "machines": self.machines,
            "volumes": self.volumes,
            "queries": self.queries,
            "federate": self.federate,
            "logs of all apps": self.logs == "poll" and not self.apps,
            "releases of all apps": self.releases == "api" and not self.apps,
        }
        return [key for key, on in wanted.items() if on]

    @property
    def own_name(self) -> str:
        """The collector's name."""
        return f"fly/{self.name}" if self.name else "fly"

    @model_validator(mode="after")
    def _machines_tell_releases(self) -> FlySettings:
        if self.releases == "machines" and not self.machines:
            raise ValueError("releases: machines needs machines: true")
        return self
