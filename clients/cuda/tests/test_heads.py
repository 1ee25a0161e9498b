"""heads.cu against its definition in float64, with the rounding between its two steps."""

import numpy as np
import pytest

from emulator import Memory, launch
from oracle import bf16, close, drawn, wide


def expected(x, gain, cos, sin, eps):
    y = wide(x)
    if gain is not None:
        y = wide(bf16(y / np.sqrt((y**2).mean(-1, keepdims=True) + eps) * wide(gain)))
    if cos is not None:
        a, b = y[..., 0::2], y[..., 1::2]
        c, s = wide(cos)[:, None], wide(sin)[:, None]
        y = np.stack([a * c - b * s, b * c + a * s], -1).reshape(x.shape)
    return y


def run(x, gain, cos, sin, *, eps=1e-6, gap=0, behind=0, skip=(0, 0, 0), block=128, order=0, at_end=True):
    """`gap`: so many numbers between two tokens, `behind`: further ones between two entries of the batch; `skip`: of x,
    gain and y."""
    batch, tokens, heads, width = x.shape
    token_stride = heads * width + gap
    batch_stride = tokens * token_stride + behind
    # what no token has is NaN, and the memory ends with the last number
    spread = np.full((batch * batch_stride,), 0x7FC0, np.uint16)
    for entry in range(batch):
        rows = spread[entry * batch_stride:][:tokens * token_stride].reshape(tokens, token_stride)
        rows[:, :heads * width] = x[entry].reshape(tokens, heads * width)
    spread = spread[:len(spread) - gap - behind]
    y = Memory(np.full_like(x, 0x7FC0), skip=skip[2])
    lay = [None if a is None else Memory(a, skip=s) for a, s in ((gain, skip[1]), (cos, 0), (sin, 0))]
    place = Memory(spread, skip=skip[0], at_end=at_end)
    grid = (-(-tokens * heads // (block // 32)), batch)
    launch("heads", "norm_rotate_bf16", grid, (block,), place, lay[0], eps, lay[1], lay[2], y, tokens,
           heads, width, token_stride, batch_stride, order=order)
    return y.read()


# a number that lies in the middle of two is rounded either way before the rotation
TOLERANCE = {"step": 2.0**-7, "least": 2.0**-8}


@pytest.mark.parametrize("width", [2, 6, 30, 62, 64, 66, 100, 128, 130, 194, 256])
def test_norm_and_rotation_of_any_width(width):
    x, gain = drawn(1, 2, 5, 3, width, shift=0.3), drawn(2, width, shift=1.0)
    angles = np.random.default_rng(3).uniform(-50, 50, (5, width // 2))
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    for gap, behind in [(0, 0), (2 * 3 * width, 0), (4, 10), (1, 0), (0, 3)]:
        for at_end in (True, False):
            got = run(x, None, cos, sin, gap=gap, behind=behind, at_end=at_end)
            close(got, expected(x, None, cos, sin, 1e-6))
        close(run(x, gain, None, None, gap=gap, behind=behind), expected(x, gain, None, None, 1e-6))
        close(run(x, gain, cos, sin, gap=gap, behind=behind), expected(x, gain, cos, sin, 1e-6), **TOLERANCE)


def test_the_norm_is_rounded_before_the_rotation():
    x, gain = drawn(9, 1, 50, 4, 128), drawn(10, 128, shift=1.0)
    angles = np.random.default_rng(11).uniform(-50, 50, (50, 64))
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    same = run(x, gain, cos, sin) == bf16(expected(x, gain, cos, sin, 1e-6))
    # one rounding in the place of two would leave about four in five
    assert same.mean() > 0.99


def test_neither_is_a_copy():
    x = drawn(4, 2, 3, 2, 64)
    assert (run(x, None, None, None, gap=8) == x).all()


def test_heads_that_lie_badly_and_other_blocks():
    x, gain = drawn(5, 1, 7, 3, 128), drawn(6, 128)
    want = expected(x, gain, None, None, 1e-5)
    for skip in [(0, 0, 0), (2, 2, 2), (4, 4, 4), (2, 0, 0), (0, 2, 0), (0, 0, 2)]:
        for block in (32, 64, 256):
            close(run(x, gain, None, None, eps=1e-5, skip=skip, block=block), want)
    first = run(x, gain, None, None)
    assert (run(x, gain, None, None, order=2) == first).all()


def test_in_place():
    x, gain = drawn(7, 1, 3, 2, 64), drawn(8, 64)
    place = Memory(x)
    launch("heads", "norm_rotate_bf16", (2, 1), (128,), place, Memory(gain), 1e-6, None, None, place, 3, 2, 64, 128, 0)
    close(place.read(), expected(x, gain, None, None, 1e-6))
