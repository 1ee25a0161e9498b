"""Attention that never holds all scores, in bfloat16, for the tensor cores of each card.

Written for cuTile, NVIDIA's language of tiles, whose compiler is needed when these lines change and never where Scumble
runs: the machine code for every card lies in built/, made by clients/cuda/tiles.py, and built/attention.json says how it
is launched.

softmax(q kT scale + bias) v: q, o `[batch, heads, queries, width]`, k, v `[batch, heads / times, keys, width]`, all
bfloat16, of any lengths, with heads and tokens wherever they lie (strides are arguments, that of the last dimension is 1,
the others divide by 8, and numbers begin at a multiple of 16 bytes). width is 64 or 128. bias: float32 `[batch, heads,
queries, keys]`, where any but the last dimension may have stride 0. Scores, their softmax and the sums are float32; the
shares are rounded to bfloat16 to be multiplied with v, as in every kernel of this kind. Rows whose bias is -inf
throughout are NaN.

Launched with a grid of ceil(queries / QUERIES), heads of q, batch; a block of 1, 1, 1, whatever threads the code takes; and no
shared memory. For each of q, k, v, (bias,) o: pointer, four lengths, four strides in numbers, all int32; then scale float32,
times int32. QUERIES of each card's code is in built/attention.json.

One block works off QUERIES queries of one head and walks over all keys, KEYS at a time (Dao et al., 2022).
"""

import cuda.tile as ct

# exp(x) is exp2(x log2(e)), and cards have exp2
LOG2E = 1.4426950408889634
NOTHING = float("-inf")
# less than any score; not -inf, whose distance from itself is no number
LOWEST = -1e30


def walk(q, k, v, bias, o, scale, times, QUERIES, KEYS, WIDTH, BIASED):
    block, head, entry = ct.bid(0), ct.bid(1), ct.bid(2)
    shared = head // times
    keys = k.shape[2]
    factor = scale * LOG2E
    queries = ct.load(q, index=(entry, head, block, 0), shape=(1, 1, QUERIES, WIDTH), padding_mode=ct.PaddingMode.ZERO)
    queries = queries.reshape((QUERIES, WIDTH))
    # of each query: the largest score so far, the sum of all shares, and that of the values by their shares
    largest = ct.full((QUERIES, 1), LOWEST, dtype=ct.float32)
    total = ct.full((QUERIES, 1), 0.0, dtype=ct.float32)
    sums = ct.full((QUERIES, WIDTH), 0.0, dtype=ct.float32)
    places = ct.arange(KEYS, dtype=ct.int32)[None, :]
    for j in range(ct.cdiv(keys, KEYS)):
        kt = ct.load(k, index=(entry, shared, j, 0), shape=(1, 1, KEYS, WIDTH), padding_mode=ct.PaddingMode.ZERO)
        kt = ct.transpose(kt.reshape((KEYS, WIDTH)))
        scores = ct.mma(queries, kt, ct.full((QUERIES, KEYS), 0.0, dtype=ct.float32)) * factor
        if BIASED:
            more = ct.load(bias, index=(entry, head, block, j), shape=(1, 1, QUERIES, KEYS), padding_mode=ct.PaddingMode.ZERO)
            scores = scores + more.reshape((QUERIES, KEYS)) * LOG2E
        if (j + 1) * KEYS > keys:
            scores = ct.where(places + j * KEYS < keys, scores, NOTHING)
        larger = ct.maximum(largest, ct.max(scores, axis=1, keepdims=True))
        shares = ct.exp2(scores - larger, flush_to_zero=True)
        # what was summed under a smaller largest score shrinks
        shrink = ct.exp2(largest - larger, flush_to_zero=True)
        total = total * shrink + ct.sum(shares, axis=1, keepdims=True)
        vt = ct.load(v, index=(entry, shared, j, 0), shape=(1, 1, KEYS, WIDTH), padding_mode=ct.PaddingMode.ZERO)
        sums = ct.mma(ct.astype(shares, ct.bfloat16), vt.reshape((KEYS, WIDTH)), sums * shrink)
        largest = larger
    result = ct.astype(sums * (1.0 / total), ct.bfloat16).reshape((1, 1, QUERIES, WIDTH))
    ct.store(o, index=(entry, head, block, 0), tile=result)


@ct.kernel
def attention(q, k, v, o, scale: float, times: int, QUERIES: ct.Constant[int], KEYS: ct.Constant[int],
              WIDTH: ct.Constant[int]):
    walk(q, k, v, q, o, scale, times, QUERIES, KEYS, WIDTH, False)


@ct.kernel
def attention_bias(q, k, v, bias, o, scale: float, times: int, QUERIES: ct.Constant[int], KEYS: ct.Constant[int],
                   WIDTH: ct.Constant[int]):
    walk(q, k, v, bias, o, scale, times, QUERIES, KEYS, WIDTH, True)
