// SPDX-License-Identifier: MIT
// Integer products of matrices, x w^T, and what makes values or codes of them. Twins:
// bitmill.reference.matmul_int8, .matmul_sums, .matmul_requantized, .matmul_w8a8. Rows of x go through registers a
// tile at a time; rows of w lie in panels of 16, four neighbours of each side by side, [N / 16][K / 4][16][4], as uint8.
#pragma once
#include "../simd/tile.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Four bytes at p, of which `there` are there; the others are 0. Those that are there, with `flips` added
// bit by bit.
BITMILL_INLINE uint32_t read_four(const void* p, int64_t there, uint32_t flips) {
  uint32_t four = 0;
  if (there >= 4)
    memcpy(&four, p, 4);
  else
    memcpy(&four, p, (size_t)there);
  return four ^ (there >= 4 ? flips : flips >> (32 - 8 * there));
}
constexpr uint32_t kSignBits = 0x80808080; // of four bytes: int8 + 128 as uint8, or back

// Rows from `row` on, made ready for tiles: [K / 4][rows of the tile], zeros behind their ends; and the sums
// of their values. With `flips`, x is uint8, and 128 is subtracted.
void pack_rows(const void* x, Product whole, int64_t row, int64_t rows, bool flips, void* out,
               int32_t* sums) {
  const int64_t depth = whole.depth, fours = whole.fours();
  const uint8_t* from = (const uint8_t*)x + row * depth;
  for (int64_t r = 0; r < rows; ++r) {
    int32_t sum = 0;
    for (int64_t k = 0; k < depth; ++k) sum += (int8_t)(from[r * depth + k] ^ (flips ? 0x80 : 0));
    sums[row + r] = sum;
  }
  PackedFour* to = (PackedFour*)out + row * fours;
  for (int64_t first = 0, count; first < rows; first += count) {
    count = tile_rows(rows - first);
    for (int64_t k = 0; k < fours; ++k)
      for (int64_t r = first; r < first + count; ++r)
        *to++ =
            packed_four(read_four(from + r * depth + k * 4, depth - k * 4, flips ? kSignBits : 0));
  }
}

// Rows of int8 w from `row` on, `rows` of them, at most 16, as one panel of `fours` from the four k on; 128 is
// added. Rows that are not there come out as any numbers.
void pack_panel(const void* w, const Product& whole, int64_t row, int64_t rows, int64_t k,
                int64_t fours, uint8_t* out) {
  for (int64_t r = 0; r < rows; ++r) {
    const char* from = (const char*)w + (row + r) * whole.depth;
    for (int64_t i = k; i < k + fours; ++i) {
      const uint32_t four = read_four(from + i * 4, whole.depth - i * 4, kSignBits);
      memcpy(out + ((i - k) * kPanel + r) * 4, &four, 4);
    }
  }
}

// Panels of w, `step` bytes apart, from some four on; and what will be read after them, as far apart.
struct Panels {
  const uint8_t* at;
  int64_t step;
  const uint8_t* ahead;
};

// Sums of products of ROWS rows of x and VECTORS panels over `fours`, added to what is at `sums` unless they
// are the first. Meanwhile it asks for what is ahead, `pace` bytes with each four; with fewer rows than registers
// hold it waits for the memory anyway.
template <int ROWS, int VECTORS>
BITMILL_APART void multiply_tile(const PackedFour* x, Panels w, int64_t pace, int64_t fours,
                                 bool first, int32_t* sums) {
  i32x16 sum[ROWS][VECTORS];
  BITMILL_UNROLLED for (int r = 0; r < ROWS; ++r) BITMILL_UNROLLED for (int v = 0; v < VECTORS; ++v)
      sum[r][v] = first ? splat(0) : load_i32(sums + r * kSpan + v * kPanel);
  for (int64_t k = 0; k < fours; ++k, x += ROWS, w.at += 4 * kPanel, w.ahead += pace) {
    Weights weights[VECTORS];
    BITMILL_UNROLLED for (int v = 0; v < VECTORS; ++v) {
      if constexpr (ROWS == kTileRows) prefetch_far(w.ahead + v * w.step);
      weights[v] = weights_of(load_bytes(w.at + v * w.step));
    }
    BITMILL_UNROLLED for (int r = 0; r < ROWS; ++r) {
      const Four four = splat_four(x + r);
      BITMILL_UNROLLED for (int v = 0; v < VECTORS; ++v) sum[r][v] =
          add_dot4(sum[r][v], weights[v], four);
    }
  }
  BITMILL_UNROLLED for (int r = 0; r < ROWS; ++r) BITMILL_UNROLLED for (int v = 0; v < VECTORS; ++v)
      store((float*)(sums + r * kSpan + v * kPanel), float_of(sum[r][v]));
}

// The tile of `rows` rows, ROWS or fewer.
template <int ROWS, int VECTORS>
BITMILL_INLINE void multiply_tile_of(int64_t rows, const PackedFour* x, Panels w, int64_t pace,
                                     int64_t fours, bool first, int32_t* sums) {
  if (rows == ROWS) return multiply_tile<ROWS, VECTORS>(x, w, pace, fours, first, sums);
  if constexpr (ROWS > 1) multiply_tile_of<ROWS / 2, VECTORS>(rows, x, w, pace, fours, first, sums);
}

// A block of w: its panels over `count` fours from k on.
struct PanelBlock {
  Panels panels;
  int64_t k, count;
};

// All rows of x times VECTORS of its panels. Of what is ahead, each tile asks for its share, so that the memory
// works all the time.
template <int VECTORS>
void multiply_panels(const PackedFour* x, int64_t rows, int64_t fours, const PanelBlock& block,
                     int64_t panel, int32_t* sums) {
  const int64_t skip = panel * block.panels.step, line = 4 * kPanel;
  for (int64_t row = 0, tile; row < rows; row += tile) {
    tile = tile_rows(rows - row);
    const Panels w{block.panels.at + skip, block.panels.step,
                   block.panels.ahead + skip + row * block.count * line / rows};
    multiply_tile_of<kTileRows, VECTORS>(tile, x + row * fours + block.k * tile, w,
                                         tile * line / rows, block.count, block.k == 0,
                                         sums + row * kSpan + panel * kPanel);
  }
}
BITMILL_APART void multiply_block(const PackedFour* x, const Patch& p, int64_t fours,
                                  const PanelBlock& block, int32_t* sums) {
  const int64_t panels = (p.cols + kPanel - 1) / kPanel;
  int64_t panel = 0;
  for (; panel + kTileVectors <= panels; panel += kTileVectors)
    multiply_panels<kTileVectors>(x, p.rows, fours, block, panel, sums);
  for (; panel < panels; ++panel) multiply_panels<1>(x, p.rows, fours, block, panel, sums);
}

// All sums of a patch, at sums[row * kSpan + column]. block(k, count) gives the panels of a block: so many
// fours that they stay in the L2 cache while every tile of x goes over them.
template <class Block>
BITMILL_INLINE void multiply(const void* x, int64_t fours, const Patch& p, int32_t* sums,
                             const Block& block) {
  if (fours == 0) memset(sums, 0, (size_t)(p.rows * kSpan) * sizeof *sums);
  for (int64_t k = 0; k < fours; k += kBlockFours) {
    const int64_t count = least(kBlockFours, fours - k);
    multiply_block((const PackedFour*)x + p.row * fours, p, fours, {block(k, count), k, count},
                   sums);
  }
}

// The sums of a patch as they shall be, `step` apart at `out`, which may be `sums`: sum - w_zero_point * x_sum +
// bias, in 32 bits that wrap around.
void finish_sums(const int32_t* sums, const Patch& p, const SumTerms& t, int32_t* out,
                 int64_t step) {
  for (int64_t row = 0; row < p.rows; ++row) {
    const i32x16 x_sum = splat(t.x_sum[p.row + row]);
    float* to = (float*)(out + row * step);
    each_vector(p.cols, [&](int64_t i, auto lanes) {
      const int64_t col = p.col + i;
      const i32x16 zero_point = t.w_zero_point ? load_u8(t.w_zero_point + col, lanes) : splat(128);
      const i32x16 bias = t.bias ? load_i32(t.bias + col, lanes) : splat(0);
      const i32x16 sum = sub(load_i32(sums + row * kSpan + i), mul(x_sum, zero_point));
      store(to + i, float_of(add(sum, bias)), lanes);
    });
  }
}

// x w = x (w + 128) - 128 x.
void matmul_int8(const void* x, const void* w, Product whole, Patch p, const int32_t* x_sum,
                 void* memory, int32_t* out) {
  int32_t* sums = (int32_t*)memory;
  uint8_t* panels = (uint8_t*)memory + kSumsBytes;
  multiply(x, whole.fours(), p, sums, [&](int64_t k, int64_t fours) {
    const int64_t step = fours * 4 * kPanel;
    for (int64_t col = 0; col < p.cols; col += kPanel)
      pack_panel(w, whole, p.col + col, least(kPanel, p.cols - col), k, fours,
                 panels + col / kPanel * step);
    return Panels{panels, step, panels};
  });
  finish_sums(sums, p, {x_sum, nullptr, nullptr}, out + whole.at(p), whole.cols);
}

// All sums of a patch with w in panels.
BITMILL_APART void multiply_prepacked(const void* x, const void* w, const Product& whole,
                                      const Patch& p, int32_t* sums) {
  const int64_t step = whole.fours() * 4 * kPanel;
  const uint8_t* panels = (const uint8_t*)w + p.col / kPanel * step;
  multiply(x, whole.fours(), p, sums, [&](int64_t k, int64_t fours) {
    const uint8_t* const at = panels + k * 4 * kPanel;
    const bool last = k + fours == whole.fours(); // then come the first of the next panels
    return Panels{at, step, last ? panels + kSpan / kPanel * step : at + fours * 4 * kPanel};
  });
}

void matmul_sums(const void* x, const void* w, Product whole, Patch p, SumTerms terms, void* memory,
                 int32_t* out) {
  multiply_prepacked(x, w, whole, p, (int32_t*)memory);
  finish_sums((const int32_t*)memory, p, terms, out + whole.at(p), whole.cols);
}

// The same to codes, a patch at a time, while its sums are in the cache.
void matmul_requantized(const void* x, const void* w, Product whole, Patch p, SumTerms terms,
                        const Requantizer* r, void* memory, void* out) {
  int32_t* sums = (int32_t*)memory;
  uint8_t* codes = (uint8_t*)memory + kSumsBytes;
  multiply_prepacked(x, w, whole, p, sums);
  finish_sums(sums, p, terms, sums, kSpan);
  const Columns columns{p.rows, p.cols, kSpan, false};
  r->columns->requantize[0](&r->q, sums, columns, r->m.from(p.col), codes);
  for (int64_t row = 0; row < p.rows; ++row)
    memcpy((uint8_t*)out + whole.at(p) + row * whole.cols, codes + row * kSpan, (size_t)p.cols);
}

// value = (sum - w_zero_point * x_sum - x_zero_point * w_sum) * x_scale * w_scale + bias, from left to right:
// the first three terms are integers, exact in double, and rounded to float once.
template <class T>
void matmul_w8a8(const void* x, const void* w, Product whole, Patch p, Dequantizer d, void* memory,
                 void* out) {
  int32_t* sums = (int32_t*)memory;
  multiply_prepacked(x, w, whole, p, sums);
  for (int64_t row = 0; row < p.rows; ++row) {
    const f64x8 x_sum = splat_f64(-(double)d.x_sum[p.row + row]),
                x_zero_point = splat_f64(-(double)d.x_zero_point[p.row + row]);
    const f32x16 x_scale = splat(d.x_scale[p.row + row]);
    const auto exact = [&](f64x8 sum, f64x8 w_zero_point, f64x8 w_sum) {
      return add_product(add_product(sum, w_zero_point, x_sum), w_sum, x_zero_point);
    };
    T* to = (T*)out + whole.at(p) + row * whole.cols;
    each_vector(p.cols, [&](int64_t i, auto lanes) {
      const int64_t col = p.col + i;
      const i32x16 sum = load_i32(sums + row * kSpan + i);
      const i32x16 w_zero_point = load_u8(d.w_zero_point + col, lanes),
                   w_sum = load_i32(d.w_sum + col, lanes);
      double integers[16];
      write_f64(integers, exact(first_f64(sum), first_f64(w_zero_point), first_f64(w_sum)));
      write_f64(integers + 8, exact(second_f64(sum), second_f64(w_zero_point), second_f64(w_sum)));
      const f32x16 scaled = mul(mul(load(integers), x_scale), load(d.w_scale + col, lanes));
      // -0.0 changes nothing.
      store(to + i, add(scaled, d.bias ? load(d.bias + col, lanes) : splat(-0.0f)), lanes);
    });
  }
}

} // namespace
} // namespace bitmill::BITMILL_ISA
