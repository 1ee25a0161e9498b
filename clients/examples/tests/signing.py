"""Stands in for a server that signs webhooks with a key of ours, so that everything can be signed, also what is wrong."""

import base64
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nacl.signing import SigningKey
from pictures import png


class Signer:
    """Publishes its keys, and has pictures whose readers can be made to wait."""

    def __init__(self, port=0):
        self.key = SigningKey.generate()
        self.published = [self.key]
        self.asked, self.fetched = 0, []
        self.open = threading.Event()
        self.open.set()
        signer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path.endswith("/jwks.json"):
                    signer.asked += 1
                    return self.answer("application/json", json.dumps(signer.jwks()).encode())
                signer.fetched.append(self.path)
                signer.open.wait(60)
                self.answer("image/png", png())

            def answer(self, kind, body):
                try:
                    self.send_response(200)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # the reader was killed meanwhile

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def jwks(self):
        text = lambda key: base64.urlsafe_b64encode(key.verify_key.encode()).decode()  # noqa: E731
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": text(key)} for key in self.published]}

    def told(self, request, **more):
        """The body of a webhook."""
        image = {"url": f"{self.url}/{request}.png", "content_type": "image/png"}
        return {"request_id": request, "status": "OK", "payload": {"images": [image]}, **more}

    def signed(self, request, body, age_s=0, key=None, user="anonymous"):
        """Its headers."""
        timestamp = str(int(time.time() - age_s))
        message = "\n".join([request, user, timestamp, hashlib.sha256(body).hexdigest()]).encode()
        return {
            "Content-Type": "application/json",
            "X-Fal-Webhook-Request-Id": request,
            "X-Fal-Webhook-User-Id": user,
            "X-Fal-Webhook-Timestamp": timestamp,
            "X-Fal-Webhook-Signature": (key or self.key).sign(message).signature.hex(),
        }

    def close(self):
        self.open.set()
        self._server.shutdown()
        self._server.server_close()
