"""With stand-ins every endpoint answers at once with a drawn card, whatever the prompt: for the ways through your program."""

import pytest
from fal_client import client
from fal_server import use_server
from illustrate import Refused, Unavailable, illustrate


def test_a_text_gets_a_picture(serve):
    serve("--stand-in=0")
    picture, kind = illustrate("a red panda")
    assert kind == "image/png" and picture.startswith(b"\x89PNG")


def test_a_text_that_is_too_long_is_refused_with_the_reason(serve):
    serve("--stand-in=0")
    with pytest.raises(Refused, match="32768"):
        illustrate("x" * 40_000)


def test_a_server_that_is_not_there_is_no_refusal(monkeypatch):
    # nobody listens on port 1, and the client need not try for a minute
    use_server("http://127.0.0.1:1")
    monkeypatch.setattr(client, "MAX_ATTEMPTS", 2)
    with pytest.raises(Unavailable):
        illustrate("a red panda")
