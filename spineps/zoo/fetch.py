"""Download of one file: the only module of the package that opens a socket, and only for ``spineps models fetch``.

The bytes go to ``<name>.partial``, with what the server said of them in ``<name>.partial.json``. A stream that is cut or
stalls is taken up where it ended (RFC 9110, sections 13.1.5 and 14: ``Range`` with ``If-Range``) if the server can do that and
the file is still the same, else from the start; also by a later call of another process. Proxies are those of the environment
(``https_proxy``, ``no_proxy``), certificates are checked. Written on urllib: a client library would add nothing that is needed
here, and reading what has come without waiting for a whole block is what tells a stalled server from a slow one.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

from spineps.errors import ErrorCode, ModelError

Progress = Callable[[int, int], None]
"""Told the bytes that are here and the bytes of the whole file (0 where the server did not say)."""

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_BLOCK_BYTES: Final = 1 << 16
_RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE_REFUSED: Final = 416
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+)$")
_REMEDY: Final = "Check the connection and run the command again; it goes on where it ended."
_REMEDY_PAGE: Final = "Log in to the network with a browser, or set https_proxy, and run the command again."


@dataclass(frozen=True, slots=True)
class Limits:
    """When a download is given up.

    Parameters
    ----------
    silence_seconds : float
        So long nothing may come, neither a connection nor a byte.
    window_seconds, window_bytes : float, int
        In each such time at least so many bytes must come.
    attempts : int
        So often in a row it may fail without getting further by ``window_bytes``.
    pause_seconds : float
        Before the second attempt; doubled before each further one.
    max_bytes : int
        No model is larger.
    free_share : float
        Disk space that must be free, as a multiple of the file: for it, its unpacked and its converted form.
    """

    silence_seconds: float = 30.0
    window_seconds: float = 60.0
    window_bytes: int = 1 << 17
    attempts: int = 5
    pause_seconds: float = 1.0
    max_bytes: int = 8 << 30
    free_share: float = 3.0


class _Again(Exception):  # noqa: N818  (a signal between two functions of this module, not an error)
    """An attempt failed in a way that another one may not."""


def download(url: str, target: Path, *, limits: Limits | None = None, progress: Progress | None = None) -> Path:
    """Download a zip file.

    Parameters
    ----------
    url : str
        ``https``, or ``http`` of this machine itself.
    target : Path
        Where it will be once it is whole. What an earlier call left beside it is taken up. Two calls for one target at once
        are the caller's to prevent.
    limits : Limits, optional
        When to give up.
    progress : callable, optional
        Told how far it is.

    Returns
    -------
    Path
        ``target``.

    Raises
    ------
    ModelError
        MODEL_DOWNLOAD. Nothing is at ``target`` then; what is worth keeping for the next call stays beside it.
    """
    checked_url(url)
    transfer = _Transfer(url, target, limits or Limits(), progress)
    try:
        return transfer.run()
    except OSError as error:
        raise failed(f"the file cannot be stored ({(error.strerror or str(error)).lower()})", _REMEDY_DISK) from error


_REMEDY_DISK: Final = "Free some space, or name another folder with SPINEPS_MODELS, and run the command again."


def checked_url(url: str) -> str:
    """The URL, if it is one that can be trusted on the way.

    Raises
    ------
    ModelError
        MODEL_DOWNLOAD for anything but ``https`` and ``http`` of this machine itself.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    if host and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)):
        return url
    raise failed("the address does not begin with https", "Give an https address.")


def sha256_of(path: Path) -> str:
    """Sha256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def failed(what: str, remedy: str = _REMEDY) -> ModelError:
    """The error of a download that failed."""
    return ModelError(ErrorCode.MODEL_DOWNLOAD, f"the model was not downloaded: {what}.", remedy=remedy)


class _Transfer:
    """A file on its way.

    Parameters
    ----------
    url, target, limits, progress
        As those of :func:`download`.
    """

    def __init__(self, url: str, target: Path, limits: Limits, progress: Progress | None) -> None:
        self._url, self._target, self._limits = url, target, limits
        self._progress = progress
        self._partial = target.with_name(f"{target.name}.partial")
        self._notes = target.with_name(f"{target.name}.partial.json")
        self._opener = urllib.request.build_opener(_TrustedRedirects(), urllib.request.HTTPSHandler(context=_certificates()))

    def run(self) -> Path:
        """Try until it is whole, or nothing more comes of trying."""
        furthest, failures = self._have(), 0
        while True:
            again = self._attempt()
            if again is None:
                self._partial.replace(self._target)
                self._notes.unlink(missing_ok=True)
                return self._target
            failures += 1
            if self._have() >= furthest + self._limits.window_bytes:
                furthest, failures = self._have(), 1
            if failures >= self._limits.attempts:
                raise failed(str(again)) from again
            time.sleep(self._limits.pause_seconds * 2 ** (failures - 1))

    def _attempt(self) -> _Again | None:
        """One request; why another one may do better, or None if this one did it all."""
        try:
            self._once()
        except _Again as again:
            return again
        return None

    def _once(self) -> None:
        """One request, and everything that comes of it."""
        notes = self._read_notes()
        have = self._have() if notes else 0
        try:
            with self._network():
                response = self._open(notes, have)
        except urllib.error.HTTPError as error:
            with error:
                self._answered(error, notes, have)
            return
        with response:
            self._receive(response, *self._begun(response, notes, have))

    @contextmanager
    def _network(self) -> Iterator[None]:
        """Map the errors of the connection, once, for everything that is asked of it."""
        try:
            yield
        except urllib.error.HTTPError:
            raise
        except (OSError, http.client.HTTPException) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise failed(f"the server's certificate is not valid ({cause.verify_message})", _REMEDY_PAGE) from error
            if isinstance(cause, TimeoutError):
                raise _Again(f"nothing came for {self._limits.silence_seconds:g} s") from error
            raise _Again("the server cannot be reached, or the connection was cut") from error

    def _open(self, notes: dict[str, Any], have: int) -> http.client.HTTPResponse:
        headers = {"User-Agent": "spineps", "Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": notes["validator"]}
        request = urllib.request.Request(self._url, headers=headers)  # noqa: S310  (checked_url, _TrustedRedirects)
        response: http.client.HTTPResponse = self._opener.open(request, timeout=self._limits.silence_seconds)
        return response

    def _answered(self, error: urllib.error.HTTPError, notes: dict[str, Any], have: int) -> None:
        """A status that is no success; returns only where everything is here already."""
        if error.code == _RANGE_REFUSED and have:
            if have == notes["size"]:
                return
            self._forget()
            raise _Again("the file on the server changed") from error
        what = f"the server answered {error.code}"
        if error.code in _RETRIED:
            raise _Again(what) from error
        raise failed(what, "Check the address, or try again later.") from error

    def _begun(self, response: http.client.HTTPResponse, notes: dict[str, Any], have: int) -> tuple[int, int]:
        """First byte that the response carries, and the size of the whole file (0: not known)."""
        if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise failed("a web page came instead of a file", _REMEDY_PAGE)
        if response.headers.get("Content-Encoding", "identity") not in ("", "identity"):
            raise failed("the server compressed the file on the way")
        length = _number(response.headers.get("Content-Length"))
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            start, size = 0, length
        else:
            found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
            start, size = (int(found[1]), int(found[2])) if found else (-1, 0)
            if start != have or size != notes.get("size"):
                self._forget()
                raise _Again("the server sent another part than the one asked for")
        self._check_size(start, size)
        self._write_notes(response.headers, size)
        return start, size

    def _check_size(self, start: int, size: int) -> None:
        if size > self._limits.max_bytes:
            raise failed(f"the server announces {size / 1e9:.0f} GB, more than any model has")
        free = shutil.disk_usage(self._target.parent).free
        needed = self._limits.free_share * size - start
        if free < needed:
            raise failed(f"{needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free", _REMEDY_DISK)

    def _receive(self, response: http.client.HTTPResponse, start: int, size: int) -> None:
        """Write what comes, from byte ``start`` of the file on."""
        with self._partial.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            here = start
            mark, marked = time.monotonic(), here
            while block := self._next(response):
                if here == 0:
                    _check_beginning(block)
                here += self._stored(file, block, here)
                if self._progress is not None:
                    self._progress(here, size)
                if time.monotonic() - mark > self._limits.window_seconds:
                    if here - marked < self._limits.window_bytes:
                        raise _Again(f"less than {self._limits.window_bytes} bytes came in {time.monotonic() - mark:.0f} s")
                    mark, marked = time.monotonic(), here
        if here < size:
            raise _Again(f"{size - here} of {size} bytes are missing")
        if here == 0:
            raise _Again("the server sent nothing")

    def _next(self, response: http.client.HTTPResponse) -> bytes:
        """What has come, as soon as something has; empty at the end."""
        with self._network():
            return response.read1(_BLOCK_BYTES)

    def _stored(self, file: IO[bytes], block: bytes, here: int) -> int:
        if here + len(block) > self._limits.max_bytes:
            self._forget()
            raise failed("more came than any model has")
        return file.write(block)

    def _have(self) -> int:
        return self._partial.stat().st_size if self._partial.exists() else 0

    def _read_notes(self) -> dict[str, Any]:
        """What is known of the partial file, empty where it cannot be taken up."""
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
            fits = notes["url"] == self._url and notes["validator"] and 0 < self._have() <= notes["size"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return dict(notes) if fits else {}

    def _write_notes(self, headers: Message, size: int) -> None:
        """Note by what the file can be told to be still the same: a strong entity tag, or else its date."""
        tag = headers.get("ETag", "")
        validator = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
        notes = {"url": self._url, "validator": validator, "size": size}
        self._notes.write_text(json.dumps(notes), encoding="utf-8")

    def _forget(self) -> None:
        self._partial.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)


class _TrustedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows only to addresses that could have been asked for in the first place."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        return super().redirect_request(req, fp, code, msg, headers, checked_url(newurl))  # type: ignore[arg-type]


def _certificates() -> ssl.SSLContext:
    """The certificates of the system (or of SSL_CERT_FILE), and those of certifi where they are installed."""
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(cafile=certifi.where())
    return context


def _check_beginning(block: bytes) -> None:
    if not b"PK\x03\x04".startswith(block[:4]):
        raise failed("what came is no zip file", _REMEDY_PAGE)


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
