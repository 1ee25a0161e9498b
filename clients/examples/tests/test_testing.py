"""The tests of an application pass on what lies beside them, fail without it, and its tapes can be made anew."""

import json
import re
import shutil

import pytest
from conftest import EXAMPLES
from maker import REFUSED, Maker
from place import BINARY

PATH_OF = {"python": ["-m", "pytest", "-q", "-p", "no:cacheprovider"], "javascript": ["--test", "--test-reporter=tap"]}
COUNT = {"python": (r"(\d+) passed", r"(\d+) (?:failed|error)"), "javascript": (r"^# pass (\d+)", r"^# fail (\d+)")}


def counted(language, said):
    """How many have passed, and how many have not."""
    return [sum(map(int, re.findall(pattern, said, re.MULTILINE))) for pattern in COUNT[language]]


def own_suite(start, language, folder):
    words = PATH_OF[language]
    if language == "javascript":
        words = [*words, *sorted((folder / "test").glob("*.test.js"))]
    # what is set for another server must not get in
    stray = {"SCUMBLE_URL": "http://127.0.0.1:1", "SCUMBLE_STAND_IN": "9", "GEMINI_API_KEY": "a-key"}
    return start(folder.relative_to(EXAMPLES / language) if folder.is_relative_to(EXAMPLES) else folder, words, **stray)


def test_they_pass(start, language):
    program = own_suite(start, language, EXAMPLES / language / "testing")
    assert program.ended() == 0, program.said
    assert counted(language, program.said) == [6, 0], program.said


@pytest.fixture
def copy(place, language):
    """The example in a folder of its own, to be changed."""
    folder = place.folder / language / "testing"
    shutil.copytree(EXAMPLES / language / "testing", folder)
    if language == "javascript":
        (folder.parent / "package.json").write_text('{"type": "module"}')
        (folder.parent / "node_modules").symlink_to(EXAMPLES / "javascript" / "node_modules")
    return folder


def test_without_their_tapes_they_fail(start, language, copy):
    for tape in (copy / "tapes").glob("*.json"):
        tape.unlink()
    program = own_suite(start, language, copy)
    assert program.ended() == 1
    assert counted(language, program.said) == [4, 2], program.said


def test_tapes_are_recorded_with_a_key_and_hold_none(place, start, language, copy):
    maker = Maker()
    try:
        for tape in (copy / "tapes").glob("*.json"):
            tape.unlink()
        settings = f'[fetch]\nallow_private = true\n[providers.google]\nbase_url = "{maker.url}"\n'
        key = {"GEMINI_API_KEY": "canary-5f0a"}
        server = place.start("--record", str(copy / "tapes"), settings=settings, environment=key)
        for prompt in ("a red panda in the snow", REFUSED):
            body = {"prompt": prompt, "aspect_ratio": "16:9"}
            server.raw("POST", "/run/fal-ai/imagen4/preview/fast", json=body)
        assert maker.asked == 2
        server.stop()
    finally:
        maker.close()
    recorded = sorted((copy / "tapes").glob("*.json"))
    assert len(recorded) == 2 and not any("canary" in tape.read_text() for tape in recorded)
    program = own_suite(start, language, copy)
    assert program.ended() == 0, program.said
    # those that lie there are of the same questions
    question = lambda tape: json.loads(tape.read_text())["key_without_seed"]  # noqa: E731
    there = {question(tape) for tape in (EXAMPLES / language / "testing" / "tapes").glob("*.json")}
    assert there == {question(tape) for tape in recorded}


def test_the_binary_is_that_of_the_suite():
    assert shutil.which(BINARY), "the examples' tests would start another one"
