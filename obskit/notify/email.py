"""E-mail: text and HTML of the same message. One incident is one thread: later mails answer the first one under its
subject, because Gmail and others split what has another. How mail leaves is smtp.py's.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, getaddresses
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, Field, ValidationInfo

from obskit.model.actions import Notice, Outcome, OutcomeReason
from obskit.model.settings import LocalPath, Secret, Settings
from obskit.notify import drawing, text
from obskit.notify.base import Kind, Notifier, Request, Response, Step, Transport, plainer
from obskit.notify.settings import Deadline, NotifierSettings, NotYet, OneLine, Words, is_redefined
from obskit.notify.text import Card, Tone
from obskit.notify.wording import worded
from obskit.outbound import httpx

MAIL: Final = "mail"
_SUBJECT_LIMIT: Final = 150
_BODY_LIMIT: Final = 20_000
_COLORS: Final = {
    Tone.CRITICAL: "#b3261e",
    Tone.WARNING: "#c77700",
    Tone.INFO: "#1f6feb",
    Tone.RESOLVED: "#1a7f37",
    Tone.ENDED: "#6e7781",
}
_OURS: Final = frozenset(("content-type", "content-transfer-encoding", "mime-version", "message-id", "date"))
_SUBJECT: Final = "email.default.subject"
_HEADER: Final = re.compile(r"[A-Za-z0-9-]+")


def _addresses(value: str) -> str:
    found = [address for _, address in getaddresses([value])]
    if not found or not all(address.isascii() and re.fullmatch(r"[^\s@]+@[^\s@]+", address) for address in found):
        raise ValueError("must be mail addresses, with commas between them")
    return value


def _one_address(value: str) -> str:
    if len(getaddresses([value])) != 1:
        raise ValueError("must be exactly one mail address")
    return value


def _host_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError("must be HOST:PORT, such as smtp.example.com:587")
    return value


def _own_headers(headers: dict[str, str], info: ValidationInfo) -> dict[str, str]:
    """The headers under the names that ours have (`subject` is `Subject`)."""
    named = {}
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or name.lower() in _OURS:
            raise ValueError(f'"{name}" is not a header that can be set')
        named["-".join(part.capitalize() for part in name.split("-"))] = value
    if is_redefined(_SUBJECT, info):
        named.setdefault("Subject", f'{{{{ template "{_SUBJECT}" . }}}}')
    return named


class TlsSettings(Settings):
    """`tls_config`: whom the connection trusts."""

    ca_file: LocalPath | None = Field(None, description="certificates to trust instead of the usual ones")
    cert_file: LocalPath | None = Field(None, description="a certificate of our own")
    key_file: LocalPath | None = Field(None, description="its key")
    insecure_skip_verify: bool = Field(False, description="trust anybody")

    ca: NotYet = None
    cert: NotYet = None
    key: NotYet = None
    max_version: NotYet = None
    min_version: NotYet = None
    server_name: NotYet = None


class ThreadingSettings(Settings):
    """`threading`: whether the mails of an incident are one thread."""

    enabled: bool = Field(True, description="one incident is one thread, under the subject of its first mail")

    thread_by_date: NotYet = None


class EmailSettings(NotifierSettings):
    """One entry of `email_configs`. `smtp_…` of `global` fill in what is left out."""

    to: Annotated[OneLine, AfterValidator(_addresses)] = Field(description="addresses, with commas between them")
    from_: Annotated[OneLine, AfterValidator(_addresses), AfterValidator(_one_address)] = Field(
        alias="from", description="the sender's address, also as `Name <address>`"
    )
    smarthost: Annotated[str, AfterValidator(_host_and_port)] = Field(
        description="HOST:PORT of the mail server; 465 speaks TLS from the start, others by STARTTLS"
    )
    hello: OneLine = Field("", description="how we introduce ourselves; default: this machine's name")
    auth_username: OneLine = Field("", description="login; without it there is none")
    auth_password: Secret | None = Field(None, description="its password, for PLAIN and LOGIN")
    auth_secret: Secret | None = Field(None, description="its secret, for CRAM-MD5")
    auth_identity: OneLine = Field("", description="in whose name, for PLAIN")
    require_tls: bool = Field(True, description="send nothing before the connection is encrypted")
    force_implicit_tls: bool | None = Field(None, description="TLS from the start, or not, whatever the port")
    tls_config: TlsSettings | None = Field(None, description="whom the connection trusts")
    headers: Annotated[dict[str, Words], AfterValidator(_own_headers)] = Field(
        {}, validate_default=True, description="more headers; `Subject`, `From`, `To` replace ours; may be templates"
    )
    threading: ThreadingSettings = Field(
        default_factory=lambda: ThreadingSettings.model_validate({}), description="threads of mails"
    )
    timeout: Deadline = Field(25_000, description="when one attempt is given up")

    text: Words = Field(
        "", description="instead of obskit's text; without `html`, no HTML beside it; may be a template"
    )
    html: Words = Field("", description="instead of obskit's HTML; may be a template, in which values are escaped")

    DEFAULT_TEXTS: ClassVar = {"html": "email.default.html"}

    @property
    def implicit_tls(self) -> bool:
        """Whether TLS begins with the connection."""
        return self.smarthost.endswith(":465") if self.force_implicit_tls is None else self.force_implicit_tls


class Email:
    """One mail per notice."""

    min_interval_s = 0.0

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings

    def steps(self, notice: Notice) -> Sequence[Step]:
        """A state of an incident replaces an unsent older one; firing and resolved are never merged."""
        return [Step(MAIL, coalesce=f"{notice.incident}:{notice.status}", handle_key=notice.incident)]

    def render(self, notice: Notice, _step: str, handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """The mail as it goes over the wire; degraded, plain text alone. The handle keeps the thread's subject."""
        shown = text.card(notice)
        subject = f"[{drawing.state(shown)}] {shown.title}{f' - {shown.scope}' if shown.scope else ''}"
        # A value may become several lines when it is expanded; each of them would be a header of its own.
        given = {name: " ".join(value.split()) for name, value in self._settings.headers.items()}
        subject = text.clip(given.pop("Subject", "") or subject, _SUBJECT_LIMIT)
        thread = handle if self._settings.threading.enabled else None
        mail = EmailMessage(policy=SMTP)
        for name, value in {**self._headers(notice, subject, thread), **given}.items():
            mail[name] = value
        plain = f"{drawing.heading(shown, 300)}\n\n{drawing.body(notice, shown, drawing.PLAIN, _BODY_LIMIT)}\n"
        mail.set_content(self._settings.text or plain, cte="quoted-printable")
        page = self._settings.html or ("" if self._settings.text else _page(notice, shown))
        if page and not degraded:
            mail.add_alternative(page, subtype="html", cte="quoted-printable")
            mail.set_boundary(f"=_{_hash(f'{notice.incident}:{notice.decided_ms}')}")
        kept = {"subject": subject, "message_id": str(mail["Message-ID"])} if thread is None else dict(thread)
        return Request("MAIL", f"smtp://{self._settings.smarthost}", mail.as_bytes(), handle=kept)

    def classify(self, response: Response, _step: str) -> Outcome:
        """RFC 5321, 4.2: 4xx is for now, 5xx for ever."""
        status, detail = response.status, f"SMTP {response.status}: {response.excerpt}"
        if 200 <= status < 300:
            return Outcome.sent({})
        if 400 <= status < 500:
            return Outcome.retry(OutcomeReason.SERVER, detail)
        if status in (530, 534, 535, 538):
            return Outcome.permanent(OutcomeReason.CREDENTIAL, detail)
        if status in (521, 550, 551, 553, 556):
            return Outcome.permanent(OutcomeReason.DESTINATION, detail)
        return plainer(detail)

    def _headers(self, notice: Notice, subject: str, thread: Mapping[str, str] | None) -> dict[str, str]:
        domain = getaddresses([self._settings.from_])[0][1].rpartition("@")[2]
        # The same for every attempt at one state, and another for each state: servers drop what they know by its id.
        incident = _hash(notice.incident)
        root = f"<{incident}@{domain}>"
        headers = {"From": self._settings.from_, "To": self._settings.to}
        headers["Subject"] = subject if thread is None else f"Re: {thread['subject']}"
        headers["Date"] = format_datetime(datetime.fromtimestamp(notice.decided_ms / 1000, UTC))
        headers["Message-ID"] = f"<{incident}.{notice.decided_ms}@{domain}>"
        if self._settings.threading.enabled:
            # A root that was never sent holds the thread together where the first mail is not known to have arrived.
            headers["References"] = root if thread is None else f"{root} {thread['message_id']}"
        if thread is not None:
            headers["In-Reply-To"] = thread["message_id"]
        if notice.firing and text.card(notice).tone is Tone.CRITICAL:
            headers["Importance"] = "high"
        # So that nobody's absence notice answers (RFC 3834).
        return {**headers, "Auto-Submitted": "auto-generated"}


def _page(notice: Notice, shown: Card) -> str:
    title = html.escape(drawing.heading(shown, 300), quote=False)
    if shown.title_url:
        title = f'<a href="{html.escape(shown.title_url)}" style="color:inherit;text-decoration:none">{title}</a>'
    lines = drawing.body(notice, shown, drawing.HTML, _BODY_LIMIT).splitlines()
    rows = "\n".join(f'<div style="margin:4px 0">{line}</div>' for line in lines)
    return (
        '<!DOCTYPE html>\n<html><body style="font-family:-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif;'
        'font-size:15px;line-height:1.45;color:#1f2328">\n'
        f'<div style="border-left:5px solid {_COLORS[shown.tone]};padding:2px 0 2px 14px;max-width:640px">\n'
        f'<div style="font-size:18px;font-weight:600;color:{_COLORS[shown.tone]}">{title}</div>\n{rows}\n'
        "</div>\n</body></html>\n"
    )


def _hash(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()[:24]


def _connect(settings: EmailSettings, _: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    from obskit.notify.smtp import SmtpTransport  # noqa: PLC0415 - smtplib is loaded when a mail receiver is built

    return worded(settings, Email, html=("html",)), SmtpTransport(settings)


EMAIL: Final = Kind("email", EmailSettings, _connect)
