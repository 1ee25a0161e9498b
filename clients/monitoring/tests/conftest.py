"""A place with servers for each test, and the time to look at what they tell."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))
from place import Place  # noqa: E402


@pytest.fixture
def place():
    place = Place()
    yield place
    place.close()
