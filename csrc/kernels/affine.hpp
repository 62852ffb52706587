// SPDX-License-Identifier: MIT
// Affine quantization of groups along rows. Twins: bitmill.reference.affine_params,
// affine_quantize, affine_encode, affine_decode.
#pragma once
#include "codes.hpp"
#include "groups.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

void affine_params(const Quantizer* q, const float* lo, const float* hi, int64_t count, Params out,
                   Counts* counts) {
  each_vector(count, [&](int64_t i, auto lanes) {
    make_params(*q, {load(lo + i, lanes), load(hi + i, lanes)}, out, i, lanes, counts);
  });
}

// use(codes) with whatever takes codes stored as `q` says.
template <class Codes, class Use>
BITMILL_INLINE void take_codes(const Quantizer& q, void* codes, bool streams, Use use) {
  Codes taker(q, codes, streams);
  use(taker);
  taker.finish();
  end_stream();
}
template <class Use>
BITMILL_INLINE void with_codes(const Quantizer& q, void* codes, bool streams, Use use) {
  if (q.wide())
    take_codes<WideCodes>(q, codes, streams, use);
  else
    take_codes<ByteCodes>(q, codes, streams, use);
}

// Memory that is asked for while codes are made, since DRAM would idle: `lines` of 64 bytes, at least 2,
// for every 64 values, from `at` on.
struct Ahead {
  const char* at;
  int lines;

  BITMILL_INLINE void step() {
    prefetch(at);
    prefetch(at + 64);
    if (lines > 2) prefetch(at + 128), prefetch(at + 192);
    at += 64 * lines;
  }
};

// n values of one group to codes. Codes of two bytes go by 16 lanes: they are for the API alone.
template <class Encode, class T, class Code>
BITMILL_INLINE void encode_span(const T* x, int64_t n, const Groups& groups, int64_t g,
                                const Stored& stored, Code* codes, Ahead& ahead) {
  const Steps steps = groups[g];
  const Encode encode(steps, stored.top);
  int64_t i = 0;
  if constexpr (sizeof(Code) == 1) {
    const u8x64 shift = splat_u16(groups.shift[g]);
    for (; i + 64 <= n; i += 64) {
      ahead.step();
      store_bytes(codes + i, encode64(x + i, encode, shift, encode, shift, stored));
    }
  }
  each_vector(n - i, [&](int64_t k, auto lanes) {
    const i32x16 quotient = encode(load(x + i + k, lanes));
    store_code(codes + i + k, stored.lanes(quotient, steps.shift), lanes);
  });
}

// Groups of 32, two at a time; the number of values done.
template <class Encode, class T>
BITMILL_INLINE int64_t encode_pairs(const T* x, int64_t n, const Groups& groups,
                                    const Stored& stored, uint8_t* codes, Ahead& ahead) {
  int64_t i = 0;
  for (int64_t g = 0; i + 64 <= n; i += 64, g += 2) {
    ahead.step();
    const Encode first(groups[g], stored.top), second(groups[g + 1], stored.top);
    store_bytes(codes + i, encode64(x + i, first, splat_u16(groups.shift[g]), second,
                                    splat_u16(groups.shift[g + 1]), stored));
  }
  return i;
}

// For blocks in which a scale has no reciprocal, and codes of two bytes.
template <class T, class Code>
BITMILL_SELDOM void divide_groups(const T* x, int64_t n, int64_t group, const Groups& groups,
                                  const Stored& stored, Code* codes, Ahead& ahead) {
  for (int64_t done = 0, g = 0; done < n; done += group, ++g)
    encode_span<DividingEncoder>(x + done, least(n - done, group), groups, g, stored, codes + done,
                                 ahead);
}

// The groups of the n values at x.
template <class Encode, class T, class Code>
void encode_groups(const T* x, int64_t n, int64_t group, const Groups& groups, const Stored& stored,
                   Code* codes, Ahead& ahead) {
  if constexpr (sizeof(Code) == 1)
    if (!groups.divides) {
      int64_t done = 0;
      if (group == 32) done = encode_pairs<Encode>(x, n, groups, stored, codes, ahead);
      for (int64_t g = done / group; done < n; done += group, ++g)
        encode_span<Encode>(x + done, least(n - done, group), groups, g, stored, codes + done,
                            ahead);
      return;
    }
  divide_groups(x, n, group, groups, stored, codes, ahead);
}

// The same for any number of values: whole groups, or one long one.
template <class Encode, class T, class Codes>
BITMILL_INLINE void encode_block(const T* x, int64_t n, int64_t group, const Groups& groups,
                                 const Stored& stored, Codes& codes, Ahead ahead) {
  const int64_t step = group < kChunk ? kChunk / group * group : kChunk;
  for (int64_t at = 0; at < n; at += step) { // more than one step only for a long group
    const int64_t values = least(n - at, step);
    encode_groups<Encode>(x + at, values, group, groups, stored, codes.room(), ahead);
    codes.give(values);
  }
}

// Groups that are looked at together.
BITMILL_INLINE int64_t groups_at_once(int64_t group) {
  return group < kChunk ? least(Groups::kMost, kChunk / group) : 1;
}

// A row, in blocks of groups. Each block is read from memory once: its ranges first, then, from cache,
// its codes. `at` is the index of the row's first group.
template <class Encode, class T, class Codes>
void quantize_row(const Quantizer& q, const T* x, const Block& block, Params out, int64_t at,
                  const Stored& stored, Codes& codes, Counts* counts) {
  const int64_t count = groups_at_once(block.group);
  Groups groups;
  for (int64_t left = block.cols; left > 0;) {
    const int64_t n = least(left, count * block.group);
    fit_groups(q, x, n, block.group, out, at, groups, counts);
    encode_block<Encode>(x, n, block.group, groups, stored, codes, Ahead{(const char*)(x + n), 2});
    x += n, left -= n, at += count;
  }
}

template <class Encode, class T, class Codes>
BITMILL_INLINE void quantize_rows(const Quantizer& q, const T* x, const Block& block, Params out,
                                  Codes& codes, Counts* counts) {
  const Stored stored(q);
  for (int64_t row = 0; row < block.rows; ++row) {
    quantize_row<Encode>(q, x + row * block.cols, block, out, row * block.groups(), stored, codes,
                         counts);
    codes.end_row();
  }
}

template <class T>
void affine_quantize(const Quantizer* q, const void* x_, Block block, Params out, void* codes_,
                     Counts* counts) {
  const T* x = (const T*)x_;
  with_codes(*q, codes_, block.streams, [&](auto& codes) {
    if constexpr (sizeof(*codes.room()) == 1) // codes of two bytes have one encoder for all
      if (q->rule == kOffset)
        return quantize_rows<LimitedEncoder>(*q, x, block, out, codes, counts);
    quantize_rows<FittedEncoder>(*q, x, block, out, codes, counts);
  });
}

template <class T, class Codes>
void encode_row(const Quantizer& q, const T* x, const Block& block, Params given, int64_t at,
                const Stored& stored, Codes& codes) {
  const int64_t count = groups_at_once(block.group);
  Groups groups;
  for (int64_t left = block.cols; left > 0; at += count) {
    const int64_t n = least(left, count * block.group);
    load_groups(q, given, at, (n - 1) / block.group + 1, groups);
    encode_block<LimitedEncoder>(x, n, block.group, groups, stored, codes,
                                 Ahead{(const char*)x + kAhead, (int)sizeof(T)});
    x += n, left -= n;
  }
}

template <class T, class Codes>
BITMILL_INLINE void encode_rows(const Quantizer& q, const T* x, const Block& block, Params given,
                                Codes& codes) {
  const Stored stored(q);
  for (int64_t row = 0; row < block.rows; ++row) {
    encode_row(q, x + row * block.cols, block, given, row * block.groups(), stored, codes);
    codes.end_row();
  }
}

template <class T>
void affine_encode(const Quantizer* q, const void* x, Block block, Params given, void* codes_) {
  with_codes(*q, codes_, block.streams,
             [&](auto& codes) { encode_rows(*q, (const T*)x, block, given, codes); });
}

template <class T, class Code>
BITMILL_INLINE void decode_span(const Code* codes, int64_t n, const Decoder& decode, T* out) {
  each_vector(n, [&](int64_t i, auto lanes) {
    store(out + i, decode(load_code(codes + i, lanes)), lanes);
  });
}

BITMILL_INLINE Decoder decoder(const Quantizer& q, Params given, int64_t i) {
  return Decoder(q, splat(load_float(given.scale, i, q.scales)),
                 splat(given.zero_point ? load_zero_point(q, given.zero_point, i) : 0),
                 splat(given.offset ? load_float(given.offset, i, q.scales) : -0.0f));
}

template <class Given, class T>
void decode_rows(const Quantizer& q, const void* stored, const Block& block, Params given, T* to) {
  Given codes(q, stored, block.cols);
  Lines lines(to, block.streams);
  int64_t at = 0;
  for (int64_t row = 0; row < block.rows; ++row) {
    codes.start_row();
    for (int64_t left = block.cols; left > 0; ++at) {
      const Decoder decode = decoder(q, given, at);
      for (int64_t rest = least(left, block.group); rest > 0;) {
        int64_t n = least(rest, Lines::kStep / (int64_t)sizeof(T));
        const auto* from = codes.next(&n);
        decode_span(from, n, decode, (T*)lines.room());
        codes.advance(n);
        lines.advance(n * (int64_t)sizeof(T));
        rest -= n, left -= n;
      }
    }
  }
  lines.finish();
  end_stream();
}

template <class T>
void affine_decode(const Quantizer* q, const void* codes, Block block, Params given, void* out) {
  T* to = (T*)out;
  const bool is_signed = q->qmin < 0;
  if (q->wide())
    return is_signed ? decode_rows<GivenCodes<int16_t>>(*q, codes, block, given, to)
                     : decode_rows<GivenCodes<uint16_t>>(*q, codes, block, given, to);
  if (is_signed && !q->bits) return decode_rows<GivenCodes<int8_t>>(*q, codes, block, given, to);
  decode_rows<GivenBytes>(*q, codes, block, given, to);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
