// Products of matrices: the part of cuBLAS that the tensor library calls.
//
// Matrices lie column by column, as in cuBLAS. Numbers are widened to float32, summed in float32 eight columns of the
// result at a time, and rounded once.
#include "driver.h"

#include <cstdio>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

namespace {

enum Status { FINE = 0, NOT_INITIALISED = 1, NO_MEMORY = 3, WRONG = 7, NOT_SUPPORTED = 15 };
// kinds of numbers
enum Kind { F32 = 0, F64 = 1, F16 = 2, BF16 = 14 };

struct Handle {
    void *stream = nullptr;
    int mode = 0;
};

std::mutex guard;
std::set<const void *> handles;

bool is_known(const void *handle) {
    std::lock_guard lock(guard);
    return handles.contains(handle);
}

size_t size_of(int kind) { return kind == F64 ? 8 : kind == F32 ? 4 : 2; }

template <class T> T widened(const char *at, int kind) {
    if (kind == F64) return (T) * (const double *)at;
    if (kind == F32) return (T) * (const float *)at;
    if (kind == F16) return (T)(float)*(const _Float16 *)at;
    const unsigned word = (unsigned)*(const unsigned short *)at << 16;
    float x;
    memcpy(&x, &word, 4);
    return (T)x;
}

template <class T> void rounded(char *at, int kind, T x) {
    if (kind == F64) *(double *)at = (double)x;
    else if (kind == F32) *(float *)at = (float)x;
    else if (kind == F16) *(_Float16 *)at = (_Float16)(float)x;
    else {
        const float narrow = (float)x;
        unsigned bits;
        memcpy(&bits, &narrow, 4);
        bits = narrow != narrow ? 0x7fffu << 16 : bits + 0x7fff + (bits >> 16 & 1);
        *(unsigned short *)at = (unsigned short)(bits >> 16);
    }
}

struct Matrix {
    char *at;
    int kind, step;
    bool turned = false;

    char *number(int row, int column) const {
        return at + size_of(kind) * ((size_t)(turned ? row : column) * step + (turned ? column : row));
    }
    // Bytes from the first number to the last one.
    size_t reach(int rows, int columns) const {
        return size_of(kind) * ((size_t)((turned ? rows : columns) - 1) * step + (turned ? columns : rows));
    }
};

template <class T> void product(int m, int n, int k, T alpha, Matrix a, Matrix b, T beta, Matrix c) {
    // the first matrix column by column, the second one eight columns at a time
    std::vector<T> wide((size_t)m * k), strip((size_t)k * 8), sums((size_t)m * 8);
    for (int j = 0; j < k; j++) {
        for (int i = 0; i < m; i++) wide[(size_t)j * m + i] = widened<T>(a.number(i, j), a.kind);
    }
    for (int first = 0; first < n; first += 8) {
        const int count = std::min(8, n - first);
        for (int j = 0; j < k; j++) {
            for (int l = 0; l < count; l++) strip[(size_t)j * 8 + l] = widened<T>(b.number(j, first + l), b.kind);
        }
        // so many rows that their sums stay near
        for (int row = 0; row < m; row += 64) {
            const int rows = std::min(64, m - row);
            T near[8][64] = {};
            for (int j = 0; j < k; j++) {
                const T *from = &wide[(size_t)j * m + row];
                for (int l = 0; l < count; l++) {
                    const T factor = strip[(size_t)j * 8 + l];
                    for (int i = 0; i < rows; i++) near[l][i] += from[i] * factor;
                }
            }
            for (int l = 0; l < count; l++) {
                for (int i = 0; i < rows; i++) {
                    char *to = c.number(row + i, first + l);
                    // what is there may be no number
                    const T before = beta == 0 ? 0 : beta * widened<T>(to, c.kind);
                    rounded<T>(to, c.kind, alpha * near[l][i] + before);
                }
            }
        }
    }
}

Status products(void *handle, int turn_a, int turn_b, int m, int n, int k, double alpha, Matrix a, long long step_a, Matrix b,
                long long step_b, double beta, Matrix c, long long step_c, int count, bool wide) {
    auto refuse = [](const char *why) {
        driver::refuse(INVALID_VALUE, "a product of matrices with %s", why);
        return WRONG;
    };
    if (!is_known(handle)) return NOT_INITIALISED;
    if (m < 0 || n < 0 || k < 0 || count < 0 || turn_a < 0 || turn_a > 2 || turn_b < 0 || turn_b > 2) return refuse("odd sizes");
    a.turned = turn_a != 0, b.turned = turn_b != 0;
    if (a.step < std::max(1, a.turned ? k : m) || b.step < std::max(1, b.turned ? n : k) || c.step < std::max(1, m))
        return refuse("steps smaller than a column");
    driver::note("product %d %d %d %d of %d", m, n, k, count, a.kind);
    if (m == 0 || n == 0 || count == 0) return FINE;
    for (int i = 0; i < count; i++) {
        if (k > 0 && (!driver::is_inside((Address)a.at, a.reach(m, k)) || !driver::is_inside((Address)b.at, b.reach(k, n))))
            return refuse("factors that are not all memory of the card");
        if (!driver::is_inside((Address)c.at, c.reach(m, n))) return refuse("a result that is not all memory of the card");
        if (wide) product<double>(m, n, k, alpha, a, b, beta, c);
        else product<float>(m, n, k, (float)alpha, a, b, (float)beta, c);
        a.at += step_a * (long long)size_of(a.kind), b.at += step_b * (long long)size_of(b.kind);
        c.at += step_c * (long long)size_of(c.kind);
    }
    return FINE;
}

bool is_kind(int kind) { return kind == F32 || kind == F64 || kind == F16 || kind == BF16; }

// The factors, which lie as the numbers are computed: 64 and 65 float16, 68 and others float32, 70 and 71 float64.
double factor(const void *at, int compute) {
    if (compute == 64 || compute == 65) return (double)(float)*(const _Float16 *)at;
    if (compute == 70 || compute == 71) return *(const double *)at;
    return *(const float *)at;
}

} // namespace

CARD Status cublasCreate_v2(void **handle) {
    *handle = new Handle;
    std::lock_guard lock(guard);
    handles.insert(*handle);
    return FINE;
}
CARD Status cublasDestroy_v2(void *handle) {
    std::lock_guard lock(guard);
    if (!handles.erase(handle)) return NOT_INITIALISED;
    delete (Handle *)handle;
    return FINE;
}
CARD Status cublasSetStream_v2(void *handle, void *stream) {
    if (!is_known(handle)) return NOT_INITIALISED;
    if (!driver::is_stream(stream)) return WRONG;
    ((Handle *)handle)->stream = stream;
    return FINE;
}
CARD Status cublasGetStream_v2(void *handle, void **stream) {
    if (!is_known(handle)) return NOT_INITIALISED;
    *stream = ((Handle *)handle)->stream;
    return FINE;
}
CARD Status cublasSetMathMode(void *handle, int mode) {
    if (!is_known(handle)) return NOT_INITIALISED;
    ((Handle *)handle)->mode = mode;
    return FINE;
}
CARD Status cublasGetMathMode(void *handle, int *mode) {
    if (!is_known(handle)) return NOT_INITIALISED;
    *mode = ((Handle *)handle)->mode;
    return FINE;
}
CARD Status cublasSetWorkspace_v2(void *handle, void *, size_t) { return is_known(handle) ? FINE : NOT_INITIALISED; }
CARD Status cublasSetPointerMode_v2(void *handle, int mode) {
    // factors are the machine's memory here, always
    return is_known(handle) && mode == 0 ? FINE : NOT_SUPPORTED;
}
CARD Status cublasGetPointerMode_v2(void *handle, int *mode) {
    *mode = 0;
    return is_known(handle) ? FINE : NOT_INITIALISED;
}

CARD Status cublasGemmStridedBatchedEx(void *handle, int turn_a, int turn_b, int m, int n, int k, const void *alpha,
                                       const void *a, int kind_a, int step_a, long long next_a, const void *b, int kind_b,
                                       int step_b, long long next_b, const void *beta, void *c, int kind_c, int step_c,
                                       long long next_c, int count, int compute, int) {
    if (!is_kind(kind_a) || !is_kind(kind_b) || !is_kind(kind_c)) return NOT_SUPPORTED;
    // numbers of a card's products are of one kind
    if (kind_a != kind_b || (kind_a == F64) != (compute == 70 || compute == 71)) return NOT_SUPPORTED;
    return products(handle, turn_a, turn_b, m, n, k, factor(alpha, compute), {(char *)a, kind_a, step_a}, next_a,
                    {(char *)b, kind_b, step_b}, next_b, factor(beta, compute), {(char *)c, kind_c, step_c}, next_c, count,
                    kind_a == F64);
}
CARD Status cublasGemmEx(void *handle, int turn_a, int turn_b, int m, int n, int k, const void *alpha, const void *a, int kind_a,
                         int step_a, const void *b, int kind_b, int step_b, const void *beta, void *c, int kind_c, int step_c,
                         int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, turn_a, turn_b, m, n, k, alpha, a, kind_a, step_a, 0, b, kind_b, step_b, 0, beta,
                                      c, kind_c, step_c, 0, 1, compute, algorithm);
}
CARD Status cublasSgemmStridedBatched(void *handle, int turn_a, int turn_b, int m, int n, int k, const float *alpha,
                                      const float *a, int step_a, long long next_a, const float *b, int step_b, long long next_b,
                                      const float *beta, float *c, int step_c, long long next_c, int count) {
    return cublasGemmStridedBatchedEx(handle, turn_a, turn_b, m, n, k, alpha, a, F32, step_a, next_a, b, F32, step_b, next_b,
                                      beta, c, F32, step_c, next_c, count, 68, 0);
}
CARD Status cublasDgemmStridedBatched(void *handle, int turn_a, int turn_b, int m, int n, int k, const double *alpha,
                                      const double *a, int step_a, long long next_a, const double *b, int step_b,
                                      long long next_b, const double *beta, double *c, int step_c, long long next_c, int count) {
    return cublasGemmStridedBatchedEx(handle, turn_a, turn_b, m, n, k, alpha, a, F64, step_a, next_a, b, F64, step_b, next_b,
                                      beta, c, F64, step_c, next_c, count, 70, 0);
}
