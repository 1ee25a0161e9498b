"""Numbers that lie more than 2^31 numbers behind the beginning of their array: places are counted in 64 bits.

Only the memory that the last blocks of a launch touch is there.
"""

import numpy as np

from emulator import Memory, launch
from oracle import close, drawn, wide

FAR = 2**31


def test_the_last_row_of_norms():
    width, row = 65544, 40_001
    x, gain = drawn(1, 1, width), drawn(2, width)
    before = row * width * 2
    assert row * width > FAR
    normed = wide(x) / np.sqrt((wide(x)**2).mean() + 1e-6) * wide(gain)
    y = Memory(np.zeros_like(x), before=before)
    launch("norm", "rms_norm_bf16", (row + 1,), (256,), Memory(x, before=before), Memory(gain), y, width, 1e-6,
           only=(row, 0, 0))
    close(y.read(), normed)
    normed = (wide(x) - wide(x).mean()) / np.sqrt(wide(x).var() + 1e-6) * (wide(gain) + 1)
    y = Memory(np.zeros_like(x), before=before)
    launch("norm", "layer_norm_bf16", (row + 1,), (256,), Memory(x, before=before), Memory(gain, before=before), None, y,
           width, 1, 1e-6, 1, only=(row, 0, 0))
    close(y.read(), normed[:1])


def test_the_last_heads():
    heads, width, tokens = 24, 128, 1_000_003
    x, angles = drawn(3, 4, width), np.random.default_rng(4).uniform(-3, 3, (1, 64))
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    a, b = wide(x)[:, 0::2], wide(x)[:, 1::2]
    want = np.stack([a * wide(cos) - b * wide(sin), b * wide(cos) + a * wide(sin)], -1).reshape(x.shape)
    before = (tokens * heads - 4) * width
    assert before > FAR
    for entry, batch_stride in [(0, 0), (3, 2**33)]:
        y = Memory(np.zeros_like(x), before=(entry * tokens * heads * width + before) * 2)
        lay = [Memory(t, before=(tokens - 1) * 64 * 4) for t in (cos, sin)]
        launch("heads", "norm_rotate_bf16", (tokens * heads // 4, entry + 1), (128,),
               Memory(x, before=(before + entry * batch_stride) * 2), None, 1e-6, *lay, y, tokens, heads, width,
               heads * width, batch_stride, only=(tokens * heads // 4 - 1, entry, 0))
        close(y.read(), want)


def test_the_last_numbers_of_a_product():
    rows, width = 40_001, 65536
    count = 256 * 8
    sums, onto, gate = drawn(5, count), drawn(6, count), drawn(7, count)
    before = (rows * width - count) * 2
    y = Memory(np.zeros_like(sums), before=before)
    grid = rows * width // count
    lay = [Memory(t, before=before) for t in (sums, onto)]
    # one gate a row
    launch("finish", "finish_bf16", (grid,), (256,), lay[0], None, 0, None, lay[1], Memory(gate, before=before), y, rows,
           width, 1, only=(grid - 1, 0, 0))
    close(y.read(), wide(sums) * wide(gate) + wide(onto))


def test_the_last_picture_of_a_group_norm():
    batch, area, channels = 60_001, 700, 64
    x = drawn(8, 1, area, channels)
    before = (batch - 1) * area * channels
    assert before > FAR
    split = wide(x).reshape(area, 2, 32)
    workspace = Memory(np.zeros((1, 2, 1, 2), np.float32), before=(batch - 1) * 2 * 1 * 2 * 4)
    launch("group_norm", "group_norm_sums_bf16", (1, 1, batch), (256,), Memory(x, before=before * 2), workspace, area,
           channels, 2, only=(0, 0, batch - 1))
    mean, squares = split.mean((0, 2)), split.var((0, 2)) * area * 32
    got = workspace.read()[0, :, 0]
    assert np.allclose(got[:, 0], mean, atol=1e-6) and np.allclose(got[:, 1], squares, rtol=1e-5)
    statistics = np.stack([mean, 1 / np.sqrt(squares / area / 32)], -1).astype(np.float32)
    y = Memory(np.zeros_like(x), before=before * 2)
    launch("group_norm", "group_norm_apply_bf16", (1, batch), (256,), Memory(x, before=before * 2), None, None,
           Memory(statistics, before=(batch - 1) * 4 * 4), y, area, channels, 2, 0, only=(0, batch - 1, 0))
    close(y.read(), ((split - mean[:, None]) / split.std((0, 2))[:, None]).reshape(x.shape))


def test_the_last_patches():
    height, width, channels, entry = 64, 64, 512, 1100
    x = drawn(9, height, width, channels)
    before = entry * x.size
    assert before > FAR
    # the last row of the last picture, of a band that begins far behind
    y = Memory(np.zeros((width, 9, channels), np.uint16))
    launch("patches", "patches_bf16", (1,), (256,), Memory(x, before=before * 2), y, height, width, channels, 0,
           entry * height + height - 1, 1)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    want = np.stack([padded[height - 1 + ky, kx:kx + width] for ky in range(3) for kx in range(3)], 1)
    assert (y.read() == want).all()
    # and the last band of a large result
    rows = 8001
    item = (rows - 1) * width
    assert item * 9 * channels > FAR
    y = Memory(np.zeros((8, 9, channels), np.uint16), before=(item + width - 8) * 9 * channels * 2)
    grid = rows * width // 8
    last = (rows - 1) // height
    launch("patches", "patches_bf16", (grid,), (256,), Memory(x, before=last * x.size * 2), y, height, width, channels, 0, 0,
           rows, only=(grid - 1, 0, 0))
    row = (rows - 1) % height
    want = np.stack([padded[row + ky, width - 8 + kx:width + kx] for ky in range(3) for kx in range(3)], 1)
    assert (y.read() == want).all()
