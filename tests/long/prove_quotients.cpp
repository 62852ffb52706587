// SPDX-License-Identifier: MIT
// Proof by exhaustion that the quotient of csrc/simd/avx2.hpp is the IEEE quotient: q = x * r, then
// q + (x - q * s) * r with a fused remainder and a fused sum, where r is 1 / s rounded to nearest.
//
// Powers of two change nothing as long as nothing overflows or underflows, so x and s are whole numbers of
// 24 bits. r is off by at most half an ulp, so q is off by less than 1.5 ulp and the corrected quotient,
// before its last rounding, by less than 7 * 2^-25 ulp (the remainder may itself be rounded once). That
// rounds to another number than x / s only if a number half-way between two floats lies so near: if
//     |x * 2^k - s * m| <= 7  for an odd m of 25 bits, k = 24 for x >= s and 25 for x < s.
// All such pairs are solved for and tried: for each s and each difference d, m is -d / s modulo 2^k.
#include <cmath>
#include <cstdint>
#include <cstdio>

static uint64_t inverse_of_odd(uint64_t s) { // modulo 2^64, by Newton's iteration
  uint64_t inverse = s;
  for (int i = 0; i < 6; ++i) inverse *= 2 - s * inverse;
  return inverse;
}

static long tried = 0, wrong = 0;

static void try_pair(float x, float s) {
  const float r = 1.0f / s, q = x * r;
  const float quotient = std::fma(std::fma(-q, s, x), r, q);
  ++tried;
  if (quotient != x / s && ++wrong < 20) std::printf("WRONG: %a / %a gives %a\n", x, s, quotient);
}

// Pairs of s, 2^twos times an odd number, whose quotient lies within d / (s * 2^k) of a half-way m / 2^k.
static void try_near(uint64_t s, int twos, int64_t d, int k) {
  const uint64_t least = 1u << 23, modulus = uint64_t(1) << (k - twos);
  if (d & ((1 << twos) - 1)) return; // no solution
  uint64_t m = (uint64_t)-(d >> twos) * inverse_of_odd(s >> twos) & (modulus - 1);
  for (; m < uint64_t(1) << 25; m += modulus) {
    if (m < uint64_t(1) << 24 || m % 2 == 0) continue;
    const uint64_t x = (uint64_t)((int64_t)(s * m) + d) >> k;
    if (x < least || x >= 2 * least || (x >= s) != (k == 24)) continue;
    try_pair((float)x, (float)s);
  }
}

int main() {
  for (uint64_t s = 1u << 23; s < 1u << 24; ++s) {
    const int twos = __builtin_ctzll(s);
    for (int64_t d = -7; d <= 7; ++d)
      if (d != 0)
        for (int k = 24; k <= 25; ++k) try_near(s, twos < 3 ? twos : 3, d, k);
  }
  // Besides the argument: a stride through all pairs.
  for (uint64_t i = 0; i < 400000000; ++i) {
    const uint64_t mixed = i * 0x9E3779B97F4A7C15u;
    try_pair((float)((mixed >> 40) | 1u << 23), (float)((mixed >> 16 & 0xffffff) | 1u << 23));
  }
  std::printf("%ld pairs tried, %ld wrong\n", tried, wrong);
  return wrong != 0;
}
