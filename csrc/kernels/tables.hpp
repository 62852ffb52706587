// SPDX-License-Identifier: MIT
// Codes that stand for the values of a table, by groups along rows. Twins:
// bitmill.reference.table_quantize, table_encode, table_decode, table_sums.
#pragma once
#include "batch.hpp"
#include "decode.hpp"
#include "lookup.hpp"
#include "sums.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// The scales of `count` groups by their ranges, stored from index `at` on and, widened, in `scales`.
template <class Found>
void fit_scales(const Quantizer& q, const LookupTable& table, const Found& found, int64_t count,
                void* out, int64_t at, float* scales, Counts* counts) {
  for (int64_t i = 0; i < count; i += 16) {
    Ranges r = found.ranges(i);
    with_lanes(least(count - i, 16), [&](auto lanes) {
      const i32x16 low = not_finite(r.lo), bad = select(low, low, not_finite(r.hi));
      counts->nonfinite += count_lanes(bad, lanes);
      r.lo = select(bad, splat(0.0f), r.lo);
      r.hi = select(bad, splat(0.0f), r.hi);
      const f32x16 down = negate(r.lo);
      const f32x16 span =
          q.rule == kSignedMax ? select(greater(r.hi, down), r.hi, r.lo) : max(down, r.hi);
      const f32x16 scale =
          store_scales(span, table.divisor, table.empty, q.scales, out, at + i, lanes, counts);
      counts->overflowed += count_lanes(not_finite(scale), lanes);
      store(scales + i, scale);
    });
  }
}

// 64 codes; each half of the values has a scale of its own.
template <class Lookup>
BITMILL_INLINE u8x64 codes64(const float* x, const Lookup& lookup, const Scaled& first,
                             const Scaled& second) {
  const auto code = [&](int64_t i, const Scaled& scaled) {
    return lookup.code(scaled(load(x + i)));
  };
  const u8x64 zero = splat_u8(0);
  return narrow<float>(code(0, first), code(16, first), zero, code(32, second), code(48, second),
                       zero);
}

// What is read while codes are made, so that memory never idles: of the next batch, if it is looked at, else
// what comes a little later.
class Reader {
 public:
  using Seen = MinMax<float, false>;

  BITMILL_INLINE Reader(Look<Seen, float>& look, const float* x, int64_t part)
      : look_(look), ahead_(far_ahead(x)), part_(part) {}
  // Called for every 64 values; `part` is 64, or 32 for groups of 32, or 0.
  BITMILL_INLINE void step() {
    ahead_.step();
    if (part_ == 0 || look_.left() < 64) return;
    if (part_ == 64) return look_.take(seen_in<Seen>(look_.x(), 64), 64);
    for (int i = 0; i < 2; ++i) look_.take(seen_in<Seen>(look_.x(), 32), 32);
  }

 private:
  Look<Seen, float>& look_;
  Ahead<float> ahead_;
  int64_t part_;
};

// n values of one group.
template <class Lookup>
BITMILL_INLINE void encode_span(const float* x, int64_t n, float scale, const Lookup& lookup,
                                Put<uint8_t> codes, Reader& reader) {
  const Scaled scaled(scale);
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    codes.bytes(i, codes64(x + i, lookup, scaled, scaled));
    reader.step();
  }
  each_vector(n - i, [&](int64_t k, auto lanes) {
    store_u8(codes.to + i + k, lookup.code(scaled(load(x + i + k, lanes))), lanes);
  });
}
// The same for a scale that has no reciprocal.
template <class Lookup>
BITMILL_SELDOM void divide_span(const float* x, int64_t n, float scale, const Lookup& lookup,
                                uint8_t* codes) {
  for (int64_t i = 0; i < n; i += 16) {
    const int64_t lanes = least(n - i, 16);
    store_u8(codes + i, lookup.code(div(load(x + i, lanes), splat(scale))), lanes);
  }
}

// The n values at x, whose groups have these scales.
template <class Lookup>
BITMILL_INLINE void encode_groups(const float* x, int64_t n, int64_t group, const float* scales,
                                  const Lookup& lookup, Put<uint8_t> codes, Reader& reader) {
  for (int64_t done = 0; done < n; ++scales) {
    if (group == 32 && done + 64 <= n && !divides(scales[0]) && !divides(scales[1])) {
      codes.bytes(done, codes64(x + done, lookup, Scaled(scales[0]), Scaled(scales[1])));
      reader.step();
      done += 64, ++scales;
      continue;
    }
    const int64_t here = least(n - done, group);
    if (divides(*scales))
      divide_span(x + done, here, *scales, lookup, codes.to + done);
    else
      encode_span(x + done, here, *scales, lookup, codes + done, reader);
    done += here;
  }
}

// Codes under scales that are given, or, with `counts`, made by the rule: each value is read from memory
// once, for its range first, then, from cache, for its code. Without scales all are 1.
template <class Lookup>
BITMILL_APART void encode_rows(const Quantizer& q, const LookupTable& table, const float* x,
                               const Block& block, void* scale, void* out, Counts* counts) {
  const Lookup lookup(table);
  ByteCodes codes(q, out, block.streams);
  Batches<float> batches(x, block);
  Look<Reader::Seen, float> look(block.group);
  alignas(64) float scales[kMostGroups];
  const int64_t part = !counts ? 0 : block.group % 64 == 0 ? 64 : block.group == 32 ? 32 : 0;
  Batch<float> batch = batches.next();
  if (counts) look.start(batch);
  while (batch.n > 0) {
    if (counts) {
      look.finish();
      fit_scales(q, table, look.found(), look.count(), scale, batch.at, scales, counts);
    } else {
      for (int64_t g = 0; g * block.group < batch.n; ++g)
        scales[g] = scale ? load_float(scale, batch.at + g, q.scales) : 1.0f;
    }
    const Batch<float> next = batches.next();
    if (counts) look.start(next);
    Reader reader(look, part ? next.x : batch.x, part);
    encode_batch(batch, block.group, codes, [&](const float* from, int64_t n, Put<uint8_t> to) {
      encode_groups(from, n, block.group, scales, lookup, to, reader);
    });
    batch = next;
  }
  codes.finish();
  end_stream();
}

void encode_table(const Quantizer& q, const LookupTable& table, const void* x, const Block& block,
                  void* scale, void* codes, Counts* counts) {
  if (table.wide)
    encode_rows<Lookup256>(q, table, (const float*)x, block, scale, codes, counts);
  else
    encode_rows<Lookup16>(q, table, (const float*)x, block, scale, codes, counts);
}

void table_quantize(const Quantizer* q, const LookupTable* table, const void* x, Block block,
                    void* scale, void* codes, Counts* counts) {
  encode_table(*q, *table, x, block, scale, codes, counts);
}

void table_encode(const Quantizer* q, const LookupTable* table, const void* x, Block block,
                  const void* scale, void* codes) {
  encode_table(*q, *table, x, block, (void*)scale, codes, nullptr);
}

void table_decode(const Quantizer* q, const LookupTable* table, const void* codes, Block block,
                  const void* scale, void* out) {
  with_lookup(*table, [&](const auto& lookup) {
    GivenBytes given(*q, codes, block.cols);
    decode_rows(given, block, (float*)out, [&](int64_t i) {
      const f32x16 s = splat(scale ? load_float(scale, i, q->scales) : 1.0f);
      return [&lookup, s](i32x16 code) { return mul(lookup.value(code), s); };
    });
  });
}

// Sums of w x t and w t^2 for one group and scale; t is the value of the table for x. Without weights each
// is 1: the products are exact then.
template <bool kDivides, class Lookup>
BITMILL_INLINE void sums_of(const Group& g, float scale, const Lookup& lookup, double* cross,
                            double* square) {
  alignas(64) static constexpr float kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  const Scaled scaled(scale);
  f64x8 products[2] = {splat_f64(0), splat_f64(0)}, squares[2] = {splat_f64(0), splat_f64(0)};
  each_vector(g.n, [&](int64_t i, auto lanes) {
    const f32x16 x = load(g.x + i, lanes), w = load(g.w ? g.w + i : kOnes, lanes);
    const f32x16 t = lookup.nearest(kDivides ? div(x, splat(scale)) : scaled(x));
    const f64x8 xs[2] = {first_f64(x), second_f64(x)}, ts[2] = {first_f64(t), second_f64(t)};
    const f64x8 ws[2] = {first_f64(w), second_f64(w)}; // 0 behind the end
    for (int k = 0; k < 2; ++k) {
      products[k] = add(products[k], mul(mul(ws[k], xs[k]), ts[k]));
      squares[k] = add(squares[k], mul(ws[k], mul(ts[k], ts[k])));
    }
  });
  *cross = reduce_add(add(products[0], products[1]));
  *square = reduce_add(add(squares[0], squares[1]));
}
template <class Lookup>
BITMILL_SELDOM void divided_sums(const Group& g, float scale, const Lookup& lookup, double* cross,
                                 double* square) {
  sums_of<true>(g, scale, lookup, cross, square);
}

template <class Lookup>
BITMILL_APART void sums_of_rows(const LookupTable& table, const float* x, const Block& block,
                                const float* w, int64_t w_step, const float* scales, int64_t count,
                                double* cross, double* square) {
  const Lookup lookup(table);
  for (int64_t row = 0; row < block.rows; ++row)
    for (int64_t at = 0; at < block.cols; at += block.group) {
      const Group group{x + row * block.cols + at, w ? w + row * w_step + at : nullptr,
                        least(block.cols - at, block.group)};
      for (int64_t k = 0; k < count; ++k, ++scales, ++cross, ++square)
        if (divides(*scales))
          divided_sums(group, *scales, lookup, cross, square);
        else
          sums_of<false>(group, *scales, lookup, cross, square);
    }
}

void table_sums(const LookupTable* table, const float* x, Block block, const float* w,
                int64_t w_step, const float* scales, int64_t count, double* cross, double* square) {
  const auto sums = table->wide ? sums_of_rows<Lookup256> : sums_of_rows<Lookup16>;
  sums(*table, x, block, w, w_step, scales, count, cross, square);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
