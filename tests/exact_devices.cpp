/* dialect/exact.h compiled as C++14, which is what Metal's language is, for floats that behave as those of a device. */
#include "exact_devices.h"

#include <cmath>
#include <cstring>

#define FN           static inline
#define INT          int32_t
#define UINT         uint32_t
#define MASK         bool
#define OUT(type, x) type &x
#define SELDOM
#define and_m(a, b) ((a) & (b))
#define or_m(a, b)  ((a) | (b))

namespace {

int32_t highest_bit(uint32_t u) { return 31 - __builtin_clz(u); }
uint32_t max_u(uint32_t a, uint32_t b) { return a > b ? a : b; }
int32_t min_i(int32_t a, int32_t b) { return a < b ? a : b; }

uint32_t bits(float f) {
    uint32_t u;
    std::memcpy(&u, &f, 4);
    return u;
}
float value(uint32_t u) {
    float f;
    std::memcpy(&f, &u, 4);
    return f;
}
float flushed(float f) { return std::fabs(f) < 1.17549435e-38f ? std::copysign(0.0f, f) : f; }

/* A float that is compared as another would be if small ones were zeros, and, if `all`, computed with so. */
template <bool all> struct device_float {
    float f;
    device_float() = default;
    device_float(float x) : f(x) {}
    explicit device_float(int32_t i) : f(static_cast<float>(i)) {}
    explicit device_float(uint32_t u) : f(static_cast<float>(u)) {}
    explicit operator uint32_t() const { return static_cast<uint32_t>(f); }

    static float in(device_float x) { return all ? flushed(x.f) : x.f; }
    static device_float out(float x) { return all ? flushed(x) : x; }
    friend device_float operator+(device_float a, device_float b) { return out(in(a) + in(b)); }
    friend device_float operator-(device_float a, device_float b) { return out(in(a)-in(b)); }
    friend device_float operator*(device_float a, device_float b) { return out(in(a)*in(b)); }
    friend device_float operator-(device_float a) { return -a.f; }
    friend bool operator>(device_float a, device_float b) { return flushed(a.f) > flushed(b.f); }
    friend bool operator<(device_float a, device_float b) { return flushed(a.f) < flushed(b.f); }
    friend bool operator>=(device_float a, device_float b) { return flushed(a.f) >= flushed(b.f); }
    friend bool operator<=(device_float a, device_float b) { return flushed(a.f) <= flushed(b.f); }
    friend bool operator==(device_float a, device_float b) { return flushed(a.f) == flushed(b.f); }
    friend device_float fma(device_float a, device_float b, device_float c) {
        return all ? out(std::fma(in(a), in(b), in(c))) : a * b + c;
    }
    friend device_float sqrt(device_float a) { /* three units off, to either side */
        uint32_t root = bits(std::sqrt(a.f));
        return value(root & 4u ? root + 3u : root - 3u);
    }
    friend device_float abs(device_float a) { return std::fabs(a.f); }
    friend uint32_t as_uint(device_float a) { return bits(a.f); }
    friend device_float max_loose(device_float a, device_float b) { return a > b ? a : b; }
};

namespace good {
#define REAL float
const bool KEEPS_SUBNORMALS = true, FUSES = true;
using std::abs;
using std::fma;
using std::sqrt;
uint32_t as_uint(float f) { return bits(f); }
float as_real(uint32_t u) { return value(u); }
float max_loose(float a, float b) { return a > b ? a : b; }
#include "dialect/exact.h"
#undef REAL
} // namespace good

namespace wary {
#define REAL device_float<false>
const bool KEEPS_SUBNORMALS = false, FUSES = false;
REAL as_real(uint32_t u) { return value(u); }
#include "dialect/exact.h"
#undef REAL
} // namespace wary

namespace flushing {
#define REAL device_float<true>
const bool KEEPS_SUBNORMALS = false, FUSES = true;
REAL as_real(uint32_t u) { return value(u); }
#include "dialect/exact.h"
#undef REAL
} // namespace flushing

} // namespace

#define OPERATE(device)                                                                                                \
    {                                                                                                                  \
        using namespace device;                                                                                        \
        auto x = as_real(a), y = as_real(b);                                                                           \
        switch (operation) {                                                                                           \
        case EXACT_DIVIDE: return as_uint(div_rn(x, y));                                                               \
        case EXACT_ROOT: return as_uint(sqrt_rn(x));                                                                   \
        case EXACT_COMPARE:                                                                                            \
            return gt(x, y) * 1u + ge(x, y) * 2u + lt(x, y) * 4u + le(x, y) * 8u + eq(x, y) * 16u + ne(x, y) * 32u;    \
        case EXACT_LARGER: return as_uint(larger(x, y));                                                               \
        case EXACT_MULTIPLY: return as_uint(nan_safe(x) && nan_safe(y) ? x * y : mul_v(x, y));                         \
        }                                                                                                              \
    }

uint32_t exact_operate(exact_device device, exact_operation operation, uint32_t a, uint32_t b) {
    switch (device) {
    case EXACT_GOOD: OPERATE(good) break;
    case EXACT_WARY: OPERATE(wary) break;
    case EXACT_FLUSHING: OPERATE(flushing) break;
    case EXACT_DEVICES: break;
    }
    return 0;
}
