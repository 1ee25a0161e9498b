"""The emulator sees what it is there to see: kernels that are wrong, each in one way."""

from pathlib import Path

import numpy as np
import pytest

from emulator import Memory, launch

WRONG = Path(__file__).with_name("wrong.cu")


def run(name, count=64, *, order=0, skip=0, at_end=True):
    x = Memory(np.arange(count, dtype=np.float32), skip=skip, at_end=at_end)
    y = Memory(np.zeros(count, np.float32), skip=skip, at_end=at_end)
    launch(WRONG, name, (1,), (64,), x, y, count, order=order)
    return y.read()


def test_a_right_kernel_is_left_in_peace():
    for order in range(4):
        assert (run("turned", order=order) == np.arange(64)[::-1]).all()


@pytest.mark.parametrize("name", ["reads_beyond", "writes_beyond", "writes_its_input", "divides_by_nought", "overflows"])
def test_what_is_not_allowed_ends_the_kernel(name):
    with pytest.raises(AssertionError, match="ended by"):
        run(name)


def test_a_beginning_is_watched_too():
    with pytest.raises(AssertionError, match="ended by"):
        run("reads_before", at_end=False)


def test_what_is_written_short_of_a_page_is_found_afterwards():
    with pytest.raises(AssertionError, match="written outside"):
        run("writes_beyond", skip=16)


def test_a_vector_that_lies_badly_ends_the_kernel():
    run("reads_four")
    with pytest.raises(AssertionError, match="ended by"):
        run("reads_four", skip=4)


def test_a_missing_barrier_shows_in_another_order():
    assert any((run("lacks_a_barrier", order=order) != np.arange(64)[::-1]).any() for order in (0, 1))


def test_shared_memory_holds_nothing_at_first():
    assert np.isnan(run("trusts_shared_memory")).all()


@pytest.mark.parametrize("name", ["leaves_before_a_barrier", "leaves_before_a_shuffle", "shuffles_apart"])
def test_what_would_hang_a_card_ends_the_kernel(name):
    with pytest.raises(AssertionError, match="SIGABRT"):
        run(name)
