"""A stand-in for Redis, for machines without one: lists only, in memory, over real RESP on a real socket."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable

Reply = bytes


class RespStandIn:
    """Answers LPUSH, RPOP, LLEN, LINDEX, DEL, PING and INFO as Redis does; everything else with an error."""

    def __init__(self) -> None:
        self._lists: defaultdict[str, deque[bytes]] = defaultdict(deque)
        self._commands: dict[str, Callable[[list[bytes]], Reply]] = {
            "PING": lambda _: b"+PONG\r\n",
            "INFO": lambda _: _bulk(b"redis_version:0.0.0-stand-in\r\nrole:master\r\n"),
            "LPUSH": self._push,
            "RPOP": self._pop,
            "LLEN": lambda words: _number(len(self._lists[words[0].decode()])),
            "LINDEX": self._index,
            "DEL": lambda words: _number(int(bool(self._lists.pop(words[0].decode(), None)))),
        }

    async def start(self) -> str:
        """Listen on a free loopback port; the URL of it."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                count = int((await reader.readuntil(b"\r\n"))[1:])
                words = []
                for _ in range(count):
                    length = int((await reader.readuntil(b"\r\n"))[1:])
                    words.append((await reader.readexactly(length + 2))[:-2])
                command = self._commands.get(words[0].decode().upper())
                writer.write(command(words[1:]) if command else b"-ERR unknown command\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _push(self, words: list[bytes]) -> Reply:
        queue = self._lists[words[0].decode()]
        queue.extendleft(words[1:])
        return _number(len(queue))

    def _pop(self, words: list[bytes]) -> Reply:
        queue = self._lists[words[0].decode()]
        return _bulk(queue.pop()) if queue else b"$-1\r\n"

    def _index(self, words: list[bytes]) -> Reply:
        queue, index = self._lists[words[0].decode()], int(words[1])
        return _bulk(queue[index]) if -len(queue) <= index < len(queue) else b"$-1\r\n"


def _bulk(value: bytes) -> Reply:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def _number(value: int) -> Reply:
    return b":%d\r\n" % value
