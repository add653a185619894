"""A web server on this machine that serves a file well or badly, for the tests of downloads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Behaviour:
    """How the server behaves; the request's number (from 1 on) chooses where a mapping is given.

    Parameters
    ----------
    data : bytes
        The file.
    ranges : bool
        Whether it can send a part.
    etag : str
        Of the file; empty for none.
    cut_after : dict
        Request number to the bytes of the body after which the connection is closed.
    stall_after : dict
        Request number to the bytes after which nothing more comes for ``stall_seconds``.
    drip : tuple of float or None
        Bytes a block and seconds between blocks.
    status : dict
        Request number to a status other than 200.
    length : int or None
        What it claims as Content-Length, None for the truth; -1 to say nothing.
    kind : str
        Content-Type.
    headers : dict
        Others.
    """

    data: bytes = b""
    ranges: bool = True
    etag: str = '"one"'
    cut_after: dict[int, int] = field(default_factory=dict)
    stall_after: dict[int, int] = field(default_factory=dict)
    stall_seconds: float = 5.0
    drip: tuple[int, float] | None = None
    status: dict[int, int] = field(default_factory=dict)
    length: int | None = None
    kind: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Served:
    """A running server and what was asked of it."""

    url: str
    behaviour: Behaviour
    requests: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Served]:
    """Serve on a free port of this machine while it lasts."""
    served = Served("", behaviour)
    lock = threading.Lock()
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with lock:
                served.requests.append(dict(self.headers))
                served.paths.append(self.path)
                number = len(served.requests)
            _answer(self, served.behaviour, number, stopped)

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_port}/model.zip"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield served
    finally:
        stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(handler: BaseHTTPRequestHandler, how: Behaviour, number: int, stopped: threading.Event) -> None:
    status, start = how.status.get(number, 200), 0
    asked = handler.headers.get("Range", "")
    if status == 200 and how.ranges and asked and handler.headers.get("If-Range") == how.etag:
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        status = 206 if start < len(how.data) else 416
    body = how.data[start:] if status in (200, 206) else b""
    handler.send_response(status)
    handler.send_header("Content-Type", how.kind)
    if how.etag:
        handler.send_header("ETag", how.etag)
    if status == 206:
        handler.send_header("Content-Range", f"bytes {start}-{len(how.data) - 1}/{len(how.data)}")
    if how.length != -1:
        handler.send_header("Content-Length", str(len(body) if how.length is None else how.length))
    for name, value in how.headers.items():
        handler.send_header(name, value)
    handler.send_header("Connection", "close")
    handler.close_connection = True
    handler.end_headers()
    _send(handler, body, how, number, stopped)


def _send(handler: BaseHTTPRequestHandler, body: bytes, how: Behaviour, number: int, stopped: threading.Event) -> None:
    block, pause = how.drip or (1 << 16, 0.0)
    limit = min(how.cut_after.get(number, len(body)), how.stall_after.get(number, len(body)))
    try:
        for at in range(0, limit, block):
            handler.wfile.write(body[at : min(limit, at + block)])
            if pause and stopped.wait(pause):
                return
        if number in how.stall_after:
            stopped.wait(how.stall_seconds)
    except (BrokenPipeError, ConnectionResetError):
        time.sleep(0)  # the client went away, as some tests want it to
