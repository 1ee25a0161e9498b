"""The functions of attention.py, run by numpy, against their definition in float64."""

import numpy as np
import pytest

import stand_in
from oracle import drawn, wide
from toolkit import SOURCES

KERNELS = stand_in.source(SOURCES / "attention.py")


def expected(q, k, v, scale, bias=None):
    times = q.shape[1] // k.shape[1]
    k, v = (wide(np.ascontiguousarray(t)).repeat(times, 1) for t in (k, v))
    scores = wide(np.ascontiguousarray(q)) @ k.swapaxes(2, 3) * scale
    if bias is not None:
        scores = scores + bias.astype(np.float64)
    with np.errstate(invalid="ignore"):
        shares = np.exp(scores - scores.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True) @ v


def attended(q, k, v, scale, bias=None, block=(128, 64)):
    """As the launch does it: the grid is that of attention.json."""
    batch, heads, queries, width = q.shape
    o = np.full((batch, queries, heads, width), 0x7FC0, np.uint16).swapaxes(1, 2)
    grid = (-(-queries // block[0]), heads, batch)
    times = heads // k.shape[1]
    if bias is None:
        stand_in.run(KERNELS.attention, grid, q, k, v, o, scale, times, *block, width)
    else:
        bias = np.broadcast_to(bias, (batch, heads, queries, k.shape[2]))
        stand_in.run(KERNELS.attention_bias, grid, q, k, v, bias, o, scale, times, *block, width)
    return wide(np.ascontiguousarray(o))


def near(got, want):
    """Shares and result are rounded to bfloat16 once each."""
    assert np.isfinite(got).all()
    assert (np.abs(got - want) <= 2.0**-8 * np.abs(want) + 2.0**-8 * np.abs(want).max()).all()


def heads(seed, batch, count, tokens, width, turned=False, scale=1.0):
    """Heads one after the other, or side by side in memory."""
    if turned:
        return drawn(seed, batch, tokens, count, width, scale=scale).swapaxes(1, 2)
    return drawn(seed, batch, count, tokens, width, scale=scale)


@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("queries, keys", [(1, 1), (2, 7), (31, 64), (64, 65), (63, 63), (127, 127), (128, 128), (129, 100),
                                           (100, 300), (257, 1)])
def test_any_lengths(width, queries, keys):
    for block in [(128, 64), (64, 64), (128, 128)]:
        q, k, v = (heads(i, 2, 3, n, width) for i, n in enumerate((queries, keys, keys)))
        near(attended(q, k, v, width**-0.5, block=block), expected(q, k, v, width**-0.5))


def test_heads_side_by_side_and_shared():
    for count, shared in [(4, 4), (6, 2), (8, 1)]:
        q = heads(1, 2, count, 70, 64, turned=True)
        k, v = heads(2, 2, shared, 45, 64, turned=True), heads(3, 2, shared, 45, 64)
        near(attended(q, k, v, 0.2), expected(q, k, v, 0.2))


@pytest.mark.parametrize("shape", [(2, 3, 70, 130), (1, 3, 70, 130), (2, 1, 1, 130), (1, 1, 70, 130), (1, 1, 1, 130)])
def test_a_bias_of_any_shape(shape):
    q, k, v = heads(1, 2, 3, 70, 64), heads(2, 2, 3, 130, 64), heads(3, 2, 3, 130, 64)
    bias = drawn(4, *shape, dtype="f32", scale=3)
    near(attended(q, k, v, 0.125, bias), expected(q, k, v, 0.125, bias))


def test_a_bias_that_hides():
    q, k, v = heads(1, 1, 2, 130, 64), heads(2, 1, 2, 130, 64), heads(3, 1, 2, 130, 64)
    later = np.triu(np.full((1, 1, 130, 130), -np.inf, np.float32), 1)
    near(attended(q, k, v, 0.125, later), expected(q, k, v, 0.125, later))
    # the first tile of keys is hidden altogether
    first = np.zeros((1, 1, 1, 130), np.float32)
    first[..., :64] = np.finfo(np.float32).min
    for hidden in (first, np.where(first < 0, np.float32(-np.inf), first)):
        near(attended(q, k, v, 0.125, hidden), expected(q, k, v, 0.125, hidden))


def test_scores_of_all_sizes():
    for scale in (1e-3, 1.0, 30.0):
        q, k, v = heads(1, 1, 2, 40, 64, scale=scale), heads(2, 1, 2, 200, 64), heads(3, 1, 2, 200, 64)
        near(attended(q, k, v, 0.125), expected(q, k, v, 0.125))
