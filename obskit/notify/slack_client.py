"""slack_sdk as a Transport: one call of its synchronous client in a thread of its own, no retries, its answers as Responses.

The synchronous client costs 2 MB; the asynchronous one would bring aiohttp. Retrying is the outbox's.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from http.client import HTTPException
from typing import Any, Final
from urllib.error import URLError
from urllib.request import HTTPRedirectHandler, build_opener, install_opener
from urllib.request import Request as UrlRequest

from slack_sdk.errors import SlackApiError
from slack_sdk.web.client import WebClient
from slack_sdk.web.slack_response import SlackResponse
from slack_sdk.webhook.client import WebhookClient

from obskit.model.actions import OutcomeReason
from obskit.model.settings import Secret
from obskit.notify.base import NoAnswerError, Request, Response

# The SDK logs URLs and bodies at DEBUG and each failure at ERROR: the first would leak, the second repeats the outbox.
_SILENT: Final = logging.getLogger("obskit.notify.slack_sdk")
_SILENT.setLevel(logging.CRITICAL)

_READS: Final = ("conversations.", "chat.getPermalink")


class _StayHere(HTTPRedirectHandler):
    """A redirect is an answer: urllib would carry the token to wherever it points."""

    def redirect_request(self, *_: Any, **__: Any) -> UrlRequest | None:
        return None


# The SDK calls urlopen and takes no opener; nothing else in the daemon uses urllib.
install_opener(build_opener(_StayHere))


class SlackTransport:
    """The Web API. The last part of a request's URL is the method."""

    def __init__(self, token: Secret, base_url: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._thread = _thread()
        self._client = WebClient(
            token=token.reveal(), base_url=base_url, timeout=_whole(timeout_s), retry_handlers=[], logger=_SILENT
        )

    async def send(self, request: Request) -> Response:
        """The answer, ok or not; NoAnswerError without one."""
        return await _call_in(self._thread, lambda: self._call(request), self._timeout_s)

    def _call(self, request: Request) -> Response:
        method = request.url.rpartition("/")[2]
        arguments = json.loads(request.body or b"{}")
        # Methods that read do not take JSON (their json_input_supported is false): they want a form.
        form = {"params": arguments} if method.startswith(_READS) else {"json": arguments}
        try:
            return _response(self._client.api_call(method, **form))
        except SlackApiError as error:
            return _response(error.response)


class SlackWebhookTransport:
    """Incoming webhooks."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._thread = _thread()

    async def send(self, request: Request) -> Response:
        """The answer, ok or not; NoAnswerError without one."""
        return await _call_in(self._thread, lambda: self._call(request), self._timeout_s)

    def _call(self, request: Request) -> Response:
        client = WebhookClient(request.url, timeout=_whole(self._timeout_s), retry_handlers=[], logger=_SILENT)
        answer = client.send_dict(json.loads(request.body or b"{}"))
        return Response(answer.status_code, _lower(answer.headers), answer.body.encode())


def _thread() -> Executor:
    # A thread that hangs (in a name look-up, say) cannot be ended: each destination may lose only its own.
    return ThreadPoolExecutor(1, thread_name_prefix="obskit-slack")


async def _call_in(thread: Executor, call: Callable[[], Response], timeout_s: float) -> Response:
    try:
        # The socket has a time-out of its own; this one ends an answer that comes byte by byte.
        async with asyncio.timeout(timeout_s + 1):
            return await asyncio.get_running_loop().run_in_executor(thread, call)
    except TimeoutError:
        raise NoAnswerError(OutcomeReason.TIMEOUT, f"no answer within {timeout_s:g} s") from None
    except URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise NoAnswerError(OutcomeReason.TIMEOUT, f"no connection within {timeout_s:g} s") from None
        raise NoAnswerError(OutcomeReason.NETWORK, f"cannot connect: {type(error.reason).__name__}") from None
    except (OSError, HTTPException) as error:
        raise NoAnswerError(OutcomeReason.NETWORK, f"connection lost: {type(error).__name__}") from None
    except (ValueError, AttributeError, TypeError) as error:
        # The SDK takes any body for an object of its own shape, in the encoding the headers claim.
        raise NoAnswerError(OutcomeReason.SERVER, f"unreadable answer: {type(error).__name__}") from None


def _response(answer: SlackResponse) -> Response:
    data: Any = answer.data
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return Response(answer.status_code, _lower(answer.headers), body)


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in dict(headers).items()}


def _whole(timeout_s: float) -> int:
    return max(1, round(timeout_s))
