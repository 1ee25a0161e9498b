"""Definitions in float64, and bfloat16 in numpy."""

import math

import numpy as np

# One rounding to bfloat16: half a step of eight bits.
STEP = 2.0**-8


def bf16(x):
    """Numbers rounded to bfloat16, to the nearest, ties to even; kept as their upper 16 bits."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def wide(x):
    """bfloat16 bits or float32 as float64."""
    if x.dtype == np.uint16:
        x = (x.astype(np.uint32) << 16).view(np.float32)
    return x.astype(np.float64)


def drawn(seed, *shape, dtype="bf16", scale=1.0, shift=0.0):
    """Normal numbers."""
    x = np.random.default_rng(seed).standard_normal(shape) * scale + shift
    return bf16(x) if dtype == "bf16" else x.astype(np.float32)


def close(got, want, *, step=STEP, least=1e-5):
    """Each number within one rounding, or within `least` of all sizes of `want` where terms cancel."""
    got = wide(got)
    assert got.shape == want.shape
    assert np.isfinite(got).all(), "numbers that are none"
    far = np.abs(got - want) - step * np.abs(want) - least * max(1.0, float(np.abs(want).max(initial=0)))
    worst = np.unravel_index(far.argmax(), far.shape)
    assert far.max() <= 0, f"at {tuple(map(int, worst))}: {got[worst]} for {want[worst]}"


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def activated(kind, x):
    """By number: 0 none, 1 SiLU, 2 QuickGelu, 3 GeluTanh, 4 Gelu."""
    with np.errstate(over="ignore"):
        match kind:
            case 0:
                return x
            case 1:
                return x / (1 + np.exp(-x))
            case 2:
                return x / (1 + np.exp(-1.702 * x))
            case 3:
                return x / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
            case 4:
                return 0.5 * x * _erfc(-x / math.sqrt(2))
