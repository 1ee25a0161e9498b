"""Places with servers, and the examples of deploy/ in front of them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))
from place import Place  # noqa: E402


@pytest.fixture
def place():
    """A folder with servers, gone after the test."""
    place = Place()
    yield place
    place.close()
