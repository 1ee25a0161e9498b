"""The synchronous client, and the asynchronous one driven step by step, so that one test body serves both."""

import asyncio
import inspect
from contextlib import contextmanager

from fal_client import AsyncClient, SyncClient
from fal_client.client import AsyncRealtimeConnection, AsyncRequestHandle

AWAITED = (AsyncClient, AsyncRequestHandle, AsyncRealtimeConnection)


def make(flavour, key):
    """A client with this key, `sync` or `async`."""
    return SyncClient(key=key) if flavour == "sync" else Blocking(AsyncClient(key=key), asyncio.new_event_loop())


class Blocking:
    """Something of the asynchronous client, whose methods wait."""

    def __init__(self, inner, loop):
        self._inner, self._loop = inner, loop

    def __getattr__(self, name):
        value = getattr(self._inner, name)
        if not callable(value):
            return value
        return lambda *args, **more: self._waited(value(*args, **more))

    def _waited(self, value):
        if inspect.iscoroutine(value):
            value = self._loop.run_until_complete(value)
        if inspect.isasyncgen(value):
            return self._steps(value)
        if isinstance(value, AWAITED):
            return Blocking(value, self._loop)
        if hasattr(value, "__aenter__"):
            return self._entered(value)
        return value

    def _steps(self, generator):
        while True:
            try:
                yield self._loop.run_until_complete(anext(generator))
            except StopAsyncIteration:
                return

    @contextmanager
    def _entered(self, manager):
        value = self._loop.run_until_complete(manager.__aenter__())
        try:
            yield self._waited(value)
        finally:
            self._loop.run_until_complete(manager.__aexit__(None, None, None))
