"""Tapes hold what a maker has answered: its own pictures and its own refusals, without its key, its bill or a network."""

from pathlib import Path

import pytest
from illustrate import Refused, Unavailable, illustrate

TAPES = Path(__file__).parents[1] / "tapes"


@pytest.fixture(autouse=True)
def server(serve):
    serve("--replay", TAPES)


def test_the_makers_picture_arrives():
    picture, kind = illustrate("a red panda in the snow")
    assert kind == "image/png"
    width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == (64, 36)


def test_what_the_maker_refuses_is_a_refusal_here():
    with pytest.raises(Refused):
        illustrate("something that the maker does not draw")


def test_what_was_never_recorded_is_asked_of_nobody():
    with pytest.raises(Unavailable):
        illustrate("a prompt without a tape")
