"""Places with servers, and the examples of deploy/ in front of them."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))
from box import Box, why_not  # noqa: E402
from place import Place  # noqa: E402
from storage import Database, database_server  # noqa: E402


@pytest.fixture
def place():
    """A folder with servers, gone after the test."""
    place = Place()
    yield place
    place.close()


@pytest.fixture
def boxes():
    """Makes boxes that share their volumes; all is gone after the test."""
    if reason := why_not():
        pytest.skip(f"no namespaces here: {reason}")
    # not below pytest's own, which is closed to the image's user
    folder = tempfile.mkdtemp(prefix="scumble-box-")
    made = []

    def make(*words, **more):
        made.append(Box(folder, list(words) or None, **more))
        return made[-1]

    yield make
    for box in made:
        box.close()
    shutil.rmtree(folder)


@pytest.fixture
def database():
    if (server := database_server()) is None:
        pytest.skip("SCUMBLE_TEST_POSTGRES names no database")
    database = Database(server)
    yield database
    database.close()
