"""FakeLiveTail: the part of FakeCloudflare that delivers events over a WebSocket, and only to who sends heartbeats."""

from __future__ import annotations

import json
import threading
from typing import Any, Final

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from obskit.testing.cloudflare import Asked, DeniedError, FakeCloudflare, Route

OPEN: Final = "/workers/observability/telemetry/live-tail"
HEARTBEAT: Final = f"{OPEN}/heartbeat"
_PERMISSIONS: Final = frozenset({"Workers Observability Read", "Workers Observability Write"})
_SILENT_AFTER_MS: Final = 60_000


class FakeLiveTail:
    """`send` events to whoever follows a script; `hang_up` ends every socket. `secret` is a part of each URL."""

    secret = "one-time-token"

    def __init__(self, cloudflare: FakeCloudflare) -> None:
        self.opened: list[str] = []
        self.heartbeats: dict[str, list[int]] = {}
        self._sockets: dict[str, list[ServerConnection]] = {}
        self._cloudflare = cloudflare
        self._server = serve(self._follow, "127.0.0.1", 0)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        cloudflare.serve(
            Route("POST", OPEN, _PERMISSIONS, self._open), Route("POST", HEARTBEAT, _PERMISSIONS, self._beat)
        )

    def send(self, script: str, *events: Any) -> int:
        """How many sockets got them: none without a heartbeat within the last minute, though they stay open."""
        beats = self.heartbeats.get(script, [])
        if not beats or self._cloudflare.now_ms() - beats[-1] > _SILENT_AFTER_MS:
            return 0
        reached = 0
        for socket in self._sockets.get(script, []):
            try:
                for event in events:
                    socket.send(event if isinstance(event, str) else json.dumps(event))
                reached += 1
            except ConnectionClosed:
                continue
        return reached

    def hang_up(self, code: int = 1000) -> None:
        """End every socket; 1000 is a regular end."""
        for sockets in self._sockets.values():
            while sockets:
                sockets.pop().close(code)

    def close(self) -> None:
        """Stop listening."""
        self.hang_up()
        self._server.shutdown()
        self._thread.join()

    def _open(self, asked: Asked) -> Any:
        script = _script(asked)
        self.opened.append(script)
        port = self._server.socket.getsockname()[1]
        return {"wsUrl": f"ws://127.0.0.1:{port}/{script}?token={self.secret}"}

    def _beat(self, asked: Asked) -> Any:
        self.heartbeats.setdefault(_script(asked), []).append(self._cloudflare.now_ms())
        return {}

    def _follow(self, socket: ServerConnection) -> None:
        request = socket.request
        assert request is not None
        script = request.path.lstrip("/").partition("?")[0]
        self._sockets.setdefault(script, []).append(socket)
        for _ in socket:
            """What a client says is not listened to."""


def _script(asked: Asked) -> str:
    body = asked.body if isinstance(asked.body, dict) else {}
    if not body.get("scriptId"):
        raise DeniedError(400, 10026, "scriptId is required")
    return str(body["scriptId"])
