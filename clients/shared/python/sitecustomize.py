"""Stands in for a resolver and for port 443: fal's host names lead to 127.0.0.1:$SCUMBLE_PORT.

Python loads this by itself where PYTHONPATH names its folder. Names are still what certificates are checked against,
nobody needs to be root, and no file of the system changes.
"""

import os
import socket

HOSTS = {"fal.run", "queue.fal.run", "rest.fal.ai", "rest.alpha.fal.ai", "v3.fal.media", "v3b.fal.media"}
# nobody else's: what the names resolve to until it is connected to
OURS = "127.44.3.1"
PORT = int(os.environ["SCUMBLE_PORT"])

_getaddrinfo, _connect, _connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex


def _resolve(host, *rest, **more):
    name = host.decode() if isinstance(host, bytes) else host
    return _getaddrinfo(OURS if name in HOSTS else host, *rest, **more)


def _here(address):
    return ("127.0.0.1", PORT) if address == (OURS, 443) else address


socket.getaddrinfo = _resolve
socket.socket.connect = lambda self, address: _connect(self, _here(address))
socket.socket.connect_ex = lambda self, address: _connect_ex(self, _here(address))
