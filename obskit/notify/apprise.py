"""Apprise, for the hundred services that obskit does not speak to itself: a title and a text to its URLs, a yes or a no
back. It needs the extra `obskit-toolkit[apprise]`, and runs in a process of its own for each message: its libraries
would double the daemon's memory. https://github.com/caronc/apprise
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from obskit.model.actions import Notice, Outcome, OutcomeReason
from obskit.model.settings import Secret
from obskit.notify import drawing, text
from obskit.notify.base import Kind, NoAnswerError, Notifier, Request, Response, Step, Transport
from obskit.notify.settings import Deadline, NotifierSettings
from obskit.notify.text import Tone
from obskit.outbound import httpx

log = logging.getLogger(__name__)

SEND: Final = "send"
_BODY_LIMIT: Final = 30_000
_TYPES: Final = {
    Tone.CRITICAL: "failure",
    Tone.WARNING: "warning",
    Tone.INFO: "info",
    Tone.RESOLVED: "success",
    Tone.ENDED: "info",
}
_SENT, _REFUSED, _BAD_URL, _MISSING = 200, 502, 400, 501
_NOT_INSTALLED: Final = "Apprise is not installed: add the extra obskit-toolkit[apprise]"
# Runs without obskit, so that it starts as fast as it can. What Apprise prints may hold URLs: nobody reads it.
_PROGRAM: Final = """
import json, sys
said = json.load(sys.stdin)
try:
    from apprise import Apprise
except ImportError:
    sys.exit(3)
service = Apprise()
if not service.add(said["url"]):
    sys.exit(2)
sys.exit(0 if service.notify(title=said["title"], body=said["body"], notify_type=said["type"]) else 1)
"""
_EXITS: Final = {0: _SENT, 1: _REFUSED, 2: _BAD_URL, 3: _MISSING}


def _has_a_scheme(url: Secret) -> Secret:
    if "://" not in url.reveal():
        raise ValueError("must be a URL of Apprise's, such as schema://…")
    return url


class AppriseSettings(NotifierSettings):
    """One entry of `apprise_configs`."""

    url: Annotated[Secret, AfterValidator(_has_a_scheme)] = Field(description="one of Apprise's URLs")
    timeout: Deadline = Field(25_000, description="when one attempt is given up")


class Apprise:
    """Title, text and type, one call per notice."""

    min_interval_s = 0.0

    def __init__(self, settings: AppriseSettings) -> None:
        self._settings = settings

    def steps(self, notice: Notice) -> Sequence[Step]:
        """A state of an incident replaces an unsent older one; firing and resolved are never merged."""
        return [Step(SEND, coalesce=f"{notice.incident}:{notice.status}")]

    def render(self, notice: Notice, _step: str, _handle: Mapping[str, str] | None, degraded: bool) -> Request | None:
        """What the other process reads."""
        shown = text.card(notice)
        limit = 500 if degraded else _BODY_LIMIT
        said = {
            "url": self._settings.url.reveal(),
            "title": drawing.heading(shown, 200),
            "body": drawing.body(notice, shown, drawing.PLAIN, limit) or shown.title,
            "type": _TYPES[shown.tone],
        }
        return Request("SEND", "apprise:", json.dumps(said).encode())

    def classify(self, response: Response, _step: str) -> Outcome:
        """All that is known of a failure is that it was one: it may pass."""
        if response.status == _SENT:
            return Outcome.sent()
        if response.status == _BAD_URL:
            return Outcome.permanent(OutcomeReason.CONFIG, "Apprise does not know such a URL")
        if response.status == _MISSING:
            return Outcome.retry(OutcomeReason.CONFIG, _NOT_INSTALLED)
        return Outcome.retry(OutcomeReason.SERVER, "Apprise could not deliver it")


class AppriseTransport:
    """A process per message."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    async def send(self, request: Request) -> Response:
        """The process's verdict as a status; NoAnswerError when it took too long."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _PROGRAM,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                await process.communicate(request.body)
        except TimeoutError:
            raise NoAnswerError(OutcomeReason.TIMEOUT, f"no answer within {self._timeout_s:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Response(_EXITS.get(process.returncode or 0, _REFUSED))


def _connect(settings: AppriseSettings, _: httpx.AsyncClient) -> tuple[Notifier, Transport]:
    # Not refused in the config, which may be checked on another machine than the daemon's.
    if find_spec("apprise") is None:
        log.error(_NOT_INSTALLED)
    return Apprise(settings), AppriseTransport(settings.timeout_s)


APPRISE: Final = Kind("apprise", AppriseSettings, _connect)
