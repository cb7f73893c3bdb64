/* exp and tanh in float, for loops under "#pragma omp simd": no branches, no
 * tables, no libm, so that they inline and vectorise for any instruction set.
 * (glibc's libmvec would need -ffast-math, which breaks isnan; scalar libm
 * costs 10 to 60 times more per element.)
 *
 * NaN propagates: every clamp is written so that a NaN operand is kept.
 * tests/test_backend.c measures the errors stated here. */
#ifndef MODEL_CPU_VMATH_H
#define MODEL_CPU_VMATH_H

#include <stdint.h>
#include <string.h>

static inline uint32_t vm_bits(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof(u));
    return u;
}

static inline float vm_float(uint32_t u)
{
    float x;

    memcpy(&x, &u, sizeof(x));
    return x;
}

/* exp(x) for |x| <= 87, at most 2 ulp; NaN propagates, anything else beyond
 * is garbage.
 *
 * x = n ln2 + r, |r| <= ln2/2: the polynomial of Cephes' expf for e^r, and 2^n
 * built in the exponent field.  Adding 1.5*2^23 rounds to the nearest integer
 * and leaves it in the low bits. */
static inline float vm_exp_bounded(float x)
{
    const float magic = 12582912.0f;
    float t = x * 1.44269504088896341f + magic;
    float n = t - magic;
    float r = x - n * 0.693359375f; /* exact product: 9 bits by 10 */
    float p = 1.9875691500e-4f;

    r = r + n * 2.12194440e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    return p * vm_float((vm_bits(t) + 127u) << 23);
}

/* exp(x) for any x.  Below -87.3 results are flushed to 0 through the last
 * denormals (-inf gives 0); above 88.3, x is taken as 88.3 (2.2e38, finite: a
 * quotient by it still vanishes). */
static inline float vm_exp(float x)
{
    x = -88.0f > x ? -88.0f : x; /* n = -127: the scale is 0 */
    x = 88.3f < x ? 88.3f : x;
    return vm_exp_bounded(x);
}

/* tanh(x), at most 7 ulp (around 5.9; 5 below 1): the odd rational
 * approximation of degree 13/6 that Eigen uses; beyond 7.9 it is 1 to the last
 * bit of float. */
static inline float vm_tanh(float x)
{
    const float limit = 7.90531110763549805f;
    float s, p, q;

    x = -limit > x ? -limit : x;
    x = limit < x ? limit : x;
    s = x * x;
    p = -2.76076847742355e-16f;
    p = p * s + 2.00018790482477e-13f;
    p = p * s + -8.60467152213735e-11f;
    p = p * s + 5.12229709037114e-08f;
    p = p * s + 1.48572235717979e-05f;
    p = p * s + 6.37261928875436e-04f;
    p = p * s + 4.89352455891786e-03f;
    q = 1.19825839466702e-06f;
    q = q * s + 1.18534705686654e-04f;
    q = q * s + 2.26843463243900e-03f;
    q = q * s + 4.89352518554385e-03f;
    return x * p / q;
}

#define VM_TANH_SMALL 0.4f

/* tanh(x) for |x| <= VM_TANH_SMALL, at most 1 ulp: the Taylor series to x^13,
 * a third of the work. */
static inline float vm_tanh_small(float x)
{
    float s = x * x;
    float p = 21844.0f / 6081075;

    p = p * s - 1382.0f / 155925;
    p = p * s + 62.0f / 2835;
    p = p * s - 17.0f / 315;
    p = p * s + 2.0f / 15;
    p = p * s - 1.0f / 3;
    return x + x * (s * p);
}

#endif
