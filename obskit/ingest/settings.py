"""The `ingest:` section of obskit.yaml: how much of what is pushed is held at once."""

from __future__ import annotations

from pydantic import Field

from obskit.model.settings import Duration, Settings, Size


class IngestSettings(Settings):
    """What others push to the HTTP server. It is taken wherever `web` listens, with the token of `web`."""

    enabled: bool = Field(True, description="take what is pushed; false: its paths answer 404")
    max_body: Size = Field(
        8_000_000,
        ge=65_536,
        validate_default=False,
        description="a larger request is refused (413); counted as it comes, and once unpacked",
    )
    max_held: Size = Field(
        32_000_000,
        ge=65_536,
        validate_default=False,
        description="bytes of requests that are held at once; beyond them senders are asked to come back (503)",
    )
    read_timeout: Duration = Field(
        30_000, gt=0, validate_default=False, description="when a request that does not end is given up (503)"
    )
