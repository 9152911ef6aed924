"""`store.cold`: where days of log lines go that are no longer hot."""

from __future__ import annotations

from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from obskit.model.settings import Duration, LocalPath, Secret, Settings

_HOUR_MS: Final = 3_600_000


def _web_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be a URL such as https://ACCOUNT.r2.cloudflarestorage.com")
    if parts.username or parts.password:
        raise ValueError("must not hold a user or password: give access_key and secret_key")
    return url.rstrip("/")


class S3Settings(Settings):
    """A bucket of S3 or of anything that speaks its protocol."""

    bucket: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$")] = Field(description="the bucket's name")
    access_key: Secret = Field(description="access key id; it needs to get, put, list and delete in this bucket alone")
    secret_key: Secret = Field(description="its secret")
    session_token: Secret | None = Field(None, description="for temporary keys")
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = Field(
        "auto", description="`auto` for R2, else such as `eu-central-1`"
    )
    endpoint: Annotated[str, AfterValidator(_web_url)] | None = Field(
        None, description="where the service is; by default AWS in the region"
    )
    prefix: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*/?)?$")] = Field(
        "", description="folder in the bucket; each obskit needs its own"
    )

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.endpoint is None and self.region == "auto":
            raise ValueError("give an endpoint, or the region of AWS")
        return self

    @property
    def url(self) -> str:
        """Where the bucket is."""
        return f"{self.endpoint or f'https://s3.{self.region}.amazonaws.com'}/{self.bucket}"


class ColdSettings(Settings):
    """Where days of log lines are copied once they are over; off without `folder` and `s3`."""

    folder: LocalPath | None = Field(None, description="a folder, on another disk or in the network")
    s3: S3Settings | None = Field(None, description="a bucket")
    after: Duration = Field(
        _HOUR_MS,
        ge=60_000,
        validate_default=False,
        description="how long after its end (UTC) a day is copied, and late lines of it after the last of them",
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.folder is not None and self.s3 is not None:
            raise ValueError("give folder or s3, not both")
        return self

    @property
    def enabled(self) -> bool:
        """Whether there is somewhere to copy to."""
        return self.folder is not None or self.s3 is not None
