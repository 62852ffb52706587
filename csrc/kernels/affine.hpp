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
  for (int64_t i = 0; i < count; ++i) make_group(*q, {get(lo + i), get(hi + i)}, out, i, counts);
}

// use(codes) with whatever takes or gives codes stored as `q` says.
template <class Packed, class Use>
BITMILL_INLINE void with_codes(const Quantizer& q, void* codes, const Block& block, Use use) {
  if (q.bits) {
    Packed packed(q, codes, block);
    use(packed);
  } else if (q.wide()) {
    PlainCodes<uint16_t> wide(q, codes, block);
    use(wide);
  } else {
    PlainCodes<uint8_t> plain(q, codes, block);
    use(plain);
  }
}

// Forced inline, so that an encoder's vectors stay in registers from group to group: a fifth faster for
// groups of 32 and 128 on AVX-512. Elsewhere the compiler decides: each loop is there a dozen times.
template <class T, class Code>
BITMILL_INLINE void encode_span(const T* x, int64_t n, const Encoder& encode, Code* codes) {
  each_vector(
      n, [&](int64_t i, auto lanes) { store_code(codes + i, encode(load(x + i, lanes)), lanes); });
}

// One group's values to codes, as far as there is room at a time.
template <class T, class Codes>
BITMILL_INLINE void encode_run(const T* x, int64_t n, const Encoder& encode, Codes& codes) {
  while (n > 0) {
    int64_t taken = n;
    auto* to = codes.room(&taken);
    encode_span(x, taken, encode, to);
    codes.advance(taken);
    x += taken, n -= taken;
  }
}

template <class T> Range range_for(const Quantizer& q, const T* x, int64_t n) {
  if (q.rule != kAbsmax && q.rule != kFullRange) return run_minmax(x, n);
  const float absmax = run_absmax(x, n);
  return {-absmax, absmax};
}

// A row, in blocks of groups. Each block is read from memory once: its ranges first, then, from
// cache, its codes. `at` is the index of the row's first group.
template <class T, class Codes>
void quantize_row(const Quantizer& q, const T* x, const Block& block, Params out, int64_t at,
                  Codes& codes, Counts* counts) {
  constexpr int64_t kGroups = 64, kBlock = 2048; // at most so many groups, about so many values
  Range ranges[kGroups];
  Group groups[kGroups];
  for (int64_t left = block.cols; left > 0;) {
    int64_t count = 0, values = 0;
    for (; values < left && count < kGroups && values < kBlock; ++count) {
      const int64_t rest = left - values, n = rest < block.group ? rest : block.group;
      ranges[count] = range_for(q, x + values, n);
      values += n;
    }
    make_groups(q, ranges, count, out, at, groups, counts);
    at += count, left -= values;
    for (int64_t g = 0; g < count; ++g) {
      const int64_t n = values < block.group ? values : block.group;
      encode_run(x, n, encoder(q, groups[g]), codes);
      x += n, values -= n;
    }
  }
}

template <class T>
void affine_quantize(const Quantizer* q, const void* x, Block block, Params out, void* codes_,
                     Counts* counts) {
  with_codes<PackedCodes>(*q, codes_, block, [&](auto& codes) {
    for (int64_t row = 0; row < block.rows; ++row) {
      const T* values = (const T*)x + row * block.cols;
      quantize_row(*q, values, block, out, row * block.groups(), codes, counts);
      codes.end_row();
    }
  });
}

template <class T>
void affine_encode(const Quantizer* q, const void* x, Block block, Params given, void* codes_) {
  with_codes<PackedCodes>(*q, codes_, block, [&](auto& codes) {
    int64_t at = 0;
    for (int64_t row = 0; row < block.rows; ++row) {
      each_group((const T*)x + row * block.cols, block, [&](const T* run, int64_t n) {
        encode_run(run, n, encoder(*q, load_group(*q, given, at++)), codes);
      });
      codes.end_row();
    }
  });
}

template <class T, class Code>
void decode_span(const Code* codes, int64_t n, const Decoder& decode, T* out) {
  each_vector(n, [&](int64_t i, auto lanes) {
    store(out + i, decode(load_code(codes + i, lanes)), lanes);
  });
}

template <class T, class Codes>
void decode_run(Codes& codes, int64_t n, const Decoder& decode, T* out) {
  while (n > 0) {
    int64_t taken = n;
    const auto* from = codes.room(&taken);
    decode_span(from, taken, decode, out);
    codes.advance(taken);
    out += taken, n -= taken;
  }
}

template <class T>
void affine_decode(const Quantizer* q, const void* codes_, Block block, Params given, void* out) {
  // Only read: plain codes have one class for both directions.
  void* stored = const_cast<void*>(codes_);
  with_codes<UnpackedCodes>(*q, stored, block, [&](auto& codes) {
    int64_t at = 0;
    for (int64_t row = 0; row < block.rows; ++row) {
      codes.start_row();
      each_group((T*)out + row * block.cols, block,
                 [&](T* run, int64_t n) { decode_run(codes, n, decoder(*q, given, at++), run); });
    }
  });
}

} // namespace
} // namespace bitmill::BITMILL_ISA
