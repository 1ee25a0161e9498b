"""What stands in several places is the same everywhere, so that each example can be copied alone."""

import json
import re
from pathlib import Path

import pytest
from conftest import EXAMPLES, LANGUAGES

NAMES = ["batch", "testing", "webapp", "webhooks"]


def test_each_example_is_there_in_both_languages_with_its_readme():
    for language in LANGUAGES:
        folders = {path.parent.name for path in (EXAMPLES / language).glob("*/README.md")} - {"node_modules"}
        assert sorted(folders) == NAMES


COPIES = [
    "python/*/fal_server.py",
    "javascript/*/fal-server.js",
    "*/batch/prompts.csv",
    "*/webapp/page/page.css",
    "*/webapp/page/icon.svg",
    "*/testing/tapes/picture.json",
    "*/testing/tapes/refusal.json",
]


@pytest.mark.parametrize("pattern", COPIES)
def test_copies_are_equal(pattern):
    copies = list(EXAMPLES.glob(pattern))
    assert len(copies) > 1 and len({copy.read_bytes() for copy in copies}) == 1


def test_requirements_are_those_of_this_suite():
    lines = lambda path: set(path.read_text().split())  # noqa: E731
    ours = lines(Path(__file__).parents[1] / "requirements.txt")
    assert lines(EXAMPLES / "python" / "requirements.txt") <= ours


def test_readmes_name_files_and_scripts_that_are_there():
    scripts = json.loads((EXAMPLES / "javascript" / "package.json").read_text())["scripts"]
    for readme in EXAMPLES.glob("*/*/README.md"):
        text = readme.read_text()
        for name in re.findall(r"`([\w./-]+\.(?:py|js|csv|html|json|txt|ini))`", text):
            # results of a run are not there yet
            if name != "results.csv":
                assert (readme.parent / name).exists(), f"{readme}: {name}"
        for name in re.findall(r"npm run (\S+)", text):
            assert name in scripts, f"{readme}: {name}"
