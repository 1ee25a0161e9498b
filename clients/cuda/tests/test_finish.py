"""finish.cu against its definition in float64."""

import itertools

import numpy as np
import pytest

from emulator import Memory, launch
from oracle import activated, close, drawn, wide


def expected(sums, bias, kind, times, onto, gate, rows_per_gate):
    y = wide(sums) + (0 if bias is None else wide(bias))
    y = activated(kind, y) * (1 if times is None else wide(times))
    y = y * (1 if gate is None else np.repeat(wide(gate), rows_per_gate, 0))
    return y + (0 if onto is None else wide(onto))


def run(sums, bias, kind, times, onto, gate, rows_per_gate, *, grid=3, block=64, skip=0, in_place=False, order=0):
    rows, width = sums.shape
    skips = [skip] * 6 if isinstance(skip, int) else skip
    lay = [None if a is None else Memory(a, skip=s) for a, s in zip((sums, bias, times, onto, gate), skips)]
    y = lay[0] if in_place else Memory(np.full_like(sums, 0x7FC0), skip=skips[5])
    launch("finish", "finish_bf16", (grid,), (block,), lay[0], lay[1], kind, lay[2], lay[3], lay[4], y, rows, width,
           rows_per_gate, order=order)
    return y.read()


@pytest.mark.parametrize("width", [1, 2, 7, 31, 64, 100, 3072, 3080, 3083])
@pytest.mark.parametrize("kind", range(5))
def test_every_activation_at_any_width(kind, width):
    draw = iter(range(100))
    sums, times, onto = (drawn(next(draw), 6, width, scale=2) for _ in range(3))
    bias, gate = drawn(7, width), drawn(8, 3, width)
    close(run(sums, bias, kind, times, onto, gate, 2), expected(sums, bias, kind, times, onto, gate, 2))
    close(run(sums, None, kind, None, None, None, 1, in_place=True), expected(sums, None, kind, None, None, None, 1))


@pytest.mark.parametrize("width", [24, 25])
def test_whatever_is_missing(width):
    parts = [drawn(1, width), drawn(2, 6, width), drawn(3, 6, width), drawn(4, 2, width)]
    sums = drawn(5, 6, width)
    for there in itertools.product((False, True), repeat=4):
        bias, times, onto, gate = (part if here else None for part, here in zip(parts, there))
        want = expected(sums, bias, 1, times, onto, gate, 3)
        close(run(sums, bias, 1, times, onto, gate, 3), want)
        close(run(sums, bias, 1, times, onto, gate, 3, in_place=True, skip=4), want)


def test_one_array_that_lies_badly():
    parts = [drawn(1, 24), drawn(2, 6, 24), drawn(3, 6, 24), drawn(4, 2, 24)]
    sums = drawn(5, 6, 24)
    want = expected(sums, parts[0], 0, *parts[1:], 3)
    for one in range(6):
        close(run(sums, parts[0], 0, *parts[1:], 3, skip=[2 * (i == one) for i in range(6)]), want)


def test_any_grid():
    sums, gate, onto = drawn(6, 9, 40), drawn(7, 3, 40), drawn(8, 9, 40)
    want = expected(sums, None, 0, None, onto, gate, 3)
    for grid, block, order in [(1, 32, 0), (7, 32, 1), (1, 256, 2), (500, 128, 0)]:
        close(run(sums, None, 0, None, onto, gate, 3, grid=grid, block=block, order=order), want)


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_activations_far_from_zero(kind):
    # where the exponential leaves float32, what is left may be nought
    sums = np.linspace(-80, 80, 1601).astype(np.float32)
    sums = (sums.view(np.uint32) >> 16).astype(np.uint16).reshape(1, -1)
    got, want = wide(run(sums, None, kind, None, None, None, 1)), activated(kind, wide(sums))
    assert np.isfinite(got).all()
    assert (np.abs(got - want) <= 2.0**-8 * np.abs(want) * (1 + np.abs(wide(sums)) * 2.0**-16) + 1e-36).all()
