"""How a command asks the daemon that holds the store to change something: through its server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from obskit.cli.options import stop

if TYPE_CHECKING:
    from obskit.config import Config
    from obskit.outbound import httpx


def ask_daemon(config: Config, path: str) -> bool:
    """POST to a path of its server: whether there was something to change. Ends the command when it refuses."""
    answer = request_daemon(config, "POST", path)
    if answer.status_code not in (200, 404):
        stop(f"what answers on {config.web.listen} refuses: HTTP {answer.status_code}")
    return bool(answer.status_code == 200)


def request_daemon(config: Config, method: str, path: str, body: Any = None) -> httpx.Response:
    """Its server's answer, whatever it says but that it does not know us; ends the command when there is none."""
    from obskit.outbound import httpx

    listen, token = config.web.listen, config.web.token
    headers = {"Authorization": f"Bearer {token.reveal()}"} if token else {}
    url = f"http://{_reachable(listen)}{path}"
    try:
        answer = httpx.request(method, url, json=body, headers=headers, timeout=10, trust_env=False)
    except httpx.HTTPError as error:
        stop(f"obskit watch holds the store but does not answer on {listen}: {type(error).__name__}")
    if answer.status_code in (401, 403):
        stop(f"what answers on {listen} refuses: HTTP {answer.status_code}")
    return answer


def _reachable(listen: str) -> str:
    """Where a server that listens there is asked from here: one on all addresses, through loopback."""
    from obskit.config.sections import parse_listen

    host, port = parse_listen(listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
