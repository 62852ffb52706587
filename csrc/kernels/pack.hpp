// SPDX-License-Identifier: MIT
// Codes to little-endian bit streams in 32-bit words, and back. Twins: bitmill.reference.pack,
// unpack.
#pragma once
#include "lines.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// What turns codes into fields: the bias, modulo 256. `seen` gathers the bits of all fields.
struct Packer {
  u8x64 seen = splat_u8(0);
  int64_t ahead; // how far before its use memory is asked for; 0 for what is in cache
  uint8_t bias;

  BITMILL_INLINE u8x64 fields(const uint8_t* codes, u8x64 biases) {
    prefetch(codes + ahead);
    const u8x64 fields = add_u8(load_bytes(codes), biases);
    seen = or_(seen, fields);
    return fields;
  }
};

// A row (or a piece of it that starts at a multiple of 64 codes) to words, the last one filled up with
// zeros; at most Lines::kRoom bytes of them.
template <int B> void pack_run(const uint8_t* codes, int64_t count, Lines& lines, Packer& packer) {
  const u8x64 biases = splat_u8(packer.bias);
  Packer p = packer; // in registers
  if constexpr (B == 4) {
    const int64_t whole = 2 * lines.straight(count / 2);
    for (int64_t i = 0; i < whole; i += 128) {
      const u8x64 a = p.fields(codes + i, biases), b = p.fields(codes + i + 64, biases);
      lines.line(i / 2, nibbles(a, b));
    }
    lines.pass(whole / 2);
    codes += whole, count -= whole;
  }
  const int64_t bytes = words_of(count, B) * 4;
  uint8_t* to = (uint8_t*)lines.room();
  for (; count >= 64; count -= 64, codes += 64, to += 8 * B) pack64<B>(to, p.fields(codes, biases));
  if (count > 0) {
    uint8_t last[64] = {}, packed[64];
    for (int64_t i = 0; i < count; ++i) last[i] = (uint8_t)(codes[i] + p.bias);
    p.seen = or_(p.seen, load_bytes(last));
    pack64<B>(packed, load_bytes(last));
    memcpy(to, packed, (size_t)words_of(count, B) * 4);
  }
  lines.advance(bytes);
  packer.seen = p.seen;
}

// The reverse; the bias makes fields into codes.
template <int B>
void unpack_run(const uint32_t* words, int64_t count, uint8_t* codes, uint8_t bias) {
  const u8x64 biases = splat_u8(bias);
  const uint8_t* p = (const uint8_t*)words;
  for (; count >= 64; count -= 64, codes += 64, p += 8 * B) {
    prefetch_ahead(p, 8 * B);
    store_bytes(codes, add_u8(unpack64<B>(p), biases));
  }
  if (count == 0) return;
  uint8_t packed[64] = {}, last[64];
  memcpy(packed, p, (size_t)words_of(count, B) * 4);
  store_bytes(last, add_u8(unpack64<B>(packed), biases));
  memcpy(codes, last, (size_t)count);
}

// For kernels of other families, whose codes are fields already: they are in cache, and so is what they are
// made of. The lines are a Lines.
template <int B> void pack_row(const uint8_t* codes, int64_t count, void* lines) {
  Packer packer;
  packer.ahead = 0, packer.bias = 0;
  pack_run<B>(codes, count, *(Lines*)lines, packer);
}
template <int B> void unpack_row(const uint32_t* words, int64_t count, uint8_t* codes) {
  unpack_run<B>(words, count, codes, 0);
}

// A field of 2^B or more was a code out of range.
template <int B>
void pack(const uint8_t* codes, Block block, uint8_t bias, uint32_t* out, bool* out_of_range) {
  constexpr int64_t kCodes = Lines::kStep * 8 / B & -64;
  Packer packer;
  packer.ahead = 1024, packer.bias = bias; // better than kAhead where so little arithmetic waits
  Lines lines(out, block.streams);
  for (int64_t row = 0; row < block.rows; ++row)
    for (int64_t left = block.cols; left > 0;) {
      const int64_t n = least(left, kCodes);
      pack_run<B>(codes, n, lines, packer);
      codes += n, left -= n;
    }
  lines.finish();
  end_stream();
  uint8_t all[64], most = 0;
  store_bytes(all, packer.seen);
  for (const uint8_t bits : all) most |= bits;
  if (most >> B) *out_of_range = true;
}

// unpack_run for whole lines of codes, straight to memory.
template <int B>
BITMILL_INLINE void unpack_lines(const uint32_t* words, int64_t count, const Lines& lines,
                                 uint8_t bias) {
  const u8x64 biases = splat_u8(bias);
  const uint8_t* p = (const uint8_t*)words;
  for (int64_t i = 0; i < count; i += 64, p += 8 * B) {
    prefetch_ahead(p, 8 * B);
    lines.line(i, add_u8(unpack64<B>(p), biases));
  }
}

template <int B> void unpack(const uint32_t* packed, Block block, uint8_t bias, uint8_t* out) {
  Lines lines(out, block.streams);
  for (int64_t row = 0; row < block.rows; ++row) {
    int64_t left = block.cols;
    if (const int64_t whole = lines.straight(left)) {
      unpack_lines<B>(packed, whole, lines, (uint8_t)-bias);
      lines.pass(whole);
      packed += whole / 32 * B, left -= whole;
    }
    while (left > 0) {
      const int64_t n = least(left, Lines::kStep);
      unpack_run<B>(packed, n, (uint8_t*)lines.room(), (uint8_t)-bias);
      lines.advance(n);
      packed += words_of(n, B), left -= n;
    }
  }
  lines.finish();
  end_stream();
}

} // namespace
} // namespace bitmill::BITMILL_ISA
