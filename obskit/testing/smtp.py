"""FakeSmtp: a real SMTP server on a free loopback port: EHLO, STARTTLS or TLS from the start, AUTH, recipients that are
refused, planned replies and a session that hangs or is dropped.

    with FakeSmtp() as server:
        server.plan("DATA", 451)             # the next DATA is answered so
        server.plan("RCPT", 550, 250)        # the first recipient is refused, the second is not
        ...
        server.mails[0].message["Subject"]
"""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import hmac
import socketserver
import ssl
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Final, Self

USER: Final = "alerts"
PASSWORD: Final = "fake-smtp-password"
SECRET: Final = "fake-smtp-secret"
DROP: Final = 0
HANG: Final = -1
_CHALLENGE: Final = b"<1896.697170952@fake.example>"
_LONGEST_HANG_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail as it was handed over: its envelope, and whether the session was encrypted and logged in."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    encrypted: bool
    user: str

    def part(self, kind: str) -> str:
        """The text of the part of this kind (`plain`, `html`); empty when there is none."""
        found = self.message.get_body((kind,))
        return str(found.get_content()) if found is not None else ""


class FakeSmtp:
    """`mails` are those it took. `tls` makes STARTTLS offered, or with `implicit` spoken from the start."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        implicit: bool = False,
        mechanisms: str = "",
    ) -> None:
        self.mails: list[Mail] = []
        self.commands: list[str] = []
        self.tls = tls
        self.implicit = implicit
        self.mechanisms = mechanisms
        self.closing = threading.Event()
        self._plans: defaultdict[str, deque[int]] = defaultdict(deque)
        self._server = _Server(self)
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.02), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; whoever hangs is let go."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        """What goes into a receiver's `smarthost`. The name is `localhost`, as in the certificate of a test."""
        return f"localhost:{self._server.server_address[1]}"

    def plan(self, verb: str, *codes: int) -> None:
        """Answer the next commands of this verb so, one each; DROP closes the connection, HANG says nothing."""
        self._plans[verb].extend(codes)

    def planned(self, verb: str) -> int | None:
        """The reply that was planned for this command."""
        return self._plans[verb].popleft() if self._plans[verb] else None


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, fake: FakeSmtp) -> None:
        self.fake = fake
        super().__init__(("127.0.0.1", 0), _Session)

    def handle_error(self, *_: object) -> None:
        """A caller that went away is no news."""


class _Session(socketserver.StreamRequestHandler):
    server: _Server

    def setup(self) -> None:
        self.fake = self.server.fake
        self.encrypted = False
        self.user = ""
        self.over = False
        if self.fake.implicit:
            self._encrypt()
        super().setup()
        self._reset()

    def handle(self) -> None:
        if not self._planned("CONNECT"):
            self._say(220, "fake.example ESMTP")
        while not self.over:
            line = self.rfile.readline()
            if not line:
                return
            words = line.decode("utf-8", "replace").strip()
            verb = words.partition(" ")[0].upper()
            self.fake.commands.append(verb)
            handler: Callable[[str], None] | None = getattr(self, f"do_{verb.lower()}", None)
            if handler is None:
                self._say(502, "5.5.2 Error: command not recognized")
            elif not self._planned(verb):
                handler(words.partition(" ")[2])

    def finish(self) -> None:
        super().finish()
        self.connection.close()  # the server closes what it was before TLS

    def do_ehlo(self, _: str) -> None:
        offered = ["fake.example", "SIZE 1000000"]
        if self.fake.tls is not None and not self.encrypted:
            offered.append("STARTTLS")
        if self.fake.mechanisms:
            offered.append(f"AUTH {self.fake.mechanisms}")
        for line in offered[:-1]:
            self._send(f"250-{line}")
        self._say(250, offered[-1])

    def do_starttls(self, _: str) -> None:
        if self.fake.tls is None:
            self._say(454, "4.7.0 TLS not available")
            return
        self._say(220, "2.0.0 Ready to start TLS")
        self._encrypt()
        self.rfile = self.connection.makefile("rb")
        self._reset()

    def do_auth(self, given: str) -> None:
        mechanism, _, first = given.partition(" ")
        answer = {"PLAIN": self._plain, "LOGIN": self._login, "CRAM-MD5": self._cram}[mechanism.upper()](first)
        if answer:
            self.user = USER
            self._say(235, "2.7.0 Authentication successful")
        else:
            self._say(535, "5.7.8 Error: authentication failed")

    def do_mail(self, given: str) -> None:
        if self.fake.mechanisms and not self.user:
            self._say(530, "5.7.0 Authentication required")
            return
        self._sender = given.partition("<")[2].partition(">")[0]
        self._say(250, "2.1.0 Ok")

    def do_rcpt(self, given: str) -> None:
        self._recipients.append(given.partition("<")[2].partition(">")[0])
        self._say(250, "2.1.5 Ok")

    def do_data(self, _: str) -> None:
        self._say(354, "End data with <CR><LF>.<CR><LF>")
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b"."))
        if self._planned("BODY"):
            return
        message = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.fake.mails.append(Mail(self._sender, tuple(self._recipients), message, self.encrypted, self.user))
        self._say(250, "2.0.0 Ok: queued")

    def do_rset(self, _: str) -> None:
        self._reset()
        self._say(250, "2.0.0 Ok")

    def do_quit(self, _: str) -> None:
        self._say(221, "2.0.0 Bye")
        self.over = True

    def _plain(self, first: str) -> bool:
        return _decoded(first or self._ask(b"")).split(b"\0")[1:] == [USER.encode(), PASSWORD.encode()]

    def _login(self, first: str) -> bool:
        user = _decoded(first or self._ask(b"Username:"))
        return (user, _decoded(self._ask(b"Password:"))) == (USER.encode(), PASSWORD.encode())

    def _cram(self, _: str) -> bool:
        right = f"{USER} {hmac.new(SECRET.encode(), _CHALLENGE, hashlib.md5).hexdigest()}"
        return _decoded(self._ask(_CHALLENGE)) == right.encode()

    def _ask(self, words: bytes) -> str:
        self._send(f"334 {base64.b64encode(words).decode()}")
        return self.rfile.readline().decode().strip()

    def _planned(self, verb: str) -> bool:
        """Answer as planned; whether there was a plan."""
        code = self.fake.planned(verb)
        if code is None:
            return False
        if code in (DROP, HANG):
            self.over = True
            if code == HANG:
                self.fake.closing.wait(_LONGEST_HANG_S)
            self.connection.close()
        elif code // 100 == 2:
            return False
        else:
            self._say(code, f"{code // 100}.0.0 planned")
        return True

    def _encrypt(self) -> None:
        assert self.fake.tls is not None
        self.request = self.connection = self.fake.tls.wrap_socket(self.request, server_side=True)
        self.encrypted = True

    def _reset(self) -> None:
        self._sender = ""
        self._recipients: list[str] = []

    def _say(self, code: int, words: str) -> None:
        self._send(f"{code} {words}")

    def _send(self, line: str) -> None:
        self.connection.sendall(line.encode() + b"\r\n")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError:
        return b""
