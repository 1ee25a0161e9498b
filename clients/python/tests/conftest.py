"""A server for each file, clients in both flavours."""

import flavours
import pytest
from scumble import Place, constants


@pytest.fixture(scope="module")
def place():
    """A folder with servers, gone after the file."""
    place = Place()
    yield place
    place.close()


@pytest.fixture
def own_place():
    """A folder with servers, gone after the test."""
    place = Place()
    yield place
    place.close()


@pytest.fixture(scope="module")
def key(place):
    """A key, made before the server of the file starts."""
    return place.key()


@pytest.fixture(scope="module")
def server(request, place, key):
    """The server of the file, with the flags and settings that the file names. The client's constants point to it."""
    flags = getattr(request.module, "FLAGS", ["--stand-in=200"])
    server = place.start(*flags, settings=getattr(request.module, "SETTINGS", None))
    with constants(server):
        yield server


@pytest.fixture(params=["sync", "async"])
def fal(request, server, key):
    """fal's client with a key."""
    return flavours.make(request.param, key)


@pytest.fixture(params=["sync", "async"])
def make_fal(request):
    """Makes clients with a key, in both flavours."""
    return lambda key: flavours.make(request.param, key)
