"""group_norm.cu against its definition in float64."""

import numpy as np
import pytest

from emulator import Memory, launch
from oracle import activated, close, drawn, wide

BITS = {"bf16": np.uint16, "f32": np.float32}
STEPS = {"bf16": 2.0**-8, "f32": 2.0**-20}


def expected(x, groups, gain, offset, eps, silu):
    batch, area, channels = x.shape
    split = wide(x).reshape(batch, area, groups, channels // groups)
    mean, var = split.mean((1, 3), keepdims=True), split.var((1, 3), keepdims=True)
    y = ((split - mean) / np.sqrt(var + eps)).reshape(x.shape)
    y = y * (1 if gain is None else wide(gain)) + (0 if offset is None else wide(offset))
    return activated(1, y) if silu else y


def run(x, groups, gain=None, offset=None, *, eps=1e-6, silu=False, slices=3, block=256, grid=2, skip=0, order=0,
        in_place=False):
    """`skip`: of all arrays, or of x, gain, offset and y."""
    (batch, area, channels), dtype = x.shape, "bf16" if x.dtype == np.uint16 else "f32"
    skips = [skip] * 4 if isinstance(skip, int) else skip
    memory = Memory(x, skip=skips[0])
    workspace = Memory(np.full((batch, groups, slices, 2), np.nan, np.float32))
    statistics = Memory(np.full((batch, groups, 2), np.nan, np.float32))
    launch("group_norm", f"group_norm_sums_{dtype}", (slices, 1, batch), (block,), memory, workspace, area, channels, groups,
           order=order)
    launch("group_norm", "group_norm_join", (batch * groups,), (32,), workspace, statistics, area, channels // groups,
           slices, eps, order=order)
    y = memory if in_place else Memory(np.full_like(x, 0x7FC0 if dtype == "bf16" else np.nan), skip=skips[3])
    lay = [None if a is None else Memory(a, skip=s) for a, s in zip((gain, offset), skips[1:])]
    launch("group_norm", f"group_norm_apply_{dtype}", (grid, batch), (block,), memory, *lay, statistics, y, area, channels,
           groups, int(silu), order=order)
    return y.read(), statistics.read()


@pytest.mark.parametrize("dtype", ["bf16", "f32"])
@pytest.mark.parametrize("channels, groups", [(1, 1), (6, 2), (7, 7), (12, 3), (32, 32), (100, 5), (128, 32), (512, 32),
                                              (520, 65), (1030, 5), (2600, 2), (4096, 2)])
def test_any_channels(dtype, channels, groups):
    for batch, area in [(2, 1), (1, 2), (2, 35), (1, 129)]:
        if channels * area > 100_000:
            continue
        x = drawn(1, batch, area, channels, dtype=dtype, shift=0.7)
        gain, offset = drawn(2, channels, dtype=dtype), drawn(3, channels, dtype=dtype)
        for gain_, offset_, silu, skip in [(gain, offset, True, 0), (None, None, False, 0), (gain, None, False, 4)]:
            # groups whose numbers are all alike would magnify what is left of them
            got, _ = run(x, groups, gain_, offset_, eps=1e-3, silu=silu, skip=skip)
            close(got, expected(x, groups, gain_, offset_, 1e-3, silu), step=STEPS[dtype], least=2e-5)


def test_any_slices_blocks_and_order():
    x, gain, offset = drawn(4, 2, 77, 64), drawn(5, 64), drawn(6, 64)
    want = expected(x, 8, gain, offset, 1e-6, True)
    for slices, block, grid, order in [(1, 256, 1, 0), (2, 32, 5, 1), (40, 64, 1, 2), (77, 128, 3, 0), (200, 224, 2, 0)]:
        close(run(x, 8, gain, offset, silu=True, slices=slices, block=block, grid=grid, order=order)[0], want)
    # the second is worked off one group after the other
    for x, groups in [(x, 8), (drawn(7, 1, 9, 2600), 2)]:
        first = run(x, groups)[0]
        for order in (1, 2, 3):
            assert (run(x, groups, order=order)[0] == first).all()


@pytest.mark.parametrize("dtype", ["bf16", "f32"])
def test_one_array_that_lies_badly_and_in_place(dtype):
    x, gain, offset = (drawn(i, *shape, dtype=dtype) for i, shape in enumerate([(1, 33, 48), (48,), (48,)]))
    want = expected(x, 3, gain, offset, 1e-6, True)
    for width in (4, 8):
        for one in range(4):
            skip = [width * (i == one) for i in range(4)]
            close(run(x, 3, gain, offset, silu=True, skip=skip)[0], want, step=STEPS[dtype])
    # threads without a column of their own do nothing
    for channels, groups in [(48, 3), (44, 11), (7, 1), (1030, 5)]:
        x = drawn(5, 2, 33, channels, dtype=dtype)
        got = run(x, groups, in_place=True, silu=True)[0]
        close(got, expected(x, groups, None, None, 1e-6, True), step=STEPS[dtype])


@pytest.mark.parametrize("dtype", ["bf16", "f32"])
def test_a_million_places_far_from_zero(dtype):
    rows = drawn(7, 1, 1024 * 1024 + 3, 4, dtype=dtype, scale=0.5, shift=300.0)
    # 300 lies between two numbers of bfloat16 that are 2 apart: their noise is what is measured
    got, statistics = run(rows, 2, slices=512, grid=64)
    split = wide(rows).reshape(-1, 2, 2)
    mean, var = split.mean((0, 2)), split.var((0, 2))
    assert (np.abs(statistics[0, :, 0] - mean) < 1e-5 * mean).all()
    assert (np.abs(statistics[0, :, 1] * np.sqrt(var) - 1) < 1e-5).all()
    close(got, expected(rows, 2, None, None, 1e-6, False), step=STEPS[dtype], least=5e-5)


def test_an_outlier_in_front():
    x = drawn(8, 1, 3000, 8, dtype="f32", scale=0.01, shift=50.0)
    x[0, :2] = 0
    _, statistics = run(x, 2, slices=7)
    var = wide(x).reshape(-1, 2, 4).var((0, 2))
    assert (np.abs(statistics[0, :, 1] * np.sqrt(var + 1e-6) - 1) < 1e-5).all()
