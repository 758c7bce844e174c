"""A server on loopback that speaks the protocol of the Hugging Face hub: files at revisions, uploads; how to ask it."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


def missing(folders, file):
    """What the hub calls a file of its that is not there."""
    owner, name, commit, *_ = file.relative_to(folders).parts
    if owner == "api":  # a folder of a repository
        return "EntryNotFound"
    if not (folders / owner / name).is_dir():
        return "RepoNotFound"
    return "EntryNotFound" if re.fullmatch("[0-9a-f]{40}", commit) else "RevisionNotFound"


class HubHandler(BaseHTTPRequestHandler):
    """Serves ``folders/OWNER/NAME/COMMIT/...``; `commits` has the commit of each branch and tag.

    An upload makes a new commit, to which ``main`` then points. Files that are not text go through LFS. `asked` lists
    the requests of uploads, and `token` is the one that these need.
    """

    token = "secret"
    folders: Path
    commits: dict[str, str]
    asked: list[str]
    blobs: dict[str, bytes]

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        path = self.path.split("?")[0]
        if asked := re.fullmatch("/api/models/([^/]+)/([^/]+)/(revision|tree)/([^/]+)", path):
            return self.describe(*asked.groups())
        if path.count("/") < 4:  # such as who asks
            return self.reply(404, b"", {}, body)
        owner, name, _, revision, *rest = path.strip("/").split("/")
        commit = self.commits.get(unquote(revision), revision)
        file = self.folders / owner / name / commit / "/".join(rest)
        if not file.is_file():
            return self.reply(404, b"", {"X-Error-Code": missing(self.folders, file), "X-Repo-Commit": commit}, body)
        data = file.read_bytes()
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        self.reply(200, data, {"ETag": etag, "X-Repo-Commit": commit}, body)

    def describe(self, owner, name, what, revision):
        """Say which commit a revision is at, or which files a commit has."""
        commit = self.commits.get(unquote(revision), revision)
        files = [p for p in (self.folders / owner / name / commit).rglob("*") if p.is_file()]
        if not files:
            return self.reply(404, b"", {"X-Error-Code": "RevisionNotFound"}, True)
        if what == "revision":
            return self.say({"id": f"{owner}/{name}", "sha": commit, "siblings": []})
        names = {p.relative_to(self.folders / owner / name / commit).as_posix(): p.stat().st_size for p in files}
        self.say([{"type": "file", "path": path, "size": size, "oid": "0" * 40} for path, size in names.items()])

    def do_PUT(self):
        data = self.content()
        oid = self.path.rsplit("/", 1)[1]
        right = hashlib.sha256(data).hexdigest() == oid
        self.blobs[oid] = data
        self.reply(200 if right else 400, b"", {}, True)

    def do_POST(self):
        path, content = self.path.split("?")[0], self.content()
        self.asked.append(path)
        if path == "/api/validate-yaml":
            return self.say({"errors": [], "warnings": []})
        if self.headers["Authorization"] != f"Bearer {self.token}":
            return self.say({"error": "Invalid credentials in Authorization header"}, 401)
        if path == "/api/repos/create":
            named = json.loads(content)
            (self.folders / named["organization"] / named["name"]).mkdir(parents=True, exist_ok=True)
            return self.say({"url": f"http://{self.headers['Host']}/{named['organization']}/{named['name']}"})
        if path.endswith("/preupload/main"):
            files = json.loads(content)["files"]
            modes = [{"path": f["path"], "uploadMode": mode_of(f["sample"]), "shouldIgnore": False} for f in files]
            return self.say({"files": modes})
        if path.endswith("/info/lfs/objects/batch"):
            return self.say({"transfer": "basic", "objects": [self.where(o) for o in json.loads(content)["objects"]]})
        _, _, owner, name, _, _ = path.strip("/").split("/")  # api/models/OWNER/NAME/commit/main
        commit = hashlib.sha1(content).hexdigest()
        self.write(self.folders / owner / name, commit, [json.loads(line) for line in content.splitlines()])
        self.say({"commitUrl": f"http://{self.headers['Host']}/{owner}/{name}/commit/{commit}", "commitOid": commit})

    def where(self, wanted):
        href = f"http://{self.headers['Host']}/blobs/{wanted['oid']}"
        return {**wanted, "actions": {"upload": {"href": href}}}

    def write(self, repository, commit, lines):
        """Write the files of a commit as ndjson over those of the one before it."""
        folder, before = repository / commit, repository / self.commits.get("main", "none")
        if before.is_dir() and before != folder:
            shutil.copytree(before, folder)
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                continue
            data = base64.b64decode(value["content"]) if line["key"] == "file" else self.blobs[value["oid"]]
            (folder / value["path"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / value["path"]).write_bytes(data)
        self.commits["main"] = commit

    def content(self):
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def say(self, value, status=200):
        self.reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"}, True)

    def reply(self, status, data, headers, body):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args):
        pass


def mode_of(sample):
    """``regular`` for text and ``lfs`` for all else, as the hub decides it from the first bytes."""
    return "lfs" if b"\0" in base64.b64decode(sample) else "regular"


@contextmanager
def serving_hub(folders, commits):
    """Yield the address of a hub that serves, and takes, the files of ``folders/OWNER/NAME/COMMIT``."""
    kind = type("Handler", (HubHandler,), {"folders": folders, "commits": commits, "asked": [], "blobs": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask_hub(address, cache, *words, cwd=None, **variables):
    """Run a command in a process whose hub is the one at an address, with a cache of its own."""
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1", **variables}
    words = list(map(str, words))
    return subprocess.run(words, capture_output=True, text=True, env=environment, check=False, timeout=600, cwd=cwd)
