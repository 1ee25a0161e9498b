"""Passes bytes on to a port of this machine, until it is told to be a network that is down."""

import socket
import threading

PIECE = 64 * 1024


class Forwarder:
    """`through` passes bytes on. `cut` ends what is open and refuses what comes. `hang` is silent: connections are taken,
    and nothing comes back."""

    def __init__(self, port):
        self._to = port
        # connections so far
        self.taken = 0
        self._lock = threading.Lock()
        self._open = set()
        self._passes = threading.Event()
        self._passes.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self):
        # whoever sleeps in `accept` keeps the port open: it is woken first
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._drop()

    def hang(self):
        self._passes.clear()

    def through(self):
        """Back again, on the same port. What hung so far is gone, as after a change of the route."""
        if not self._passes.is_set():
            self._drop()
            self._passes.set()
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def connections(self):
        """How many are open."""
        with self._lock:
            return len(self._open) // 2

    def close(self):
        if self._listener.fileno() >= 0:
            self.cut()
        self._passes.set()

    def _drop(self):
        with self._lock:
            sockets, self._open = self._open, set()
        for one in sockets:
            _end(one)

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                return
            with self._lock:
                self._open |= {near, far}
                self.taken += 1
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source, target):
        try:
            while piece := source.recv(PIECE):
                self._passes.wait()
                target.sendall(piece)
        except OSError:
            pass
        _end(source)
        _end(target)
        with self._lock:
            self._open -= {source, target}


def _end(one):
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    one.close()
