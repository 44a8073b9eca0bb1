"""A web server on this machine for tests of downloads: it gives the answers of the test, and records the requests."""

import gzip
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from threading import Event, Thread


@dataclass
class Asked:
    """One request: its path, its headers by their lower-case names, and how many bytes of a body it was given."""

    path: str
    headers: dict[str, str]
    given: int = 0

    @property
    def range(self) -> str | None:
        return self.headers.get('range')


class Server(ThreadingHTTPServer):
    """A server with lists of `answers` by path: each request takes the first one of its path, and the last one stays.

    A path without answers gets status 404. `asked` are the requests so far.
    """

    def __init__(self, answers: dict[str, list['Answer']]) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.answers = answers
        self.asked: list[Asked] = []
        # What waits goes on when the test sets it, or ends.
        self.released = Event()

    def url(self, path: str) -> str:
        return f'http://127.0.0.1:{self.server_port}{path}'

    @property
    def ranges(self) -> list[str | None]:
        return [asked.range for asked in self.asked]

    @property
    def given(self) -> int:
        return sum(asked.given for asked in self.asked)


class Handler(BaseHTTPRequestHandler):
    """Hands a request to its answer, and closes the connection after it."""

    protocol_version = 'HTTP/1.1'
    server: Server

    def do_GET(self) -> None:
        asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()})
        self.server.asked.append(asked)
        answers = self.server.answers.get(self.path, [status(404)])
        # The client may leave in the middle.
        with suppress(ConnectionError):
            (answers.pop(0) if len(answers) > 1 else answers[0])(self, asked)
        self.close_connection = True

    def begin(self, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {'Connection': 'close', **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def give(self, asked: Asked, body: bytes) -> None:
        for start in range(0, len(body), 1 << 14):
            block = body[start : start + (1 << 14)]
            self.wfile.write(block)
            asked.given += len(block)

    def log_message(self, *args: object) -> None:
        """Write no log."""


Answer = Callable[[Handler, Asked], None]


@contextmanager
def serving(answers: dict[str, list[Answer]]) -> Iterator[Server]:
    """Yield a server with these answers by path, which runs as long as the block."""
    server = Server(answers)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def content(
    body: bytes,
    *,
    ranges: bool = True,
    most: int | None = None,
    stated: bool = True,
    cut: int | None = None,
    reset: bool = False,
    hold: int | None = None,
    **headers: str,
) -> Answer:
    """Return the answer of an honest server that has a file with the content `body`.

    `ranges` says whether it gives parts of the file; otherwise it gives the whole. `most` is the most bytes of one response. `stated` says
    whether the response has its length. After `cut` bytes the server closes the connection, or resets it with `reset`. After `hold` bytes
    it waits until the test sets `Server.released`. `headers` are more headers of the response, with `_` for `-`.
    """

    def answer(handler: Handler, asked: Asked) -> None:
        start = int(asked.range.removeprefix('bytes=').removesuffix('-')) if asked.range and ranges else 0
        if start and start >= len(body):
            handler.begin(416, {'Content-Range': f'bytes */{len(body)}', 'Content-Length': '0'})
            return
        rest = body[start:][:most]
        stated_headers = {'Content-Length': str(len(rest))} if stated else {}
        if start:
            stated_headers['Content-Range'] = f'bytes {start}-{start + len(rest) - 1}/{len(body)}'
        handler.begin(206 if start else 200, stated_headers | {name.replace('_', '-'): value for name, value in headers.items()})
        if hold is not None:
            handler.give(asked, rest[:hold])
            handler.server.released.wait()
            rest = rest[hold:]
        handler.give(asked, rest[:cut])
        if reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            # The server itself would take its leave politely first.
            os.close(handler.connection.detach())

    return answer


def status(code: int, body: bytes = b'', **headers: str) -> Answer:
    """Return an answer with the status `code` and the content `body`; `headers` have `_` for `-`."""

    def answer(handler: Handler, asked: Asked) -> None:
        handler.begin(code, {'Content-Length': str(len(body))} | {name.replace('_', '-'): value for name, value in headers.items()})
        handler.give(asked, body)

    return answer


def compressed(body: bytes) -> Answer:
    """Return an answer with the whole file, compressed although the request does not allow that."""
    return status(200, gzip.compress(body), Content_Encoding='gzip')


def endless(handler: Handler, asked: Asked) -> None:
    """Answer with bytes without end, until the client leaves."""
    handler.begin(200, {})
    for block in repeat(bytes(1 << 14)):
        handler.give(asked, block)
