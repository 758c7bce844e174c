"""The files of a page, and a web server for them: on this machine alone, with byte ranges, and for these files only."""

import logging
import os
import re
import shutil
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from sae_tracks.errors import SaeTracksError
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
    """Write every file of a page into a folder; tracks and FASTA are copied."""
    for address, content in site.items():
        with atomic(out / address) as temporary:
            if isinstance(content, Path):
                shutil.copyfile(content, temporary)
            else:
                temporary.write_bytes(content if isinstance(content, bytes) else content())


def folder_site(folder: Path) -> dict[str, Content]:
    """The regular files below a folder that `write_site` filled; nothing that is hidden or a link is among them."""
    found: dict[str, Content] = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        links = any((folder / Path(*parts[: i + 1])).is_symlink() for i in range(len(parts)))
        if path.is_file() and not links and not any(part.startswith(".") for part in parts):
            found["/".join(parts)] = path.resolve()
    return found


class PageServer(ThreadingHTTPServer):
    """Serves a page at ``http://127.0.0.1:PORT/``; it listens when it is made.

    Parameters
    ----------
    site : mapping
        What is served, by address. Nothing else is: an address is looked up in this mapping and never becomes a path.
    port : int
        0 takes a free one.

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
        self.hosts = {f"{name}:{self.server_port}" for name in NAMES} | (
            set(NAMES) if self.server_port == 80 else set()
        )

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{ADDRESS}:{self.server_port}/"


def serve(site: Site, port: int = 0, *, browser: bool = True, ready: Callable[[str], None] | None = None) -> None:
    """Serve a page until Ctrl-C.

    Parameters
    ----------
    site, port
        See `PageServer`.
    browser : bool
        Open the page in the user's browser.
    ready : callable, optional
        Is given the address once the server listens.
    """
    with PageServer(site, port) as server:
        if ready:
            ready(server.url)
        if browser:
            threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            log.info("stopped")


def _once(content: Content) -> Content:
    """What is made on request is made once, whoever asks at the same time."""
    if isinstance(content, Path | bytes):
        return content
    lock, made = threading.Lock(), []

    def get() -> bytes:
        with lock:
            if not made:
                made.append(content())
        return made[0]

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
        text = None if "If-Range" in self.headers else self.headers.get("Range")  # there is no validator to hold it to
        span = byte_range(text, size) if text else None
        if span == (0, 0):
            self._begin(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, {"Content-Range": f"bytes */{size}"})
            return
        start, end = span or (0, size)
        more = {"Content-Type": TYPES.get(Path(address_of(self.path) or "").suffix, "application/octet-stream")}
        if span:
            more["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        self._begin(HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK, end - start, more)
        if body:
            self._copy(file, start, end - start)

    def _begin(self, status: HTTPStatus, length: int, more: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Length": str(length), **more}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

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
    """The address that a request's target names: "index.html" of "/"; None where it is no path or no UTF-8."""
    if not target.startswith("/"):
        return None
    try:
        address = unquote_to_bytes(target[1:].partition("?")[0]).decode()
    except UnicodeDecodeError:
        return None
    return address or PAGE


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """The bytes that a Range header asks for (RFC 9110, 14.1).

    Parameters
    ----------
    text : str
        ``bytes=0-99``, ``bytes=100-`` or, the last ones, ``bytes=-100``.
    size : int
        Bytes of the whole.

    Returns
    -------
    (int, int) or None
        Start and end, half-open; (0, 0) where no byte of it is there (416); None where the header is malformed or asks
        for several ranges, which may be answered with the whole.
    """
    match = re.fullmatch(r"bytes=\s*(\d*)-(\d*)\s*", text, re.ASCII | re.IGNORECASE)
    if not match or not (match[1] or match[2]) or max(len(match[1]), len(match[2])) > 18:
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
    """An open file and its size in bytes. A file that has become a link since the start is not there."""
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
