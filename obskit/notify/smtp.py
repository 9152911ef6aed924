"""How mail leaves: one SMTP session per attempt, by smtplib in a thread of its own. What a reply means is email.py's.

A recipient who is refused for ever does not keep the others from their mail; one who is refused for now does, before
anybody has it, so that the next attempt doubles nothing.
"""

from __future__ import annotations

import asyncio
import logging
import smtplib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import getaddresses
from typing import Final

from obskit.model.actions import OutcomeReason
from obskit.notify.base import NoAnswerError, Request, Response
from obskit.notify.email import EmailSettings
from obskit.notify.http import METADATA
from obskit.notify.settings import is_machine_metadata
from obskit.outbound import httpx

log = logging.getLogger(__name__)

_OK: Final = 250
_NEVER: Final = 500


class SmtpTransport:
    """Sends through one mail server."""

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        # A thread that hangs (in a name look-up, say) cannot be ended: each destination may lose only its own.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="obskit-smtp")

    async def send(self, request: Request) -> Response:
        """The reply that decided: to the body, or to what was refused before it. NoAnswerError when there is none."""
        host, _, port = self._settings.smarthost.rpartition(":")
        session = _Session(self._settings, host.strip("[]"), int(port))
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._thread, session.mail, request.body or b"")
        except TimeoutError:
            raise NoAnswerError(OutcomeReason.TIMEOUT, f"no answer within {self._settings.timeout_s:g} s") from None
        except smtplib.SMTPNotSupportedError as error:
            raise NoAnswerError(OutcomeReason.CONFIG, f"{session.host}: {error}") from None
        except (OSError, smtplib.SMTPException) as error:
            raise NoAnswerError(OutcomeReason.NETWORK, f"{session.host}: {type(error).__name__}") from None
        finally:
            session.abandon()


class _Session:
    """One session, in a thread; `abandon` wakes it from whatever it waits for."""

    def __init__(self, settings: EmailSettings, host: str, port: int) -> None:
        self.host = host
        self._port = port
        self._settings = settings
        self._client: smtplib.SMTP | None = None

    def mail(self, body: bytes) -> Response:
        """The whole session."""
        try:
            self._open()
            self._log_in()
            return self._hand_over(body)
        except smtplib.SMTPResponseException as refusal:
            return _reply(refusal.smtp_code, refusal.smtp_error)

    def abandon(self) -> None:
        """End it, whoever is in the middle of what."""
        sock = getattr(self._client, "sock", None)
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # close() alone would not wake a thread that reads
            sock.close()

    def _open(self) -> None:
        given = self._settings
        hello, timeout_s = given.hello or None, given.timeout_s
        client = (
            smtplib.SMTP_SSL(local_hostname=hello, timeout=timeout_s, context=self._context())
            if given.implicit_tls
            else smtplib.SMTP(local_hostname=hello, timeout=timeout_s)
        )
        self._client = client
        # smtplib names the host to TLS by what the constructor was given; it was given none, so as to have `client`
        # while it connects.
        client._host = self.host  # type: ignore[attr-defined]  # noqa: SLF001
        code, said = client.connect(self.host, self._port)
        assert client.sock is not None
        if not given.allow_link_local and is_machine_metadata(str(client.sock.getpeername()[0])):
            raise smtplib.SMTPNotSupportedError(METADATA)
        if code != 220:
            raise smtplib.SMTPConnectError(code, said)
        client.ehlo_or_helo_if_needed()
        if given.require_tls and not given.implicit_tls:
            if not client.has_extn("starttls"):
                raise smtplib.SMTPNotSupportedError("no STARTTLS here; require_tls: false would send in the clear")
            code, said = client.starttls(context=self._context())
            if code != 220:
                raise smtplib.SMTPResponseException(code, said)
            client.ehlo_or_helo_if_needed()

    def _context(self) -> ssl.SSLContext:
        tls = self._settings.tls_config
        if tls is None:
            return httpx.create_ssl_context()
        context = ssl.create_default_context(cafile=tls.ca_file) if tls.ca_file else httpx.create_ssl_context()
        if tls.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
        return context

    def _log_in(self) -> None:
        """By the first of CRAM-MD5, PLAIN and LOGIN that the server offers and we have the words for."""
        given, client = self._settings, self._client
        assert client is not None
        if not given.auth_username:
            return
        offered = client.esmtp_features.get("auth", "").upper().split()
        client.user = given.auth_username
        password = given.auth_password.reveal() if given.auth_password else ""
        if "CRAM-MD5" in offered and given.auth_secret is not None:
            client.password = given.auth_secret.reveal()
            client.auth("CRAM-MD5", client.auth_cram_md5)
        elif "PLAIN" in offered and password:
            client.auth("PLAIN", lambda _=None: f"{given.auth_identity}\0{given.auth_username}\0{password}")
        elif "LOGIN" in offered and password:
            client.password = password
            client.auth("LOGIN", client.auth_login)
        else:
            raise smtplib.SMTPNotSupportedError(f"no login that we have the words for; it offers {' '.join(offered)}")

    def _hand_over(self, body: bytes) -> Response:
        client = self._client
        assert client is not None
        sender = getaddresses([self._settings.from_])[0][1]
        code, said = client.mail(sender)
        if code != _OK:
            return _reply(code, said)
        refused: list[tuple[str, int, bytes]] = []
        recipients = [address for _, address in getaddresses([self._settings.to])]
        for address in recipients:
            code, said = client.rcpt(address)
            if code not in (_OK, 251):
                refused.append((address, code, said))
        for_now = [(code, said) for _, code, said in refused if code < _NEVER]
        if for_now or len(refused) == len(recipients):
            return _reply(*(for_now or [(code, said) for _, code, said in refused])[0])
        code, said = client.data(body)
        if code == _OK:
            for address, why, words in refused:
                log.warning(
                    "recipient refused: address=%s code=%d reason=%s", address, why, words.decode(errors="replace")
                )
            with suppress(smtplib.SMTPException, OSError):
                client.quit()
        return _reply(code, said)


def _reply(code: int, said: bytes | str) -> Response:
    return Response(code, body=said if isinstance(said, bytes) else said.encode())
