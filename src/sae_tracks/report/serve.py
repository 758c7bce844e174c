"""The files of a page, and a web server for them: with byte ranges, for these files and this machine only."""

import logging
import os
import re
import shutil
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from sae_tracks.errors import SaeTracksError, Terminated
from sae_tracks.files import atomic

log = logging.getLogger(__name__)
PAGE = "index.html"
Content = Path | bytes | Callable[[], bytes]
Site = Mapping[str, Content]  # by address: relative, not percent-encoded, "tracks/f357.bw"
ADDRESS = "127.0.0.1"
NAMES = ("127.0.0.1", "localhost", "[::1]")  # of this machine, as a browser's Host header has them
IDLE = 60  # seconds after which a silent connection is closed
BLOCK = 1 << 16
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".tsv": "text/tab-separated-values; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
HEADERS = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page's own policy stands in the page
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def write_site(site: Site, out: Path) -> None:
    """Write every file of a page to a folder; tracks and FASTA are copied."""
    for address, content in site.items():
        with atomic(out / address) as temporary:
            if isinstance(content, Path):
                shutil.copyfile(content, temporary)
            else:
                temporary.write_bytes(content if isinstance(content, bytes) else content())


def folder_site(folder: Path) -> dict[str, Content]:
    """Return the regular files below a folder that `write_site` filled, without hidden files and links."""
    found: dict[str, Content] = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        links = any((folder / Path(*parts[: i + 1])).is_symlink() for i in range(len(parts)))
        if path.is_file() and not links and not any(part.startswith(".") for part in parts):
            found["/".join(parts)] = path.resolve()
    return found


class PageServer(ThreadingHTTPServer):
    """Serves a page at ``http://127.0.0.1:PORT/``; it listens as soon as it is made.

    An address is looked up in `site` and never becomes a path, so nothing else is served. Port 0 means a free port.

    Raises
    ------
    SaeTracksError
        The port is taken, or may not be used.
    """

    daemon_threads = True

    def __init__(self, site: Site, port: int = 0) -> None:
        self.site = {address: _once(content) for address, content in site.items()}
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SaeTracksError(f"cannot listen on port {port}: {reason}; --port 0 takes a free one") from error
        self.hosts = {f"{name}:{self.server_port}" for name in NAMES}
        if self.server_port == 80:
            self.hosts.update(NAMES)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say in one line what went wrong; a browser that closes a connection is nothing wrong."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            log.warning("a request failed: %s: %s", type(error).__name__, error)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{ADDRESS}:{self.server_port}/"


def serve(site: Site, port: int = 0, *, browser: bool = True, ready: Callable[[str], None] | None = None) -> None:
    """Serve a page until Ctrl-C, and open it in the user's browser if `browser` is true.

    `ready` is called with the address once the server listens.
    """
    with PageServer(site, port) as server:
        if ready:
            ready(server.url)
        if browser:
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        try:
            server.serve_forever()
        except Terminated:
            raise
        except KeyboardInterrupt:
            log.info("stopped")


def _once(content: Content) -> Content:
    """Make content on the first request only, even if several requests come at the same time."""
    if isinstance(content, Path | bytes):
        return content
    lock, make = threading.Lock(), cache(content)

    def get() -> bytes:
        with lock:
            return make()

    return get


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    timeout = IDLE

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        self.close_connection |= "Content-Length" in self.headers or "Transfer-Encoding" in self.headers
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].strip().lower() not in self.server.hosts:  # another site's name points here
            self.send_error(HTTPStatus.FORBIDDEN, "this server answers to localhost alone")
            return
        content = self.server.site.get(address_of(self.path) or "")
        try:
            with _opened(content) as (file, size):
                self._send(file, size, body)
        except FileNotFoundError:
            self.send_error(HTTPStatus.NOT_FOUND)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except (SaeTracksError, OSError) as error:
            log.warning("%s: %s", self.path, error)
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "the file cannot be read")

    def _send(self, file: BinaryIO, size: int, body: bool) -> None:
        text = None if "If-Range" in self.headers else self.headers.get("Range")  # there is no validator to compare
        span = byte_range(text, size) if text else None
        start, end = span or (0, size)
        kind = TYPES.get(Path(address_of(self.path) or "").suffix, "application/octet-stream")
        headers = {**HEADERS, "Content-Length": str(end - start), "Content-Type": kind}
        status = HTTPStatus.OK
        if span == (0, 0):
            status, headers["Content-Range"] = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"bytes */{size}"
        elif span:
            status, headers["Content-Range"] = HTTPStatus.PARTIAL_CONTENT, f"bytes {start}-{end - 1}/{size}"
        if self.close_connection:
            headers["Connection"] = "close"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self._copy(file, start, end - start)

    def _copy(self, file: BinaryIO, start: int, length: int) -> None:
        file.seek(start)
        while length:
            block = file.read(min(BLOCK, length))
            if not block:  # the file was cut short meanwhile: the browser must see that the answer is not whole
                self.close_connection = True
                return
            self.wfile.write(block)
            length -= len(block)

    def version_string(self) -> str:
        return "sae-tracks"

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


def address_of(target: str) -> str | None:
    """Return the address that a request's target names ("index.html" for "/"); None if it is no path or not UTF-8."""
    if not target.startswith("/"):
        return None
    try:
        address = unquote_to_bytes(target[1:].partition("?")[0]).decode()
    except UnicodeDecodeError:
        return None
    return address or PAGE


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """Return start and end (half-open) of the bytes that a Range header asks for (RFC 9110, 14.1).

    The forms are ``bytes=0-99``, ``bytes=100-`` and, for the last bytes, ``bytes=-100``. (0, 0) means that none of the
    bytes exists (416). None means that the header is malformed or asks for several ranges, which the whole may answer.
    """
    match = re.fullmatch(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", text, re.ASCII | re.IGNORECASE)
    if not match or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, end = max(size - int(match[2]), 0), size
    else:
        start, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    return (start, end) if start < end else (0, 0)


@contextmanager
def _opened(content: Content | None) -> Iterator[tuple[BinaryIO, int]]:
    """Open a file and yield it with its size in bytes. A file that has become a link since the start is not found."""
    if content is None:
        raise FileNotFoundError
    if isinstance(content, Path):
        if content.resolve() != content or not content.is_file():
            raise FileNotFoundError
        with content.open("rb") as file:
            yield file, os.fstat(file.fileno()).st_size
    else:
        data = content if isinstance(content, bytes) else content()
        yield BytesIO(data), len(data)
