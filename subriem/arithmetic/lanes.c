/* Vectors of a few lanes, and the operations on them that generated equations use.
 *
 * The generated part defines STATES, MOVING, SERIES, FIXED, GROUPS, WATCHED, EVENTS, TANGENTS, ROWS and
 * the tables before this file, and the functions `start` and `raise` after it.
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* as many as a register holds */
#if defined(__AVX512F__)
#define LANES 8
#define VARIANT eN8
#elif defined(__AVX2__)
#define LANES 4
#define VARIANT dN4
#else
#define LANES 2
#define VARIANT bN2
#endif
typedef double V __attribute__((vector_size(8 * LANES)));
typedef int64_t I __attribute__((vector_size(8 * LANES)));

static const V zero = {0};

#define UNARY(name, function)                                                                     \
    static inline V name(V a) {                                                                   \
        V r;                                                                                      \
        for (int i = 0; i < LANES; i++) r[i] = function(a[i]);                                    \
        return r;                                                                                 \
    }
#define BINARY(name, function)                                                                    \
    static inline V name(V a, V b) {                                                              \
        V r;                                                                                      \
        for (int i = 0; i < LANES; i++) r[i] = function(a[i], b[i]);                              \
        return r;                                                                                 \
    }
/* glibc's vector functions, accurate to 4 units in the last place */
#if defined(VECTOR_MATH) && defined(__x86_64__)
#define VECTOR_NAME(function) VECTOR_NAME_OF(VARIANT, function)
#define VECTOR_NAME_OF(variant, function) VECTOR_NAME_IS(variant, function)
#define VECTOR_NAME_IS(variant, function) _ZGV##variant##v_##function
#define VECTOR(name, function)                                                                    \
    V VECTOR_NAME(function)(V);                                                                   \
    static inline V name(V a) { return VECTOR_NAME(function)(a); }
#else
#define VECTOR UNARY
#endif

static inline double sign_of(double a) { return a > 0 ? 1.0 : a < 0 ? -1.0 : a; }
VECTOR(v_sin, sin)
VECTOR(v_cos, cos)
VECTOR(v_exp, exp)
VECTOR(v_log, log)
UNARY(v_sqrt, sqrt)
UNARY(v_tan, tan)
UNARY(v_expm1, expm1)
UNARY(v_log1p, log1p)
UNARY(v_asin, asin)
UNARY(v_acos, acos)
UNARY(v_atan, atan)
UNARY(v_sinh, sinh)
UNARY(v_cosh, cosh)
UNARY(v_tanh, tanh)
UNARY(v_asinh, asinh)
UNARY(v_acosh, acosh)
UNARY(v_atanh, atanh)
UNARY(v_erf, erf)
UNARY(v_fabs, fabs)
UNARY(v_floor, floor)
UNARY(v_ceil, ceil)
UNARY(v_sign, sign_of)
BINARY(v_pow, pow)
BINARY(v_atan2, atan2)
BINARY(v_hypot, hypot)
BINARY(v_fmod, fmod)
BINARY(v_remainder, remainder)
BINARY(v_copysign, copysign)
BINARY(v_fmin, fmin)
BINARY(v_fmax, fmax)
static inline V truth(I mask) { return (V)(mask & (I)(zero + 1.0)); }
static inline V v_lt(V a, V b) { return truth(a < b); }
static inline V v_le(V a, V b) { return truth(a <= b); }
static inline V v_eq(V a, V b) { return truth(a == b); }
static inline V v_ne(V a, V b) { return truth(a != b); }
static inline V v_not(V a) { return truth(a == zero); }
static inline V v_and(V a, V b) { return truth((a != zero) & (b != zero)); }
static inline V v_or(V a, V b) { return truth((a != zero) | (b != zero)); }
static inline V v_select(V condition, V a, V b) {
    const I mask = condition != zero;
    return (V)((mask & (I)a) | (~mask & (I)b));
}
static inline V magnitude(V a) { return (V)((I)a & 0x7fffffffffffffffLL); }
