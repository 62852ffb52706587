// SPDX-License-Identifier: MIT
// Products of codes with weights of 4 bits, x w^T, which stay so until they are in registers. Twin:
// bitmill.reference.matmul_w4a8. Rows of x go over a panel of w a tile at a time, a block of groups after the other.
#pragma once
#include "weights4.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// The rows of a tile: made ready, from the first of these groups on, and where their sums are.
struct Rows4 {
  const void* x;
  const int32_t* sums; // of each group, `groups` apart from row to row
  int64_t groups;
  const int32_t* zero_point;
  float* out; // kSpan apart
};

BITMILL_INLINE i32x16 low_nibbles(i32x16 codes) { return and_(codes, splat(0x0f0f0f0f)); }
BITMILL_INLINE i32x16 high_nibbles(i32x16 codes) { return low_nibbles(right_i32(codes, 4)); }

// Codes times codes, as they are, where that is faster than to look them up: no two products of a code and a byte
// exceed 2^15.
struct Codes {
  struct Eight {
    int32_t low, high;
  };
  explicit Codes(const void*) {}
  static BITMILL_INLINE Eight pack(const uint32_t* fours) {
    return {(int32_t)fours[0], (int32_t)fours[1]};
  }
  BITMILL_INLINE i32x16 weights(i32x16 codes) const { return codes; }
  static BITMILL_INLINE i32x16 add(i32x16 sum, i32x16 w, const int32_t& x) {
    return add_dot_u8i8(sum, w, splat(x));
  }
};

// Codes times those that a table has instead.
struct Bytes {
  struct Eight {
    PackedFour low, high;
  };
  explicit Bytes(const void* values) : table(load_bytes(values)) {}
  static BITMILL_INLINE Eight pack(const uint32_t* fours) {
    return {packed_four(fours[0]), packed_four(fours[1])};
  }
  BITMILL_INLINE Weights weights(i32x16 codes) const {
    return weights_of(lookup16(table, bytes_of(codes)));
  }
  static BITMILL_INLINE i32x16 add(i32x16 sum, const Weights& w, const PackedFour& x) {
    return add_dot4(sum, w, splat_four(&x));
  }
  u8x64 table;
};

// Eight columns of codes, of which `there` are there; the others are `pad`.
template <class Kind>
BITMILL_INLINE typename Kind::Eight eight_of(const Tokens4& x, const void* from, int64_t there,
                                             int32_t pad) {
  uint8_t eight[kEight];
  memset(eight, pad, kEight);
  memcpy(eight, from, (size_t)there);
  const uint32_t flips = x.kind == kUint8 ? 0x80808080 : 0; // subtracts 128
  uint32_t fours[2];
  memcpy(fours, eight, kEight);
  fours[0] ^= flips, fours[1] ^= flips;
  return Kind::pack(fours);
}
// Rows made ready for tiles: [K / 8][rows of the tile], filled up with what stands for 0.
template <class Kind>
BITMILL_APART void pack_tiles(const Tokens4& x, const Product& whole, int64_t row, int64_t rows) {
  typename Kind::Eight* to = (typename Kind::Eight*)x.ready + row * whole.eights();
  for (int64_t end = row + rows, count; row < end; row += count) {
    count = tile_rows(end - row);
    for (int64_t k = 0; k < whole.depth; k += kEight)
      BITMILL_NOT_UNROLLED for (int64_t r = row; r < row + count; ++r) {
        const uint8_t* from = (const uint8_t*)x.given + r * whole.depth + k;
        const int32_t pad = x.zero_point ? x.zero_point[r] ^ (x.kind == kUint8 ? 0x80 : 0) : 0;
        *to++ = eight_of<Kind>(x, from, least(kEight, whole.depth - k), pad);
      }
  }
}

// What the codes of each group add up to, as int8, with those that rows are filled up with.
void sum_groups(const Tokens4& x, const Product& whole, int64_t group, int64_t row, int64_t rows) {
  int32_t* sums = x.sums + row * whole.groups(group);
  const uint8_t *from = (const uint8_t*)x.given + row * whole.depth,
                flip = x.kind == kUint8 ? 0x80 : 0;
  for (int64_t r = row; r < row + rows; ++r)
    for (int64_t k = 0; k < whole.depth; k += group) {
      const int64_t count = least(group, whole.depth - k), pad = -count & (kEight - 1);
      int32_t sum = x.zero_point ? (int32_t)pad * x.zero_point[r] : 0;
      for (int64_t i = 0; i < count; ++i) sum += (int8_t)(*from++ ^ flip);
      *sums++ = sum;
    }
}

void pack_tokens4(const Tokens4* x, const Weights4* w, const Product* whole, int64_t row,
                  int64_t rows) {
  sum_groups(*x, *whole, w->group, row, rows);
  if constexpr (kSmallProducts)
    if (w->plain) return pack_tiles<Codes>(*x, *whole, row, rows);
  pack_tiles<Bytes>(*x, *whole, row, rows);
}

// body(group, x, codes) for each eight of a group, after begin(group) and before end(group). What comes ahead is
// asked for meanwhile: reads that wait for arithmetic would leave the memory idle.
template <int ROWS, class Eight, class Begin, class Body, class End>
BITMILL_INLINE void each_group(const Groups4& w, const Eight* x, const Begin& begin,
                               const Body& body, const End& end) {
  const uint8_t* codes = w.codes;
  for (int64_t g = 0, left = w.eights; g < w.groups; ++g, left -= w.eights_of_group) {
    begin(g);
    const Eight* const last = x + least(w.eights_of_group, left) * ROWS;
    for (; x < last; x += ROWS, codes += 4 * kPanel) {
      prefetch_far(codes + kFarAhead / 2);
      body(x, load_i32((const int32_t*)codes));
    }
    end(g);
  }
}

// out += (sum - zero_point * sum of x - zero_point of x * (sum of w - zero_point)) * scale, group after group.
// The sums of so few rows wait for each other: there are two of each.
template <class Kind, int ROWS>
BITMILL_APART void multiply_groups(const void* values, const Groups4& w, const Rows4& rows) {
  const Kind kind(values);
  constexpr int kSums = ROWS < 4 && kRegisters ? 2 : 1;
  using Eight = typename Kind::Eight;
  i32x16 sum[ROWS][kSums];
  const auto begin = [&](int64_t g) {
    const i32x16 zeros = zeros_of(w, g);
    BITMILL_UNROLLED for (int r = 0; r < ROWS; ++r) {
      sum[r][kSums - 1] = splat(0);
      sum[r][0] = mul(zeros, splat(-rows.sums[r * rows.groups + g]));
    }
    if (!w.centred) return;
    const i32x16 centred = load_i32(w.centred + g * kPanel);
    BITMILL_UNROLLED for (int r = 0; r < ROWS; ++r) sum[r][0] =
        sub(sum[r][0], mul(centred, splat(rows.zero_point[r])));
  };
  const auto body = [&](const Eight* x, i32x16 codes) {
    const auto low = kind.weights(low_nibbles(codes)), high = kind.weights(high_nibbles(codes));
    BITMILL_UNROLLED for (int r = 0; r < ROWS; ++r) sum[r][0] = Kind::add(sum[r][0], low, x[r].low);
    BITMILL_UNROLLED for (int r = 0; r < ROWS; ++r) sum[r][kSums - 1] =
        Kind::add(sum[r][kSums - 1], high, x[r].high);
  };
  const auto end = [&](int64_t g) {
    const f32x16 scales = scales_of(w, g);
    BITMILL_UNROLLED for (int r = 0; r < ROWS; ++r) {
      float* out = rows.out + r * kSpan;
      const i32x16 all = kSums == 1 ? sum[r][0] : add(sum[r][0], sum[r][kSums - 1]);
      store(out, add(load(out), mul(to_f32(all), scales)));
    }
  };
  each_group<ROWS>(w, (const Eight*)rows.x, begin, body, end);
}

// What codes less their zero-points add up to in each group: pads too, as x has its zero-points there.
template <class Kind>
BITMILL_APART void centre(const void* values, const Groups4& w, int32_t* out) {
  const Kind kind(values);
  const uint32_t ones[] = {0x01010101, 0x01010101};
  const auto one = Kind::pack(ones);
  const uint8_t* codes = w.codes;
  for (int64_t g = 0, left = w.eights; g < w.groups; ++g, left -= w.eights_of_group) {
    const int64_t count = least(w.eights_of_group, left);
    i32x16 sum = mul(zeros_of(w, g), splat((int32_t)(-kEight * count)));
    for (int64_t k = 0; k < count; ++k, codes += 4 * kPanel) {
      const i32x16 both = load_i32((const int32_t*)codes);
      sum = Kind::add(sum, kind.weights(low_nibbles(both)), one.low);
      sum = Kind::add(sum, kind.weights(high_nibbles(both)), one.high);
    }
    store((float*)(out + g * kPanel), float_of(sum));
  }
}

// What a kind of products is made of: its tile for so many rows, and its `centre`.
using Tile4 = void (*)(const void* values, const Groups4&, const Rows4&);
struct Products4 {
  int64_t bytes_of_eight;
  Tile4 (*tile)(int64_t rows);
  void (*centre)(const void* values, const Groups4&, int32_t* out);
};
template <class Kind, int ROWS = kTileRows> Tile4 tile_of(int64_t rows) {
  if constexpr (ROWS > 1)
    if (rows < ROWS) return tile_of<Kind, ROWS / 2>(rows);
  return multiply_groups<Kind, ROWS>;
}

// All sums of a patch, at sums[row * kSpan + column].
BITMILL_APART void multiply_patch(const Products4& kind, const Tokens4& x, const Weights4& w,
                                  const Product& whole, const Patch& p, float* sums) {
  int32_t* const centred = (int32_t*)(sums + kMostRows * kSpan);
  memset(sums, 0, (size_t)(p.rows * kSpan) * sizeof *sums);
  const int64_t groups = whole.groups(w.group), eights = w.group / kEight;
  // One tile does not come back: it goes along the memory.
  const bool once = p.rows <= kTileRows && !x.zero_point;
  const int64_t block = once ? groups : eights < kBlockEights ? kBlockEights / eights : 1;
  for (int64_t g = 0; g < groups; g += block)
    for (int64_t col = 0; col < p.cols; col += kPanel) {
      Groups4 part = groups_of(w, whole, (p.col + col) / kPanel, g, least(block, groups - g));
      if (x.zero_point) {
        kind.centre(w.values, part, centred);
        part.centred = centred;
      }
      for (int64_t row = 0, count; row < p.rows; row += count) {
        count = tile_rows(p.rows - row);
        const int64_t skip = (p.row + row) * whole.eights() + g * eights * count;
        const Rows4 rows{
            (const char*)x.ready + skip * kind.bytes_of_eight, x.sums + (p.row + row) * groups + g,
            groups, x.zero_point ? x.zero_point + p.row + row : nullptr, sums + row * kSpan + col};
        kind.tile(count)(w.values, part, rows);
      }
    }
}

template <class T>
void matmul_w4a8(const Tokens4* x, const Weights4* w, const Product* whole, Patch p, void* memory,
                 void* out) {
  float* sums = (float*)memory;
  Products4 kind{sizeof(Bytes::Eight), tile_of<Bytes>, centre<Bytes>};
  if constexpr (kSmallProducts)
    if (w->plain) kind = {sizeof(Codes::Eight), tile_of<Codes>, centre<Codes>};
  multiply_patch(kind, *x, *w, *whole, p, sums);
  finish<T>(*x, *w, *whole, p, sums, out);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
