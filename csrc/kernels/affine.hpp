// SPDX-License-Identifier: MIT
// Affine quantization of groups along rows. Twins: bitmill.reference.affine_params,
// affine_quantize, affine_encode, affine_decode.
#pragma once
#include "codes.hpp"
#include "decode.hpp"
#include "encode.hpp"
#include <type_traits>

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

// Codes of the usual groups, while `look` reads as much of the next batch; the number of values done. Only
// where it counts, since every body is compiled for every rule and dtype.
template <class Encode, class Seen, class T, class Code>
BITMILL_INLINE int64_t encode_and_look(const T* x, int64_t n, int64_t group, const Groups& groups,
                                       const Stored& stored, Put<Code> codes, Look<Seen, T>& look) {
  if constexpr (kRegisters && std::is_same_v<Encode, FittedEncoder> && sizeof(T) <= 4) {
    if (groups.divides) return 0;
    if (group == 32) return encode_short_groups<Encode, 32>(x, n, groups, stored, codes, look);
    if (group == 64) return encode_short_groups<Encode, 64>(x, n, groups, stored, codes, look);
    if (group == 128) return encode_short_groups<Encode, 128>(x, n, groups, stored, codes, look);
    if (group % kPart == 0 || group >= kChunk)
      return encode_long_groups<Encode>(x, n, group, groups, stored, codes, look);
  }
  return 0;
}

// Each value is read from memory once: for its range first, then, from cache, for its code.
template <class Encode, class Seen, class T, class Codes>
void quantize_rows(const Quantizer& q, const T* x, const Block& block, Params out, Codes& codes,
                   Counts* counts) {
  const Stored stored(q);
  Groups groups;
  Batches<T> batches(x, block);
  Look<Seen, T> look(block.group);
  Batch<T> batch = batches.next();
  look.start(batch);
  look.finish();
  while (batch.n > 0) {
    fit_groups(q, look.found(), look.count(), out, batch.at, groups, counts);
    const Batch<T> next = batches.next();
    look.start(next);
    encode_batch(batch, block.group, codes, [&](const T* from, int64_t n, auto to) {
      const int64_t done = encode_and_look<Encode>(from, n, block.group, groups, stored, to, look);
      if (done == n) return;
      Ahead<T> ahead = far_ahead(look.x());
      encode_groups<Encode>(from + done, n - done, block.group, groups, done / block.group, stored,
                            to + done, ahead);
    });
    look.finish();
    batch = next;
  }
}

template <class T>
void affine_quantize(const Quantizer* q, const void* x_, Block block, Params out, void* codes_,
                     Counts* counts) {
  const T* x = (const T*)x_;
  with_codes(*q, codes_, block.streams, [&](auto& codes) {
    if constexpr (std::is_same_v<std::decay_t<decltype(codes)>,
                                 WideCodes>) { // these have one encoder, and range, for all rules
      quantize_rows<DividingEncoder, MinMax<T, true>>(*q, x, block, out, codes, counts);
    } else if (q->rule == kAbsmax || q->rule == kFullRange) {
      quantize_rows<FittedEncoder, AbsMax<T>>(*q, x, block, out, codes, counts);
    } else if (q->rule == kOffset) {
      quantize_rows<LimitedEncoder, MinMax<T, true>>(*q, x, block, out, codes, counts);
    } else { // the value of largest magnitude, kSignedMax, stays the same when 0 joins the others
      quantize_rows<FittedEncoder, MinMax<T, false>>(*q, x, block, out, codes, counts);
    }
  });
}

template <class T, class Codes>
BITMILL_INLINE void encode_rows(const Quantizer& q, const T* x, const Block& block, Params given,
                                Codes& codes) {
  const Stored stored(q);
  Groups groups;
  Batches<T> batches(x, block);
  for (Batch<T> batch = batches.next(); batch.n > 0; batch = batches.next()) {
    load_groups(q, given, batch.at, (batch.n - 1) / block.group + 1, groups);
    Ahead<T> ahead = q.bits ? far_ahead(batch.x) : near_ahead(batch.x);
    encode_batch(batch, block.group, codes, [&](const T* from, int64_t n, auto to) {
      encode_groups<LimitedEncoder>(from, n, block.group, groups, 0, stored, to, ahead);
    });
  }
}

template <class T>
void affine_encode(const Quantizer* q, const void* x, Block block, Params given, void* codes_) {
  with_codes(*q, codes_, block.streams,
             [&](auto& codes) { encode_rows(*q, (const T*)x, block, given, codes); });
}

BITMILL_INLINE Decoder decoder(const Quantizer& q, Params given, int64_t i) {
  return Decoder(q, splat(load_float(given.scale, i, q.scales)),
                 splat(given.zero_point ? load_zero_point(q, given.zero_point, i) : 0),
                 splat(given.offset ? load_float(given.offset, i, q.scales) : -0.0f));
}

template <class Given, class T>
void decode_affine(const Quantizer& q, const void* stored, const Block& block, Params given,
                   T* to) {
  Given codes(q, stored, block.cols);
  decode_rows(codes, block, to, [&](int64_t at) { return decoder(q, given, at); });
}

template <class T>
void affine_decode(const Quantizer* q, const void* codes, Block block, Params given, void* out) {
  T* to = (T*)out;
  const bool is_signed = q->qmin < 0;
  if (q->wide())
    return is_signed ? decode_affine<GivenCodes<int16_t>>(*q, codes, block, given, to)
                     : decode_affine<GivenCodes<uint16_t>>(*q, codes, block, given, to);
  if (is_signed && !q->bits) return decode_affine<GivenCodes<int8_t>>(*q, codes, block, given, to);
  decode_affine<GivenBytes>(*q, codes, block, given, to);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
