"""A receiver of webhooks that verifies signatures as fal's documentation does."""

import base64
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey


class Receiver:
    """Listens on a free port and keeps what comes."""

    def __init__(self):
        self.deliveries = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(200)
                self.end_headers()
                receiver.deliveries.append((headers, body))

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def json(self, number):
        return json.loads(self.deliveries[number][1])

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def verified(headers, body, keys):
    """The documented verification: four headers, a timestamp of now, and one published key that fits."""
    names = ("request-id", "user-id", "timestamp", "signature")
    request_id, user_id, timestamp, signature = (headers[f"x-fal-webhook-{name}"] for name in names)
    if abs(int(time.time()) - int(timestamp)) > 300:
        return False
    message = "\n".join([request_id, user_id, timestamp, hashlib.sha256(body).hexdigest()]).encode()
    for key in keys:
        try:
            VerifyKey(base64.urlsafe_b64decode(key["x"])).verify(message, bytes.fromhex(signature))
            return True
        except (BadSignatureError, ValueError):
            # as documented: a key that cannot be read or does not fit is passed over
            continue
    return False
