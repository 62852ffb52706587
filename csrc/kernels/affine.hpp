// SPDX-License-Identifier: MIT
// Affine quantization of groups along rows. Twins: bitmill.reference.affine_params,
// affine_quantize, affine_encode, affine_decode.
#pragma once
#include "codes.hpp"
#include "params.hpp"
#include "ranges.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

void affine_params(const Quantizer* q, const float* lo, const float* hi, int64_t count, Params out,
                   Counts* counts) {
  for (int64_t i = 0; i < count; ++i)
    make_group(*q, lo[i], hi[i], out, i, counts);
}

template <class T, class Code>
void encode_span(const T* x, int64_t n, const Encoder& encode, Code* codes) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    store_code(codes + i, encode(load(x + i)));
  if (i < n)
    store_code(codes + i, encode(load(x + i, n - i)), n - i);
}

// One group's values to codes, as far as there is room at a time.
template <class T, class Codes>
void encode_run(const T* x, int64_t n, const Encoder& encode, Codes& codes) {
  while (n > 0) {
    int64_t taken = n;
    auto* to = codes.room(&taken);
    encode_span(x, taken, encode, to);
    codes.advance(taken);
    x += taken, n -= taken;
  }
}

// Range of a group for its rule. A range that is not finite is counted and replaced by 0.
template <class T> Range range_for(const Quantizer& q, const T* x, int64_t n, Counts* counts) {
  Range range;
  if (q.rule == kAbsmax || q.rule == kFullRange) {
    const float absmax = run_absmax(x, n);
    range = {-absmax, absmax};
  } else {
    range = run_minmax(x, n);
  }
  if (is_finite(range.lo) && is_finite(range.hi))
    return range;
  ++counts->nonfinite;
  return {0, 0};
}

// Each block of groups is read once from memory: its ranges first, then, from cache, its codes.
template <class T, class Codes>
void quantize_rows(const Quantizer& q, const T* x, const Block& block, Params out, void* codes_,
                   Counts* counts) {
  constexpr int64_t kGroups = 64, kBlock = 2048; // at most so many groups, about so many values
  Codes codes(q, codes_, block);
  int64_t index = 0;
  for (int64_t row = 0; row < block.rows; ++row) {
    for (int64_t left = block.cols; left > 0;) {
      Group groups[kGroups];
      int64_t count = 0, values = 0;
      while (values < left && count < kGroups && values < kBlock) {
        const int64_t rest = left - values, n = rest < block.group ? rest : block.group;
        const Range range = range_for(q, x + values, n, counts);
        groups[count++] = make_group(q, range.lo, range.hi, out, index++, counts);
        values += n;
      }
      left -= values;
      for (int64_t g = 0; g < count; ++g) {
        const int64_t n = values < block.group ? values : block.group;
        encode_run(x, n, encoder(q, groups[g]), codes);
        x += n, values -= n;
      }
    }
    codes.end_row();
  }
}

template <class T>
void affine_quantize(const Quantizer* q, const void* x_, Block block, Params out, void* codes,
                     Counts* counts) {
  const T* x = (const T*)x_;
  if (q->bits)
    quantize_rows<T, PackedCodes>(*q, x, block, out, codes, counts);
  else if (q->wide())
    quantize_rows<T, PlainCodes<uint16_t>>(*q, x, block, out, codes, counts);
  else
    quantize_rows<T, PlainCodes<uint8_t>>(*q, x, block, out, codes, counts);
}

template <class T, class Codes>
void encode_rows(const Quantizer& q, const T* x, const Block& block, Params given, void* codes_) {
  Codes codes(q, codes_, block);
  int64_t index = 0;
  for (int64_t row = 0; row < block.rows; ++row) {
    for (int64_t left = block.cols; left > 0;) {
      const int64_t n = left < block.group ? left : block.group;
      encode_run(x, n, encoder(q, load_group(q, given, index++)), codes);
      x += n, left -= n;
    }
    codes.end_row();
  }
}

template <class T>
void affine_encode(const Quantizer* q, const void* x_, Block block, Params given, void* codes) {
  const T* x = (const T*)x_;
  if (q->bits)
    encode_rows<T, PackedCodes>(*q, x, block, given, codes);
  else if (q->wide())
    encode_rows<T, PlainCodes<uint16_t>>(*q, x, block, given, codes);
  else
    encode_rows<T, PlainCodes<uint8_t>>(*q, x, block, given, codes);
}

template <class T, class Code>
void decode_span(const Code* codes, int64_t n, const Decoder& decode, T* out) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    store(out + i, decode(load_code(codes + i)));
  if (i < n)
    store(out + i, decode(load_code(codes + i, n - i)), n - i);
}

template <class T, class Codes>
void decode_rows(const Quantizer& q, void* codes_, const Block& block, Params given, T* out) {
  Codes codes(q, codes_, block);
  int64_t index = 0;
  for (int64_t row = 0; row < block.rows; ++row) {
    codes.start_row();
    for (int64_t left = block.cols; left > 0;) {
      int64_t run = left < block.group ? left : block.group;
      left -= run;
      const Group group = load_group(q, given, index++);
      const float offset = given.offset ? group.offset : -0.0f;
      const Decoder decode(q, splat(offset), splat(group.divisor), splat(group.zero_point));
      while (run > 0) {
        int64_t taken = run;
        const auto* from = codes.room(&taken);
        decode_span(from, taken, decode, out);
        codes.advance(taken);
        out += taken, run -= taken;
      }
    }
  }
}

template <class T>
void affine_decode(const Quantizer* q, const void* codes_, Block block, Params given, void* out_) {
  T* out = (T*)out_;
  void* codes =
      const_cast<void*>(codes_); // only read: the readers share a constructor with writers
  if (q->bits)
    decode_rows<T, UnpackedCodes>(*q, codes, block, given, out);
  else if (q->wide())
    decode_rows<T, PlainCodes<uint16_t>>(*q, codes, block, given, out);
  else
    decode_rows<T, PlainCodes<uint8_t>>(*q, codes, block, given, out);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
