// SPDX-License-Identifier: MIT
// Codes to little-endian bit streams in 32-bit words, and back. Twins: bitmill.reference.pack,
// unpack.
#pragma once
#include "lines.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// One row (or a piece that starts at a multiple of 64 codes): fields below 2^B to words, the last
// one filled up with zeros.
template <int B> void pack_run(const uint8_t* codes, int64_t count, uint32_t* words) {
  uint8_t* p = (uint8_t*)words;
  for (; count >= 64; count -= 64, codes += 64, p += 8 * B) pack64<B>(p, codes);
  if (count == 0) return;
  uint8_t last[64] = {}, packed[64];
  memcpy(last, codes, (size_t)count);
  pack64<B>(packed, last);
  memcpy(p, packed, (size_t)words_of(count, B) * 4);
}

template <int B> void unpack_run(const uint32_t* words, int64_t count, uint8_t* codes) {
  const uint8_t* p = (const uint8_t*)words;
  for (; count >= 64; count -= 64, codes += 64, p += 8 * B) unpack64<B>(codes, p);
  if (count == 0) return;
  uint8_t packed[64] = {}, last[64];
  memcpy(packed, p, (size_t)words_of(count, B) * 4);
  unpack64<B>(last, packed);
  memcpy(codes, last, (size_t)count);
}

using PackRun = void (*)(const uint8_t* codes, int64_t count, uint32_t* words);
using UnpackRun = void (*)(const uint32_t* words, int64_t count, uint8_t* codes);

BITMILL_INLINE PackRun pack_run_of(int bits) {
  constexpr PackRun table[] = {nullptr,     pack_run<1>, pack_run<2>, pack_run<3>, pack_run<4>,
                               pack_run<5>, pack_run<6>, pack_run<7>, pack_run<8>};
  return table[bits];
}
BITMILL_INLINE UnpackRun unpack_run_of(int bits) {
  constexpr UnpackRun table[] = {nullptr,       unpack_run<1>, unpack_run<2>,
                                 unpack_run<3>, unpack_run<4>, unpack_run<5>,
                                 unpack_run<6>, unpack_run<7>, unpack_run<8>};
  return table[bits];
}

// The bias makes codes into fields modulo 256; a field of 2^B or more was a code out of range.
template <int B>
void pack(const uint8_t* codes, Block block, uint8_t bias, uint32_t* out, bool* out_of_range) {
  constexpr int64_t kStep = 2048;
  alignas(64) uint8_t fields[kStep];
  const u8x64 biases = splat_u8(bias);
  u8x64 seen = splat_u8(0);
  uint8_t rest = 0;
  Lines lines(out, block.streams);
  for (int64_t row = 0; row < block.rows; ++row)
    for (int64_t left = block.cols; left > 0;) {
      const int64_t n = least(left, kStep);
      int64_t i = 0;
      for (; i + 64 <= n; i += 64) {
        prefetch_ahead(codes + i, 64);
        const u8x64 field = add_u8(load_bytes(codes + i), biases);
        seen = or_(seen, field);
        store_bytes(fields + i, field);
      }
      for (; i < n; ++i) rest |= fields[i] = (uint8_t)(codes[i] + bias);
      pack_run<B>(fields, n, (uint32_t*)lines.room());
      lines.advance(words_of(n, B) * 4);
      codes += n, left -= n;
    }
  lines.finish();
  end_stream();
  uint8_t all[64];
  store_bytes(all, seen);
  for (const uint8_t byte : all) rest |= byte;
  if (rest >> B) *out_of_range = true;
}

template <int B> void unpack(const uint32_t* packed, Block block, uint8_t bias, uint8_t* out) {
  constexpr int64_t kStep = 1024;
  const u8x64 biases = splat_u8(-bias);
  Lines lines(out, block.streams);
  for (int64_t row = 0; row < block.rows; ++row)
    for (int64_t left = block.cols; left > 0;) {
      const int64_t n = least(left, kStep);
      uint8_t* to = (uint8_t*)lines.room();
      unpack_run<B>(packed, n, to);
      int64_t i = 0;
      prefetch_ahead(packed, n / 8 * B);
      for (; i + 64 <= n; i += 64) store_bytes(to + i, add_u8(load_bytes(to + i), biases));
      for (; i < n; ++i) to[i] = (uint8_t)(to[i] - bias);
      lines.advance(n);
      packed += words_of(n, B), left -= n;
    }
  lines.finish();
  end_stream();
}

} // namespace
} // namespace bitmill::BITMILL_ISA
