"""patches.cu: rows of patches, and the convolution that they make."""

import numpy as np
import pytest

from emulator import Memory, launch
from oracle import drawn, wide

SAME, HALVE, DOUBLE = range(3)


def sides(kind, height, width):
    return {SAME: (height, width), HALVE: (height // 2, width // 2), DOUBLE: (2 * height, 2 * width)}[kind]


def expected(x, kind):
    """[batch, rows, columns, 9 * channels], by padding and cutting out."""
    batch, height, width, channels = x.shape
    rows, columns = sides(kind, height, width)
    if kind == DOUBLE:
        x = x.repeat(2, 1).repeat(2, 2)
    before = 0 if kind == HALVE else 1
    padded = np.pad(x, ((0, 0), (before, 1), (before, 1), (0, 0)))
    stride = 2 if kind == HALVE else 1
    taps = [padded[:, ky:ky + stride * (rows - 1) + 1:stride, kx:kx + stride * (columns - 1) + 1:stride]
            for ky in range(3) for kx in range(3)]
    return np.concatenate(taps, -1)


def run(x, kind, first, count, *, grid=2, block=128, skip=0, order=0):
    _, height, width, channels = x.shape
    columns = sides(kind, height, width)[1]
    name = "patches_bf16" if x.dtype == np.uint16 else "patches_f32"
    empty = np.full((count * columns, 9 * channels), 0x7FC0 if x.dtype == np.uint16 else np.nan, x.dtype)
    skips = (skip, skip) if isinstance(skip, int) else skip
    y = Memory(empty, skip=skips[1])
    launch("patches", name, (grid,), (block,), Memory(x, skip=skips[0]), y, height, width, channels, kind, first, count,
           order=order)
    return y.read()


@pytest.mark.parametrize("dtype", ["bf16", "f32"])
@pytest.mark.parametrize("kind", [SAME, HALVE, DOUBLE])
@pytest.mark.parametrize("channels", [1, 3, 4, 8, 20, 64, 128])
def test_any_picture(dtype, kind, channels):
    for batch, height, width in [(1, 2, 2), (2, 3, 5), (1, 7, 4), (3, 4, 9), (1, 1, 1), (1, 16, 31)]:
        x = drawn(1, batch, height, width, channels, dtype=dtype)
        rows, columns = sides(kind, height, width)
        if rows * columns == 0:
            continue
        want = expected(x, kind).reshape(batch * rows, columns, -1)
        # bands begin and end anywhere, also across two pictures
        bands = {(0, batch * rows), (0, 1), (batch * rows - 1, 1), (batch * rows // 3, batch * rows - batch * rows // 3)}
        for first, count in sorted(bands):
            got = run(x, kind, first, count)
            assert (got == want[first:first + count].reshape(got.shape)).all()


@pytest.mark.parametrize("kind", [SAME, HALVE, DOUBLE])
def test_pictures_that_lie_badly_and_any_grid(kind):
    x = drawn(2, 2, 6, 5, 16)
    want = expected(x, kind).reshape(-1, 9 * 16)
    rows = 2 * sides(kind, 6, 5)[0]
    for skip, grid, block, order in [(0, 1, 32, 0), (2, 3, 256, 1), (8, 50, 64, 2), (16, 7, 96, 0),
                                     ((2, 0), 2, 128, 0), ((0, 2), 2, 128, 0)]:
        assert (run(x, kind, 0, rows, skip=skip, grid=grid, block=block, order=order) == want).all()


@pytest.mark.parametrize("kind", [SAME, HALVE, DOUBLE])
def test_they_make_the_convolution(kind):
    x, weight = drawn(3, 1, 6, 8, 5, dtype="f32"), drawn(4, 7, 5, 3, 3, dtype="f32")
    rows, columns = sides(kind, 6, 8)
    # the order of the columns: row of the kernel, its column, channel
    matrix = wide(weight).transpose(2, 3, 1, 0).reshape(45, 7)
    got = wide(run(x, kind, 0, rows)) @ matrix
    source = wide(x).repeat(2, 1).repeat(2, 2) if kind == DOUBLE else wide(x)
    want = np.zeros((rows, columns, 7))
    stride, before = (2, 0) if kind == HALVE else (1, 1)
    for oy in range(rows):
        for ox in range(columns):
            for ky in range(3):
                for kx in range(3):
                    iy, ix = oy * stride + ky - before, ox * stride + kx - before
                    if 0 <= iy < source.shape[1] and 0 <= ix < source.shape[2]:
                        want[oy, ox] += wide(weight)[:, :, ky, kx] @ source[0, iy, ix]
    assert np.abs(got - want.reshape(-1, 7)).max() < 1e-9
