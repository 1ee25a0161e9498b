"""What attention.py uses of cuda.tile, in numpy: the same functions run without a card, and are held to more.

Tiles are float32 (bfloat16 is kept as float32 that has been rounded), integers or booleans. What cuTile calls undefined is
refused here: a tile wholly outside its array, a padding that nobody chose, a product of numbers that are not bfloat16.
"""

import sys
import types
from pathlib import Path

import numpy as np

from oracle import bf16, wide

float32, bfloat16, int32 = np.float32, "bfloat16", np.int32
place = None  # of the block that runs


class PaddingMode:
    ZERO = 0.0
    UNDETERMINED = float("nan")


class Constant:
    def __class_getitem__(cls, _):
        return cls


class Array:
    """`values`: a numpy view with any strides; bfloat16 as its upper 16 bits."""

    def __init__(self, values):
        self.values, self.shape = values, tuple(map(int, values.shape))


def kernel(function):
    return types.SimpleNamespace(function=function)


def bid(axis):
    return place[axis]


def cdiv(a, b):
    return -(-a // b)


def _rounded(x):
    return wide(bf16(x)).astype(np.float32)


def load(array, index, shape, padding_mode=PaddingMode.UNDETERMINED):
    starts = [i * n for i, n in zip(index, shape, strict=True)]
    assert all(0 <= s < n for s, n in zip(starts, array.shape, strict=True)), "a tile outside its array"
    part = array.values[tuple(slice(s, s + n) for s, n in zip(starts, shape))]
    tile = np.full(shape, padding_mode, np.float32)
    tile[tuple(slice(0, n) for n in part.shape)] = wide(np.ascontiguousarray(part))
    return tile


def store(array, index, tile):
    starts = [i * n for i, n in zip(index, tile.shape, strict=True)]
    assert all(0 <= s < n for s, n in zip(starts, array.shape, strict=True)), "a tile outside its array"
    assert array.values.dtype == np.uint16
    part = array.values[tuple(slice(s, s + n) for s, n in zip(starts, tile.shape))]
    kept = tile[tuple(slice(0, n) for n in part.shape)]
    assert np.array_equal(kept, _rounded(kept), equal_nan=True), "stored without being rounded"
    part[...] = bf16(kept)


def mma(x, y, acc):
    assert np.array_equal(x, _rounded(x)) and np.array_equal(y, _rounded(y)), "a product of other numbers than bfloat16"
    assert acc.dtype == np.float32 and acc.shape == (x.shape[0], y.shape[1])
    return x @ y + acc


def astype(x, dtype):
    assert dtype == bfloat16
    return _rounded(x)


def full(shape, value, dtype):
    return np.full(shape, value, dtype)


def arange(size, dtype):
    return np.arange(size, dtype=dtype)


def transpose(x):
    assert x.ndim == 2
    return x.T


def where(condition, x, y):
    return np.where(condition, x, np.float32(y))


def maximum(x, y):
    return np.maximum(x, y)


def max(x, axis, keepdims):
    return np.max(x, axis=axis, keepdims=keepdims)


def sum(x, axis, keepdims):
    return np.sum(x, axis=axis, keepdims=keepdims, dtype=np.float32)


def exp2(x, flush_to_zero=False):
    y = np.exp2(x)
    return np.where(y < np.finfo(np.float32).tiny, np.float32(0), y) if flush_to_zero else y


def source(path):
    """A module of kernels that takes this one for cuda.tile."""
    module, text = types.ModuleType(Path(path).stem), Path(path).read_text()
    names = {"cuda": types.SimpleNamespace(tile=sys.modules[__name__]), "cuda.tile": sys.modules[__name__]}
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        exec(compile(text, str(path), "exec"), module.__dict__)
    finally:
        for name, was in before.items():
            if was is None:
                del sys.modules[name]
            else:
                sys.modules[name] = was
    return module


def run(kernel, grid, *arguments):
    """A kernel over all blocks of a grid; arrays are numpy views."""
    global place
    arguments = [Array(a) if isinstance(a, np.ndarray) else np.float32(a) if isinstance(a, float) else a for a in arguments]
    for x in range(grid[0]):
        for y in range(grid[1]):
            for z in range(grid[2]):
                place = (x, y, z)
                with np.errstate(over="ignore"):
                    kernel.function(*arguments)
