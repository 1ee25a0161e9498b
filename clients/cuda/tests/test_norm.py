"""norm.cu against its definition in float64."""

import numpy as np
import pytest

from emulator import Memory, launch
from oracle import bf16, close, drawn, wide

WIDTHS = [1, 2, 7, 8, 31, 64, 100, 264, 1000, 3072, 3080, 3081, 9216]


def block(width):
    """As the README of the kernels has it."""
    return min(256, max(32, -(-width // 8 // 32) * 32)),


def layer_norm(x, gain, offset, rows_per_gain, eps, plus_one):
    x = wide(x)
    y = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + eps)
    if gain is not None:
        y *= np.repeat(wide(gain), rows_per_gain, 0) + plus_one
    if offset is not None:
        y += np.repeat(wide(offset), rows_per_gain, 0)
    return y


def run_layer_norm(x, gain, offset, rows_per_gain, plus_one=0, eps=1e-6, size=None, skip=0, order=0, at_end=True):
    """`skip`: of all arrays, or of each."""
    rows, width = x.shape
    skips = [skip] * 4 if isinstance(skip, int) else skip
    lay = [None if a is None else Memory(a, skip=s, at_end=at_end) for a, s in zip((x, gain, offset), skips)]
    y = Memory(np.full_like(x, 0x7FC0), skip=skips[3], at_end=at_end)
    launch("norm", "layer_norm_bf16", (rows,), size or block(width), *lay, y, width, rows_per_gain, eps, plus_one,
           order=order)
    return y.read()


@pytest.mark.parametrize("width", WIDTHS)
def test_layer_norm_of_any_width(width):
    x, gain, offset = drawn(1, 6, width, shift=0.5), drawn(2, 2, width), drawn(3, 2, width)
    for gain_, offset_ in [(gain, offset), (None, None), (gain, None), (None, offset)]:
        for plus_one in (0, 1):
            want = layer_norm(x, gain_, offset_, 3, 1e-6, plus_one)
            close(run_layer_norm(x, gain_, offset_, 3, plus_one), want)


@pytest.mark.parametrize("width", [8, 40, 3072])
def test_layer_norm_of_rows_that_lie_badly(width):
    x, gain, offset = drawn(4, 3, width), drawn(5, 1, width), drawn(6, 1, width)
    want = layer_norm(x, gain, offset, 3, 1e-5, 1)
    for skip in (2, 8, 16):
        for at_end in (True, False):
            close(run_layer_norm(x, gain, offset, 3, 1, eps=1e-5, skip=skip, at_end=at_end), want)
    for one in range(4):
        close(run_layer_norm(x, gain, offset, 3, 1, eps=1e-5, skip=[2 * (i == one) for i in range(4)]), want)


def test_layer_norm_keeps_its_digits_far_from_zero():
    x = drawn(7, 2, 3072, scale=1.0, shift=1000.0)
    close(run_layer_norm(x, None, None, 1), layer_norm(x, None, None, 1, 1e-6, 0))
    same = bf16(np.full((2, 100), 3.0))
    close(run_layer_norm(same, None, None, 1), np.zeros((2, 100)))


def test_layer_norm_is_the_same_in_any_order_and_near_in_any_block():
    x, gain = drawn(8, 3, 1000), drawn(9, 3, 1000)
    first = run_layer_norm(x, gain, None, 1, 1)
    for order in (1, 2, 3):
        assert (run_layer_norm(x, gain, None, 1, 1, order=order) == first).all()
    want = layer_norm(x, gain, None, 1, 1e-6, 1)
    for threads in (32, 64, 224, 1024):
        close(run_layer_norm(x, gain, None, 1, 1, size=(threads,)), want)


def test_layer_norm_in_place():
    x, offset = drawn(10, 4, 72), drawn(11, 4, 72)
    place = Memory(x)
    launch("norm", "layer_norm_bf16", (4,), (64,), place, None, Memory(offset), place, 72, 1, 1e-6, 0)
    close(place.read(), layer_norm(x, None, offset, 1, 1e-6, 0))


def run_rms_norm(x, gain, eps=1e-6, skip=(0, 0, 0), order=0):
    rows, width = x.shape
    y = Memory(np.full_like(x, 0x7FC0), skip=skip[2])
    gain = None if gain is None else Memory(gain, skip=skip[1])
    launch("norm", "rms_norm_bf16", (rows,), block(width), Memory(x, skip=skip[0]), gain, y, width, eps, order=order)
    return y.read()


def rms_norm(x, gain, eps=1e-6):
    y = wide(x) / np.sqrt((wide(x)**2).mean(1, keepdims=True) + eps)
    return y if gain is None else y * wide(gain)


@pytest.mark.parametrize("width", WIDTHS)
def test_rms_norm_of_any_width(width):
    x, gain = drawn(12, 5, width, shift=0.2), drawn(13, width)
    for gain_ in (gain, None):
        for skip in [(0, 0, 0), (2, 2, 2), (2, 0, 0), (0, 2, 0), (0, 0, 2)]:
            close(run_rms_norm(x, gain_, skip=skip), rms_norm(x, gain_))
    first = run_rms_norm(x, gain)
    assert (run_rms_norm(x, gain, order=2) == first).all()


def test_rms_norm_of_small_and_large_numbers():
    for scale in (1e-3, 1e4):
        x = drawn(14, 3, 4096, scale=scale)
        close(run_rms_norm(x, None, eps=1e-6), rms_norm(x, None, 1e-6))
