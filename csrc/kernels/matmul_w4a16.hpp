// SPDX-License-Identifier: MIT
// Products of floats with weights of 4 bits, x w^T. Twin: bitmill.reference.matmul_w4a16. Up to three rows of x meet
// weights in registers; for more rows, a block of weights is unpacked once, to floats, and tiles go over it.
#pragma once
#include "weights4.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Rows of x made ready for tiles: [K][rows of the tile], filled up with zeros to whole eights.
void pack_floats4(const Tokens4* x, const Weights4*, const Product* whole, int64_t row,
                  int64_t rows) {
  const int64_t depth = whole->depth, padded = whole->eights() * kEight;
  const int64_t eights = depth / kEight * kEight;
  float* to = (float*)x->ready + row * padded;
  for (int64_t end = row + rows, count; row < end; row += count, to += padded * count) {
    count = tile_rows(end - row);
    memset(to + eights * count, 0, (size_t)((padded - eights) * count) * sizeof *to);
    for (int64_t k = 0; k < depth; k += kEight)
      for (int64_t r = 0; r < count; ++r) {
        const float* from = (const float*)x->given + (row + r) * depth;
        for (int64_t i = k; i < least(depth, k + kEight); ++i) to[i * count + r] = from[i];
      }
  }
}

// body(column, codes) for eight columns in their order: the codes of a column are the low four bits of the lanes.
template <class Body> BITMILL_INLINE void each_column(i32x16 eight, const Body& body) {
  BITMILL_UNROLLED for (int column = 0; column < kEight; ++column) {
    i32x16 codes = column < kEight / 2 ? eight : right_i32(eight, 4);
    const int byte = column % (int)(kEight / 2);
    if (byte) codes = right_i32(codes, byte * 8);
    body(column, codes);
  }
}

// out += (sum of products, one after the other) * scale, group after group, for ROWS rows of x, from the first of
// these groups on, and VECTORS panels.
template <int ROWS, int VECTORS, bool ZEROS>
BITMILL_APART void multiply_few(const Weights4& weights, const Product& whole, int64_t panel,
                                const float* x, float* out) {
  const f32x16 table = load((const float*)weights.values);
  const int64_t groups = whole.groups(weights.group);
  Groups4 w[VECTORS];
  for (int v = 0; v < VECTORS; ++v) w[v] = groups_of(weights, whole, panel + v, 0, groups);
  const uint8_t* codes = w[0].codes;
  for (int64_t g = 0, left = whole.eights(); g < groups; ++g, left -= w[0].eights_of_group) {
    f32x16 sum[ROWS][VECTORS], zeros[VECTORS];
    BITMILL_UNROLLED for (int v = 0; v < VECTORS; ++v) {
      if (ZEROS) zeros[v] = to_f32(zeros_of(w[v], g));
      BITMILL_UNROLLED for (int r = 0; r < ROWS; ++r) sum[r][v] = splat(0.0f);
    }
    const float* const last = x + least(w[0].eights_of_group, left) * kEight * ROWS;
    for (; x < last; x += kEight * ROWS, codes += 4 * kPanel)
      BITMILL_UNROLLED for (int v = 0; v < VECTORS; ++v) {
        const uint8_t* at = codes + v * whole.eights() * 4 * kPanel;
        prefetch_far(at + kFarAhead / 2);
        each_column(load_i32((const int32_t*)at), [&](int column, i32x16 c) {
          f32x16 value = lookup16(table, c);
          if (ZEROS) value = sub(value, zeros[v]);
          BITMILL_UNROLLED for (int r = 0; r < ROWS; ++r) sum[r][v] =
              add_product(sum[r][v], splat(x[column * ROWS + r]), value);
        });
      }
    BITMILL_UNROLLED for (int v = 0; v < VECTORS; ++v) {
      const f32x16 scales = scales_of(w[v], g);
      BITMILL_UNROLLED for (int r = 0; r < ROWS; ++r) {
        float* to = out + r * kSpan + v * kPanel;
        store(to, add(load(to), mul(sum[r][v], scales)));
      }
    }
  }
}
// Without zero-points, it takes three quarters of the time not to subtract them.
template <int ROWS, int VECTORS>
BITMILL_INLINE void multiply_few_of(const Weights4& w, const Product& whole, int64_t panel,
                                    const float* x, float* out) {
  if (w.zero_point)
    multiply_few<ROWS, VECTORS, true>(w, whole, panel, x, out);
  else
    multiply_few<ROWS, VECTORS, false>(w, whole, panel, x, out);
}
// So many rows of a patch.
template <int ROWS>
BITMILL_INLINE void multiply_along(const Tokens4& x, const Weights4& w, const Product& whole,
                                   const Patch& p, int64_t row, float* sums) {
  const float* from = (const float*)x.ready + (p.row + row) * whole.eights() * kEight;
  float* const out = sums + row * kSpan;
  int64_t col = 0;
  for (; col + (kFewVectors - 1) * kPanel < p.cols; col += kFewVectors * kPanel)
    multiply_few_of<ROWS, kFewVectors>(w, whole, (p.col + col) / kPanel, from, out + col);
  if constexpr (kFewVectors > 1)
    for (; col < p.cols; col += kPanel)
      multiply_few_of<ROWS, 1>(w, whole, (p.col + col) / kPanel, from, out + col);
}

// Columns that meet at a time: some whole groups, or part of one.
struct Columns4 {
  int64_t first, count, group;
  bool begins, ends; // groups
};
BITMILL_INLINE Columns4 columns_from(int64_t first, int64_t group, int64_t depth) {
  const int64_t done = first % group;
  const int64_t room =
      group > kBlockColumns ? least(kBlockColumns, group - done) : kBlockColumns / group * group;
  const int64_t count = least(room, depth - first);
  return {first, count, group, done == 0, done + count >= group || first + count == depth};
}

// The values of some columns of a panel, and their scales: [columns][step] and [groups][step], of which this
// panel's are 16.
BITMILL_APART void unpack(const Weights4& weights, const Product& whole, const Columns4& columns,
                          int64_t panel, int64_t step, float* values, float* scales) {
  const f32x16 table = load((const float*)weights.values);
  const int64_t group = columns.first / columns.group;
  const Groups4 w = groups_of(weights, whole, panel, group, 1);
  const uint8_t* codes = w.codes + columns.first % columns.group / kEight * 4 * kPanel;
  for (int64_t k = 0, g = 0; k < columns.count; ++g, scales += step) {
    const f32x16 zeros = to_f32(zeros_of(w, g));
    store(scales, scales_of(w, g));
    for (const int64_t end = least(k + columns.group, columns.count); k < end;
         k += kEight, codes += 4 * kPanel, values += kEight * step) {
      prefetch_far(codes + kBlockColumns / kEight * 4 * kPanel);
      each_column(load_i32((const int32_t*)codes), [&](int column, i32x16 c) {
        store(values + column * step, sub(lookup16(table, c), zeros));
      });
    }
  }
}

// What a tile needs of a block of weights, and where it puts its sums: those of whole groups, scaled, and those
// of a group that goes on.
struct Block4 {
  const float *values, *scales;
  float *out, *sums; // kSpan apart
};

// out += (sum of products, one after the other) * scale, group after group.
template <int ROWS, int VECTORS>
BITMILL_APART void multiply_floats(const float* x, const Columns4& columns, const Block4& block) {
  const float *w = block.values, *scales = block.scales;
  for (int64_t k = 0; k < columns.count; scales += VECTORS * kPanel) {
    f32x16 sum[ROWS][VECTORS];
    BITMILL_UNROLLED for (int r = 0; r < ROWS; ++r)
        BITMILL_UNROLLED for (int v = 0; v < VECTORS; ++v) sum[r][v] =
            columns.begins ? splat(0.0f) : load(block.sums + r * kSpan + v * kPanel);
    for (const int64_t end = least(k + columns.group, columns.count); k < end; ++k) {
      f32x16 value[VECTORS];
      BITMILL_UNROLLED for (int v = 0; v < VECTORS; ++v) value[v] = load(w + v * kPanel);
      BITMILL_UNROLLED for (int r = 0; r < ROWS; ++r) {
        const f32x16 one = splat(x[r]);
        BITMILL_UNROLLED for (int v = 0; v < VECTORS; ++v) sum[r][v] =
            add_product(sum[r][v], one, value[v]);
      }
      x += ROWS, w += VECTORS * kPanel;
    }
    BITMILL_UNROLLED for (int v = 0; v < VECTORS; ++v) {
      const f32x16 scale = load(scales + v * kPanel);
      BITMILL_UNROLLED for (int r = 0; r < ROWS; ++r) {
        const int64_t at = r * kSpan + v * kPanel;
        if (columns.ends)
          store(block.out + at, add(load(block.out + at), mul(sum[r][v], scale)));
        else
          store(block.sums + at, sum[r][v]);
      }
    }
  }
}
template <int ROWS, int VECTORS>
BITMILL_INLINE void multiply_floats_of(int64_t rows, const float* x, const Columns4& columns,
                                       const Block4& block) {
  if constexpr (ROWS > 1)
    if (rows < ROWS) return multiply_floats_of<ROWS / 2, VECTORS>(rows, x, columns, block);
  multiply_floats<ROWS, VECTORS>(x, columns, block);
}

// Where the parts of a patch's memory begin: sums, those of a group that goes on, scales and values.
struct Memory4 {
  float *out, *sums, *scales, *values;
};
BITMILL_INLINE Memory4 memory_of(float* at) {
  constexpr int64_t kSums = kMostRows * kSpan, kScales = kBlockColumns / kEight * kSpan;
  return {at, at + kSums, at + 2 * kSums, at + 2 * kSums + kScales};
}

// All rows of x of a patch times VECTORS panels over some columns.
template <int VECTORS>
BITMILL_INLINE void multiply_columns(const Tokens4& x, const Weights4& w, const Product& whole,
                                     const Patch& p, const Columns4& columns, int64_t col,
                                     const Memory4& memory) {
  const int64_t padded = whole.eights() * kEight, step = VECTORS * kPanel;
  for (int64_t v = 0; v < VECTORS; ++v)
    unpack(w, whole, columns, (p.col + col) / kPanel + v, step, memory.values + v * kPanel,
           memory.scales + v * kPanel);
  for (int64_t row = 0, tile; row < p.rows; row += tile) {
    tile = tile_rows(p.rows - row);
    const float* from = (const float*)x.ready + (p.row + row) * padded + columns.first * tile;
    multiply_floats_of<kTileRows, VECTORS>(tile, from, columns,
                                           {memory.values, memory.scales,
                                            memory.out + row * kSpan + col,
                                            memory.sums + row * kSpan + col});
  }
}

BITMILL_APART void multiply_many(const Tokens4& x, const Weights4& w, const Product& whole,
                                 const Patch& p, const Memory4& memory) {
  for (int64_t k = 0; k < whole.depth;) {
    const Columns4 columns = columns_from(k, w.group, whole.depth);
    int64_t col = 0;
    for (; col + (kTileVectors - 1) * kPanel < p.cols; col += kTileVectors * kPanel)
      multiply_columns<kTileVectors>(x, w, whole, p, columns, col, memory);
    if constexpr (kTileVectors > 1)
      for (; col < p.cols; col += kPanel) multiply_columns<1>(x, w, whole, p, columns, col, memory);
    k += columns.count;
  }
}

// All sums of a patch.
BITMILL_APART void multiply_patch4(const Tokens4& x, const Weights4& w, const Product& whole,
                                   const Patch& p, float* memory) {
  memset(memory, 0, (size_t)(p.rows * kSpan) * sizeof *memory);
  if constexpr (kRegisters)
    if (p.rows < 4) {
      if (p.rows > 1) multiply_along<2>(x, w, whole, p, 0, memory);
      if (p.rows % 2) multiply_along<1>(x, w, whole, p, p.rows - 1, memory);
      return;
    }
  multiply_many(x, w, whole, p, memory_of(memory));
}

template <class T>
void matmul_w4a16(const Tokens4* x, const Weights4* w, const Product* whole, Patch p, void* memory,
                  void* out) {
  multiply_patch4(*x, *w, *whole, p, (float*)memory);
  finish<T>(*x, *w, *whole, p, (float*)memory, out);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
