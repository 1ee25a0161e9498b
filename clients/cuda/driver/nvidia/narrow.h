// Numbers of 16 and 8 bits, under the names that NVIDIA's headers give them: every operation is done in float32 and rounded.
#pragma once

#include <cmath>
#include <cstring>
#include <type_traits>

// `Bits` says how a kind of numbers is written down. Conversions are as implicit as NVIDIA's.
template <class Bits> struct Narrow {
    typename Bits::Word __x;

    Narrow() = default;
    template <class T>
        requires std::is_arithmetic_v<T>
    Narrow(T x) : __x(Bits::narrow((float)x)) {}
    template <class Other> explicit Narrow(const Narrow<Other> &x) : __x(Bits::narrow((float)x)) {}
    operator float() const { return Bits::wide(__x); }

    friend Narrow operator+(Narrow a, Narrow b) { return (float)a + (float)b; }
    friend Narrow operator-(Narrow a, Narrow b) { return (float)a - (float)b; }
    friend Narrow operator*(Narrow a, Narrow b) { return (float)a * (float)b; }
    friend Narrow operator/(Narrow a, Narrow b) { return (float)a / (float)b; }
    friend Narrow operator-(Narrow a) { return -(float)a; }
    friend bool operator==(Narrow a, Narrow b) { return (float)a == (float)b; }
    friend bool operator!=(Narrow a, Narrow b) { return (float)a != (float)b; }
    friend bool operator<(Narrow a, Narrow b) { return (float)a < (float)b; }
    friend bool operator<=(Narrow a, Narrow b) { return (float)a <= (float)b; }
    friend bool operator>(Narrow a, Narrow b) { return (float)a > (float)b; }
    friend bool operator>=(Narrow a, Narrow b) { return (float)a >= (float)b; }
    Narrow &operator+=(Narrow b) { return *this = *this + b; }
    Narrow &operator-=(Narrow b) { return *this = *this - b; }
    Narrow &operator*=(Narrow b) { return *this = *this * b; }
    Narrow &operator/=(Narrow b) { return *this = *this / b; }
};

struct Brain {
    using Word = unsigned short;
    static Word narrow(float x) {
        unsigned bits;
        memcpy(&bits, &x, 4);
        if (x != x) return 0x7fff;
        return (Word)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
    static float wide(Word word) {
        const unsigned bits = (unsigned)word << 16;
        float x;
        memcpy(&x, &bits, 4);
        return x;
    }
};

struct Half {
    using Word = unsigned short;
    static Word narrow(float x) {
        const _Float16 y = (_Float16)x;
        Word word;
        memcpy(&word, &y, 2);
        return word;
    }
    static float wide(Word word) {
        _Float16 y;
        memcpy(&y, &word, 2);
        return (float)y;
    }
};

// Four bits of exponent, three of fraction, no infinity; what is too large becomes the largest.
struct Eight {
    using Word = unsigned char;
    static float wide(Word word) {
        const int exponent = word >> 3 & 15, fraction = word & 7;
        if ((word & 0x7f) == 0x7f) return NAN;
        const float x = exponent ? std::ldexp(1.f + fraction / 8.f, exponent - 7) : std::ldexp(fraction / 8.f, -6);
        return word & 0x80 ? -x : x;
    }
    static Word narrow(float x) {
        if (x != x) return 0x7f;
        const Word sign = std::signbit(x) ? 0x80 : 0;
        const float size = std::fabs(x);
        if (size >= 448.f) return sign | 0x7e;
        // the nearest of all, of two the even one
        Word best = 0;
        for (Word word = 1; word < 0x7f; word++) {
            const float now = std::fabs(wide(word) - size), before = std::fabs(wide(best) - size);
            if (now < before || (now == before && word % 2 == 0)) best = word;
        }
        return sign | best;
    }
};

using __nv_bfloat16 = Narrow<Brain>;
using __half = Narrow<Half>;
using __nv_fp8_e4m3 = Narrow<Eight>;

struct __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
static inline __nv_bfloat162 __hadd2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x + b.x, a.y + b.y}; }
static inline __nv_bfloat162 __hmul2(__nv_bfloat162 a, __nv_bfloat162 b) { return {a.x * b.x, a.y * b.y}; }

static inline float __half2float(__half x) { return x; }
static inline __half __float2half(float x) { return x; }
static inline float __bfloat162float(__nv_bfloat16 x) { return x; }
static inline __nv_bfloat16 __float2bfloat16(float x) { return x; }
static inline __nv_bfloat16 __float2bfloat16_rn(float x) { return x; }
static inline unsigned short __half_as_ushort(__half x) { return x.__x; }
static inline __half __ushort_as_half(unsigned short bits) {
    __half x;
    x.__x = bits;
    return x;
}
enum { __NV_E4M3 };
static inline __half __nv_cvt_fp8_to_halfraw(unsigned char bits, int) { return Eight::wide(bits); }

template <class B> bool __hisnan(Narrow<B> x) { return std::isnan((float)x); }
template <class B> Narrow<B> __hmax_nan(Narrow<B> a, Narrow<B> b) { return __hisnan(a) || a > b ? a : b; }
template <class B> Narrow<B> __hmin_nan(Narrow<B> a, Narrow<B> b) { return __hisnan(a) || a < b ? a : b; }
template <class B> Narrow<B> __hmax(Narrow<B> a, Narrow<B> b) { return std::fmax((float)a, (float)b); }
template <class B> Narrow<B> __hmin(Narrow<B> a, Narrow<B> b) { return std::fmin((float)a, (float)b); }
template <class B> Narrow<B> __habs(Narrow<B> x) { return std::fabs((float)x); }
template <class B> Narrow<B> hsqrt(Narrow<B> x) { return std::sqrt((float)x); }
template <class B> Narrow<B> hcos(Narrow<B> x) { return std::cos((float)x); }
template <class B> Narrow<B> hsin(Narrow<B> x) { return std::sin((float)x); }
template <class B> Narrow<B> hexp(Narrow<B> x) { return std::exp((float)x); }
template <class B> Narrow<B> hlog(Narrow<B> x) { return std::log((float)x); }
template <class B> Narrow<B> hceil(Narrow<B> x) { return std::ceil((float)x); }
template <class B> Narrow<B> hfloor(Narrow<B> x) { return std::floor((float)x); }
