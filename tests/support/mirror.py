"""A server on loopback that stands for every site of downloads, and can break off, lie and fail."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

from sae_tracks.fetch import transfer

COMMIT = "c" * 40


def md5_lines(files):
    return "".join(f"{hashlib.md5(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()


class Handler(BaseHTTPRequestHandler):
    """Files of ``state.files``; knows ranges unless told otherwise, and breaks off where it is told to."""

    state: SimpleNamespace

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        path, s = self.path.split("?")[0], self.state
        s.seen.append((path, self.headers["Range"]))
        if s.busy.pop(path, None):
            return self.reply(503, b"", {}, body)
        if path not in s.files:
            code = "RevisionNotFound" if "/me/lm/" in path else "RepoNotFound"  # the hub's, which others ignore
            return self.reply(404, b"", {"X-Error-Code": code}, body)
        data = s.files[path]
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        headers = {
            "ETag": etag,
            "X-Repo-Commit": path.split("/")[4] if "/resolve/" in path else "",
            "Content-Type": "application/json",
        }
        start = int((self.headers["Range"] or "bytes=0-").split("=")[1].split("-")[0])
        if not start or not s.ranges or self.headers["If-Range"] not in (None, etag):
            return self.reply(200, data, headers, body, s.cut.get(path, [None]))
        if start >= len(data):
            return self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"}, body)
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.reply(206, data[start:], headers, body, s.cut.get(path, [None]))

    def reply(self, status, data, headers, body, cuts=(None,)):
        """The whole length is announced; a cut, used once, is how many bytes come."""
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data[: cuts.pop(0) if isinstance(cuts, list) and cuts else None])

    def log_message(self, *args):
        pass


@contextmanager
def mirror(files, cache, monkeypatch):
    """Serve `files`, path to bytes, in place of all sites, with an empty cache; yields what the server does."""
    state = SimpleNamespace(files=files, seen=[], cut={}, busy={}, ranges=True)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (Handler,), {"state": state}))
    threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    for variable, _ in transfer.SITES.values():
        monkeypatch.setenv(variable, state.url)
    monkeypatch.setenv("SAE_TRACKS_CACHE", str(cache))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(transfer, "PAUSE", 0)
    yield state
    httpd.shutdown()
    httpd.server_close()


def publish(server, name, files, revision="main", commit=COMMIT):
    """Let the server also speak the hub's protocol for a repository with these files, name to bytes."""
    info = {"id": name, "sha": commit, "siblings": []}
    tree = [{"type": "file", "path": path, "size": len(data), "oid": "0" * 40} for path, data in files.items()]
    server.files[f"/api/models/{name}/revision/{revision}"] = json.dumps(info).encode()
    server.files[f"/api/models/{name}/tree/{commit}"] = json.dumps(tree).encode()
    server.files |= {f"/{name}/resolve/{commit}/{path}": data for path, data in files.items()}
