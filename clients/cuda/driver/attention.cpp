// Attention, by its definition: what attention.json says of its arguments, in float64, rounded to bfloat16 once.
//
// A block computes the queries that the compiled kernel's block does, so a grid of another size leaves something unwritten.
#include "driver.h"
#include "kernels.h"
#include "tiles.h" // from attention.json

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace driver {
namespace {

// An array of four dimensions, as the kernel takes it.
struct Array {
    Address at;
    int lengths[4], strides[4];

    template <class T> T *row(int i, int j, int k) const {
        return (T *)at + (long long)i * strides[0] + (long long)j * strides[1] + (long long)k * strides[2];
    }
};

Array read(void **&arguments) {
    Array array{*(Address *)*arguments++, {}, {}};
    for (int &length : array.lengths) length = *(int *)*arguments++;
    for (int &stride : array.strides) stride = *(int *)*arguments++;
    return array;
}

[[noreturn]] void fail(const char *name, const char *why) {
    fprintf(stderr, "driver: %s: %s\n", name, why);
    abort();
}

// What a kernel was promised when it was compiled; on a card the copy engine would read something else, or stop.
void check(const char *name, const Array &array, int size) {
    const int whole = 16 / size;
    if (array.at == 0 || array.at % 16 != 0) fail(name, "an array that does not begin at a multiple of 16 bytes");
    if (array.strides[3] != 1) fail(name, "numbers that do not lie side by side");
    for (int i = 0; i < 4; i++) {
        if (array.lengths[i] < 1) fail(name, "an array of no length");
        if (size == 2 && i < 3 && (array.strides[i] < 1 || array.strides[i] % whole != 0))
            fail(name, "a stride that is no multiple of 8");
    }
}

float wide(unsigned short bits) {
    const unsigned word = (unsigned)bits << 16;
    float x;
    memcpy(&x, &word, 4);
    return x;
}

// To the nearest, ties to even, without going through float32: that would be rounding twice.
unsigned short narrow(double x) {
    if (x != x) return 0x7fff;
    if (x == 0 || std::isinf(x)) {
        const float f = (float)x;
        unsigned bits;
        memcpy(&bits, &f, 4);
        return (unsigned short)(bits >> 16);
    }
    int exponent;
    std::frexp(x, &exponent);
    const int last = std::max(exponent - 8, -133);
    const float f = (float)std::ldexp(std::nearbyint(std::ldexp(x, -last)), last);
    unsigned bits;
    memcpy(&bits, &f, 4);
    return (unsigned short)(bits >> 16);
}

int queries_of(const char *name) {
    // a kernel for 8.0 runs on all of 8.x
    const int architecture = capability() / 10 == 8 ? 80 : capability();
    for (const Tile &tile : TILES) {
        if (strcmp(tile.symbol, name) == 0 && tile.architecture == architecture) return tile.queries;
    }
    fail(name, "there is none for this card");
}

void run(const char *name, int width, bool has_bias, const unsigned *grid, const unsigned *block, void **arguments) {
    if (block[0] * block[1] * block[2] != 1) fail(name, "blocks of more than one thread");
    const Array q = read(arguments), k = read(arguments), v = read(arguments);
    Array bias{};
    if (has_bias) bias = read(arguments);
    const Array o = read(arguments);
    const float scale = *(float *)*arguments++;
    const int times = *(int *)*arguments++;
    for (const Array *array : {&q, &k, &v, &o}) check(name, *array, 2);
    const int batch = q.lengths[0], heads = q.lengths[1], queries = q.lengths[2], keys = k.lengths[2], tile = queries_of(name);
    if (q.lengths[3] != width || k.lengths[3] != width) fail(name, "heads of another width");
    if (memcmp(q.lengths, o.lengths, 16) != 0) fail(name, "a result of another shape");
    if (memcmp(k.lengths, v.lengths, 16) != 0 || k.lengths[0] != batch) fail(name, "keys and values of other shapes");
    if (times < 1 || k.lengths[1] * times != heads) fail(name, "heads that do not share evenly");
    if (has_bias) {
        const int scores[] = {batch, heads, queries, keys};
        if (bias.at == 0 || bias.at % 4 != 0 || bias.strides[3] != 1) fail(name, "a bias that does not lie side by side");
        if (memcmp(bias.lengths, scores, 16) != 0) fail(name, "a bias of another shape");
    }
    if (grid[1] != (unsigned)heads || grid[2] != (unsigned)batch) fail(name, "a grid of other heads");
    if (grid[0] != (unsigned)((queries + tile - 1) / tile)) fail(name, "a grid of other queries");
    std::vector<double> scores(keys), sums(width);
    for (int i = 0; i < batch; i++) {
        for (int j = 0; j < heads; j++) {
            for (int n = 0; n < queries; n++) {
                const auto *query = q.row<unsigned short>(i, j, n);
                double most = -INFINITY, total = 0;
                for (int m = 0; m < keys; m++) {
                    const auto *key = k.row<unsigned short>(i, j / times, m);
                    double sum = 0;
                    for (int x = 0; x < width; x++) sum += (double)wide(query[x]) * wide(key[x]);
                    scores[m] = sum * scale + (has_bias ? (double)bias.row<float>(i, j, n)[m] : 0);
                    most = std::max(most, scores[m]);
                }
                std::fill(sums.begin(), sums.end(), 0);
                for (int m = 0; m < keys; m++) {
                    const double weight = std::exp(scores[m] - most);
                    const auto *value = v.row<unsigned short>(i, j / times, m);
                    total += weight;
                    for (int x = 0; x < width; x++) sums[x] += weight * wide(value[x]);
                }
                for (int x = 0; x < width; x++) o.row<unsigned short>(i, j, n)[x] = narrow(sums[x] / total);
            }
        }
    }
}

template <int Width, bool HasBias> Kernel attention(const char *name, decltype(Kernel::run) run) {
    Kernel kernel{name, {}, {}, run};
    for (int array = 0; array < 4 + HasBias; array++) {
        kernel.sizes.push_back(8);
        kernel.sizes.insert(kernel.sizes.end(), 8, 4);
    }
    // the last array is what comes out
    kernel.written = {(int)kernel.sizes.size() - 9};
    kernel.sizes.insert(kernel.sizes.end(), 2, 4);
    return kernel;
}

#define ATTENTION(NAME, WIDTH, HAS_BIAS)                                                                                    \
    static Added added_##NAME(attention<WIDTH, HAS_BIAS>(#NAME, [](const unsigned *grid, const unsigned *block, void **args) {   \
        run(#NAME, WIDTH, HAS_BIAS, grid, block, args);                                                                     \
    }));

ATTENTION(attention_64, 64, false)
ATTENTION(attention_64_bias, 64, true)
ATTENTION(attention_128, 128, false)
ATTENTION(attention_128_bias, 128, true)

} // namespace
} // namespace driver
