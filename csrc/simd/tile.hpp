// SPDX-License-Identifier: MIT
// The tile of integer matrix products: what multiplies bytes of a few rows of x with bytes of many rows of w.
// This page is the contract; tile_scalar.hpp is its definition, to which tests/test_reference_matmul.py holds
// every ISA.
//
//   kTileRows, kTileVectors      rows of x, a power of two, and vectors of 16 rows of w whose sums are in
//                                registers together
//   kFewVectors                  vectors of rows of w whose products with floats run side by side for one or two rows of x
//   kSmallProducts               whether bytes whose products are small had better go to add_dot_u8i8
//   PackedFour                   four neighbours of a row of x, int8, as they lie in memory for splat_four
//   packed_four(x)               the PackedFour of the 4 bytes of a uint32, the lowest first
//   Four, splat_four(p)          one PackedFour for all lanes
//   Weights, weights_of(v)       four neighbours of each of 16 rows of w: the uint8 of a u8x64, prepared once
//                                for all rows of x
//   add_dot4(sum, w, x)          i32x16, lane i: sum + w[i][0] * x[0] + ... + w[i][3] * x[3]. Nothing
//                                saturates; sums wrap around at 32 bits
#pragma once
#include "simd.hpp"

#if defined(BITMILL_ISA_SCALAR)
#include "tile_scalar.hpp"
#elif defined(BITMILL_ISA_AVX2)
#include "tile_avx2.hpp"
#elif defined(BITMILL_ISA_AVX512)
#include "tile_avx512.hpp"
#endif

namespace bitmill::BITMILL_ISA {
namespace {

// Rows of the next tile, of so many that are left: as many as registers hold, or half of that, and so on.
BITMILL_INLINE int64_t tile_rows(int64_t left) {
  int64_t rows = kTileRows;
  while (rows > left) rows /= 2;
  return rows;
}

} // namespace
} // namespace bitmill::BITMILL_ISA
