"""Supabase: the metrics page of a project, scraped by the prometheus collector with settings made here.

Its page calls some things otherwise than postgres_exporter does; they get the exporter's names, so that the rules hold.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from obskit.clock import Clock
from obskit.collect import Check, failed
from obskit.model.settings import Duration, Secret, Settings
from obskit_collectors.prometheus import ScrapeJob
from obskit_collectors.prometheus_targets import ScrapeSettings

PATH: Final = "/customer/v1/privileged/metrics"
USER: Final = "service_role"
_NAME: Final = "__name__"
_RENAMED: Final = (
    ("pg_stat_database_num_backends", "pg_stat_database_numbackends"),
    ("pg_stat_database_(.+)_total", "pg_stat_database_$1"),
    ("physical_replication_lag_physical_replication_lag_seconds", "pg_replication_lag_seconds"),
    ("physical_replication_lag_is_wal_replay_paused", "pg_replication_replay_paused"),
)
_LEFT_OUT: Final = "go_.*|process_.*|promhttp_.*"
"""Of the exporters themselves, a fifth of the page."""


class SupabaseSettings(Settings):
    """`supabase:` a project's metrics endpoint."""

    project: str = Field(
        default="", pattern="^[a-z0-9-]*$", description="the project's reference: the first part of its host name"
    )
    key: Secret = Field(description="the secret key (`sb_secret_…`) or the old service_role key; opens all data")
    url: str = Field("", description="instead of `project`, for a self-hosted one: its URL")
    every: Duration = Field(
        60_000, ge=60_000, le=240_000, description="how often to read: the page changes once a minute"
    )

    @field_validator("url")
    @classmethod
    def _is_one(cls, url: str) -> str:
        if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc):
            raise ValueError("the url must look like https://project.example")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _somewhere(self) -> SupabaseSettings:
        if bool(self.project) == bool(self.url):
            raise ValueError("give either project or url")
        return self

    @property
    def base(self) -> str:
        """Where the project is."""
        return self.url or f"https://{self.project}.supabase.co"

    def scrape(self, name: str) -> ScrapeSettings:
        """The same as an item of `scrape_configs`."""
        parts = urlsplit(self.base)
        renamed = [
            {"source_labels": [_NAME], "regex": regex, "target_label": _NAME, "replacement": replacement}
            for regex, replacement in _RENAMED
        ]
        return ScrapeSettings.model_validate(
            {
                "job_name": "supabase",
                "scheme": parts.scheme,
                "metrics_path": parts.path + PATH,
                "basic_auth": {"username": USER, "password": self.key},
                "scrape_interval": self.every,
                "scrape_timeout": 20_000,
                "fallback_scrape_protocol": "PrometheusText0.0.4",
                "static_configs": [{"targets": [parts.netloc], "labels": {"instance": name or parts.netloc}}],
                "metric_relabel_configs": [
                    {"source_labels": [_NAME], "regex": _LEFT_OUT, "action": "drop"},
                    *renamed,
                ],
            }
        )


async def examine_supabase(settings: SupabaseSettings, clock: Clock) -> list[Check]:
    """Whether the page can be read."""
    checks = await ScrapeJob(settings.scrape("")).checks(clock)
    fix = "set supabase.key to the secret key of this project (Settings, API keys); resume the project if it is paused"
    return [check if check.ok else failed(check.what, fix) for check in checks]
