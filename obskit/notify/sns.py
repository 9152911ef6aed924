"""Amazon SNS: a text per state to a topic, an endpoint or a phone number. Requests are signed by us (Signature Version
4), as they leave: a signature is good for some minutes, a message may wait for hours.

https://docs.aws.amazon.com/sns/latest/api/API_Publish.html, https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Final, Self
from urllib.parse import quote, urlencode

from pydantic import Field, model_validator

from obskit.clock import Clock, SystemClock
from obskit.model.actions import Notice, Outcome, OutcomeReason
from obskit.model.settings import Secret, Settings
from obskit.model.sigv4 import SigningKey, sign
from obskit.notify import drawing, text
from obskit.notify.base import Kind, Notifier, Request, Response, Step, Transport
from obskit.notify.http import USER_AGENT, HttpTransport, classify_status
from obskit.notify.settings import NotifierSettings, NotYet, OneLine, WebUrl, Words
from obskit.notify.wording import worded
from obskit.outbound import httpx

PUBLISH: Final = "publish"
_SUBJECT_LIMIT: Final = 99  # ASCII, below 100
_MESSAGE_LIMIT: Final = 250_000  # bytes, of 262,144 with attributes
_SMS_LIMIT: Final = 140
_VERSION: Final = "2010-03-31"
_CODE: Final = re.compile(rb"<Code>(\w+)</Code>")
_BUSY: Final = ("Throttling", "ThrottlingException", "Throttled", "RequestLimitExceeded", "KMSThrottling")
_KEYS: Final = ("InvalidClientTokenId", "SignatureDoesNotMatch", "AuthorizationError", "OptInRequired", "AccessDenied")
_NO_PLACE: Final = ("NotFound", "EndpointDisabled", "PlatformApplicationDisabled")
_LATE: Final = ("RequestExpired", "InternalFailure", "ServiceUnavailable")


class SigningSettings(Settings):
    """`sigv4`: with which key requests are signed."""

    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = Field(description="such as `eu-central-1`")
    access_key: Secret = Field(description="an IAM user's access key, such as `${AWS_ACCESS_KEY_ID}`")
    secret_key: Secret = Field(description="its secret key")

    external_id: NotYet = None
    profile: NotYet = None
    role_arn: NotYet = None
    use_fips_sts_endpoint: NotYet = None


class SnsSettings(NotifierSettings):
    """One entry of `sns_configs`: one of `topic_arn`, `target_arn` and `phone_number`."""

    sigv4: SigningSettings = Field(description="how requests are signed")
    topic_arn: OneLine = Field("", description="a topic; one that ends in `.fifo` gets its groups in order")
    target_arn: OneLine = Field("", description="an endpoint of a platform")
    phone_number: OneLine = Field("", description="for an SMS of 140 characters, such as +491701234567")
    api_url: WebUrl | None = Field(None, description="default: SNS of the region")
    subject: Words = Field("", description="default: state and name; may be a template, as all texts here")
    message: Words = Field("", description="instead of obskit's text")
    attributes: dict[str, Words] = Field({}, description="message attributes")

    http_config: NotYet = None

    DEFAULT_TEXTS: ClassVar = {"subject": "sns.default.subject", "message": "sns.default.message"}

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(map(bool, (self.topic_arn, self.target_arn, self.phone_number))) != 1:
            raise ValueError("give one of topic_arn, target_arn and phone_number")
        return self

    @property
    def url(self) -> str:
        """Where to POST."""
        return (self.api_url or f"https://sns.{self.sigv4.region}.amazonaws.com").rstrip("/") + "/"


class Sns:
    """One Publish per notice."""

    min_interval_s = 0.0

    def __init__(self, settings: SnsSettings) -> None:
        self._settings = settings

    def steps(self, notice: Notice) -> Sequence[Step]:
        """A state of an incident replaces an unsent older one; firing and resolved are never merged."""
        return [Step(PUBLISH, coalesce=f"{notice.incident}:{notice.status}")]

    def render(self, notice: Notice, _step: str, _handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """The form, not signed yet; degraded, without subject and attributes."""
        shown, given = text.card(notice), self._settings
        fields = {"Action": "Publish", "Version": _VERSION, **self._place()}
        if self._settings.phone_number:
            fields["Message"] = text.clip(given.message or text.headline(shown), _SMS_LIMIT)
        else:
            fields["Message"] = drawing.fitted(given.message, _MESSAGE_LIMIT, drawing.byte_size) or self._text(notice)
            if not degraded:
                subject = self._settings.subject or f"{drawing.state(shown)}: {shown.title}"
                fields["Subject"] = _ascii(subject) or "Alert"
        if self._settings.topic_arn.endswith(".fifo"):
            fields["MessageGroupId"] = _hash(notice.group_key)
            fields["MessageDeduplicationId"] = _hash(f"{notice.incident}:{notice.decided_ms}:{notice.status}")
        if not degraded:
            fields |= self._attributes()
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "User-Agent": USER_AGENT}
        return Request("POST", self._settings.url, urlencode(fields, quote_via=quote).encode(), headers)

    def classify(self, response: Response, _step: str) -> Outcome:
        """By the error's code: the status is 400 for most."""
        found = _CODE.search(response.body)
        code = found[1].decode() if found else ""
        detail = f"HTTP {response.status}: {response.excerpt}"
        if 200 <= response.status < 300:
            return Outcome.sent()
        if code in _BUSY:
            return Outcome.retry(OutcomeReason.RATE_LIMITED, detail)
        if code in _LATE:
            return Outcome.retry(OutcomeReason.SERVER, detail)
        if code in _KEYS:
            return Outcome.permanent(OutcomeReason.CREDENTIAL, detail)
        if code in _NO_PLACE:
            return Outcome.permanent(OutcomeReason.DESTINATION, detail)
        return classify_status(response)

    def _text(self, notice: Notice) -> str:
        shown = text.card(notice)
        said = drawing.body(notice, shown, drawing.PLAIN, _MESSAGE_LIMIT - 1_000, drawing.byte_size)
        return f"{drawing.heading(shown, 250)}\n{said}"

    def _place(self) -> dict[str, str]:
        given = self._settings
        places = {"TopicArn": given.topic_arn, "TargetArn": given.target_arn, "PhoneNumber": given.phone_number}
        return {name: value for name, value in places.items() if value}

    def _attributes(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        for number, (name, value) in enumerate(self._settings.attributes.items(), 1):
            entry = f"MessageAttributes.entry.{number}"
            fields |= {f"{entry}.Name": name, f"{entry}.Value.DataType": "String", f"{entry}.Value.StringValue": value}
        return fields


class SigningTransport:
    """Signs each request in the moment it leaves."""

    def __init__(self, inner: Transport, settings: SigningSettings, clock: Clock) -> None:
        self._inner = inner
        self._key = SigningKey(settings.access_key, settings.secret_key, settings.region, "sns")
        self._clock = clock

    async def send(self, request: Request) -> Response:
        """The answer to the signed request."""
        # A proxy may change other headers: only the one that says how the body is to be read is signed.
        headers = {name: value for name, value in request.headers.items() if name == "Content-Type"}
        digest = hashlib.sha256(request.body or b"").hexdigest()
        now_ms = self._clock.now_ms()
        signed = sign(self._key, request.method, request.url, headers, body_sha256=digest, now_ms=now_ms)
        return await self._inner.send(replace(request, headers={**request.headers, **signed}))


def _hash(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()


def _ascii(words: str) -> str:
    return text.clip(words.encode("ascii", "ignore").decode().strip(), _SUBJECT_LIMIT).replace("…", ".")


def _connect(settings: SnsSettings, http: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    return worded(settings, Sns), SigningTransport(HttpTransport(http, settings), settings.sigv4, SystemClock())


SNS: Final = Kind("sns", SnsSettings, _connect)
