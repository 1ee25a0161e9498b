"""A hub on loopback that speaks as Hugging Face's does to `huggingface_hub` and to `scumble models pull`: small files from
itself, large ones from a second host behind it, in parts where parts are asked for."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def is_large(path):
    return path.endswith(".safetensors")


def checksum(path, data):
    """Large files are named by SHA-256, small ones as git names them."""
    if is_large(path):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """Repositories by name, each a dict of paths and bytes; `asked` is what the second host was asked for."""

    def __init__(self, repositories):
        self.repositories = repositories
        self.asked = []
        self.hang = threading.Event()
        self.hanging = threading.Event()
        self.near, self.far = (self._serve(handler) for handler in (Near, Far))
        self.url, self.far_url = (f"http://127.0.0.1:{server.server_port}" for server in (self.near, self.far))

    def _serve(self, handler):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.hub = self
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def close(self):
        self.hang.clear()
        for server in (self.near, self.far):
            server.shutdown()
            server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def answer(self, status, headers=None, body=b"", length=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def ranged(self, data, headers):
        """A file, or the part of it that is asked for."""
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not part:
            return self.answer(200, {**headers, "Accept-Ranges": "bytes"}, data)
        start, last = int(part[1]), min(int(part[2] or len(data) - 1), len(data) - 1)
        headers = {**headers, "Content-Range": f"bytes {start}-{last}/{len(data)}"}
        return self.answer(206, headers, data[start : last + 1])


class Near(Handler):
    def do_GET(self):
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[:2] == ["api", "models"]:
            name, what = "/".join(parts[2:4]), parts[4:5]
            files = self.server.hub.repositories.get(name)
            if files is None:
                return self.answer(404, {"X-Error-Code": "RepoNotFound"})
            return self.answer(200, {"Content-Type": "application/json"}, json.dumps(listed(name, files, what)).encode())
        name, path = "/".join(parts[:2]), "/".join(parts[4:])
        data = self.server.hub.repositories.get(name, {}).get(path)
        if data is None:
            return self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        tag = f'"{checksum(path, data)}"'
        if not is_large(path):
            return self.ranged(data, {"ETag": tag, "X-Repo-Commit": COMMIT})
        return self.answer(302, {
            "Location": f"{self.server.hub.far_url}/{name}/{path}?signature=x",
            "X-Linked-Etag": tag,
            "X-Linked-Size": str(len(data)),
            "X-Repo-Commit": COMMIT,
        })


class Far(Handler):
    def do_GET(self):
        hub = self.server.hub
        owner, name, path = unquote(urlsplit(self.path).path).strip("/").split("/", 2)
        data = hub.repositories[f"{owner}/{name}"][path]
        if self.command == "GET":
            hub.asked.append(path)
        if hub.hang.is_set() and self.command == "GET":
            # the half, and then nothing until the test has seen enough
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 0-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            hub.hanging.set()
            while hub.hang.is_set():
                hub.hang.wait(0.1)
                if self.connection.fileno() == -1:
                    return
            self.close_connection = True
            return
        self.ranged(data, {"ETag": '"far"'})


def listed(name, files, what):
    if what == ["tree"]:
        return [
            {"type": "file", "path": path, "size": len(data), "oid": checksum("x", data)}
            | ({"lfs": {"oid": checksum(path, data), "size": len(data), "pointerSize": 100}} if is_large(path) else {})
            for path, data in files.items()
        ]
    siblings = [{"rfilename": path} for path in files]
    return {"_id": "1", "id": name, "modelId": name, "sha": COMMIT, "private": False, "gated": False, "disabled": False,
            "downloads": 0, "likes": 0, "tags": [], "siblings": siblings, "cardData": {"license": "apache-2.0"}}
