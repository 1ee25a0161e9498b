import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))
from hooks import Hooks  # noqa: E402
from place import Place  # noqa: E402
from stores import Installation  # noqa: E402


@pytest.fixture(params=["sqlite", "postgres"])
def installation(request):
    installation = Installation(Place(), request.param)
    yield installation
    installation.close()


@pytest.fixture
def hooks():
    hooks = Hooks()
    yield hooks
    hooks.close()
