"""Stands in for a maker whose answers are recorded: Google's image models, as far as the examples ask them."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pictures import png

REFUSED = "something that the maker does not draw"


class Maker:
    def __init__(self):
        maker = self
        self.asked = 0

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                maker.asked += 1
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                [part] = asked["contents"][0]["parts"]
                body = json.dumps(answer(part["text"])).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def answer(prompt):
    if prompt == REFUSED:
        return {"candidates": [{"finishReason": "IMAGE_SAFETY", "index": 0}]}
    image = {"mimeType": "image/png", "data": base64.b64encode(png(64, 36)).decode()}
    parts = [{"inlineData": image}]
    return {"candidates": [{"finishReason": "STOP", "content": {"parts": parts}}], "responseId": "r1"}
