"""Somebody who wants to be told of ends: keeps the bodies of all webhooks, and may refuse them for a while."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hooks:
    def __init__(self, status=200):
        self.status = status
        self.told = []
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status = hooks.status
                if status == 200:
                    hooks.told.append(body)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of(self, job):
        """What was told of a job."""
        return [body for body in self.told if body["request_id"] == job]

    def close(self):
        self._server.shutdown()
        self._server.server_close()
